# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
import os
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils._internal._datatag import AnsibleTagHelper
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionPkgLoaderBase
from ansible_collections.multicompute.spin.plugins.plugin_utils import shortcuts


@pytest.fixture(autouse=True)
def _taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_AnsibleCollectionPkgLoaderBase, "get_code", shortcuts._get_code)
    monkeypatch.setattr(shortcuts.AnsibleEnvironment, "compile", shortcuts._compile)
    for kind in shortcuts.IMMUTABLE:
        monkeypatch.setattr(kind, "__deepcopy__", None, raising=False)
    shortcuts.take()


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of files and texts of templates, each as often as it was compiled."""
    found: list[str] = []
    of_file, of_template = SourceFileLoader.source_to_code, shortcuts._compile

    def source_to_code(loader: Any, data: Any, path: str, **options: Any) -> Any:
        found.append(Path(path).name)
        return of_file(loader, data, path, **options)

    def compile_template(environment: Any, source: Any) -> Any:
        found.append(str(source))
        return of_template(environment, source)

    monkeypatch.setattr(SourceFileLoader, "source_to_code", source_to_code)
    monkeypatch.setattr(shortcuts, "_compile", compile_template)
    monkeypatch.setattr(shortcuts, "_templates", {})
    return found


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "module.py"
    path.write_text("answer = 1\n")
    return path


def answer_of(path: Path) -> int:
    loader = SimpleNamespace(_source_code_path=str(path))
    made: dict[str, int] = {}
    exec(_AnsibleCollectionPkgLoaderBase.get_code(loader, "module"), made)  # type: ignore[arg-type]
    return made["answer"]


def test_a_file_is_compiled_when_it_is_new(source: Path, compiled: list[str]) -> None:
    assert [answer_of(source), answer_of(source)] == [1, 1]
    source.write_text("answer = 20\n")
    assert answer_of(source) == 20
    # As long as before, so that only its time tells.
    source.write_text("answer = 21\n")
    os.utime(source, (1, 1))
    assert [answer_of(source), answer_of(source)] == [21, 21]
    assert compiled == ["module.py"] * 3


def test_where_nothing_can_be_kept_a_file_is_compiled_each_time(
    source: Path, compiled: list[str]
) -> None:
    (source.parent / "__pycache__").write_text("no folder")
    assert [answer_of(source), answer_of(source)] == [1, 1]
    assert compiled == ["module.py"] * 2


def test_a_folder_without_code_has_none() -> None:
    loader = _AnsibleCollectionPkgLoaderBase.__new__(_AnsibleCollectionPkgLoaderBase)
    loader._fullname, loader._source_code_path = "folder", None
    loader._decoded_source = loader._compiled_code = None
    loader._subpackage_search_paths = ["folder"]
    assert loader.get_code("folder") is None


def test_a_template_is_compiled_once_and_rendered_with_what_is_there(
    compiled: list[str],
) -> None:
    template = trust_as_template("{{ name | upper }}")
    rendered = [Templar(variables={"name": name}).template(template) for name in ("a", "b")]
    assert rendered == ["A", "B"]
    # Files of Ansible that the filter loads may be new.
    assert [one for one in compiled if not one.endswith(".py")] == ["{{ name | upper }}"]


def test_a_text_means_what_its_delimiters_say() -> None:
    def rendered(**options: Any) -> str:
        templar = Templar(variables={"name": "a"})
        return templar.copy_with_new_env().template(
            trust_as_template("{{ name }} [[ name ]]"), overrides=options or None
        )

    assert rendered() == "a [[ name ]]"
    other = {"variable_start_string": "[[", "variable_end_string": "]]"}
    assert rendered(**other) == "{{ name }} a"
    assert rendered() == "a [[ name ]]"


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_a_backslash_means_what_its_task_says(order: tuple[bool, bool]) -> None:
    template = trust_as_template(r"{{ 'a\nb' }}")
    rendered = {escape: Templar().template(template, escape_backslashes=escape) for escape in order}
    assert rendered == {True: r"a\nb", False: "a\nb"}


def test_what_is_no_template_stays_an_error() -> None:
    template = trust_as_template("{{ name | }}")
    for _ in range(2):
        with pytest.raises(Exception, match="Syntax error in template"):
            Templar(variables={"name": "a"}).template(template)


def test_a_copy_can_be_changed_and_knows_where_it_is_from() -> None:
    loaded = DataLoader().load("name: [a, 1, 2.5]\n", file_name="/of/tags.yml")
    copied = copy.deepcopy(loaded)
    copied["name"].append("b")
    copied["other"] = "c"
    assert loaded == {"name": ["a", 1, 2.5]}
    assert copied == {"name": ["a", 1, 2.5, "b"], "other": "c"}
    for kept, of in ((copied, loaded), (copied["name"], loaded["name"])):
        assert AnsibleTagHelper.tags(kept) == AnsibleTagHelper.tags(of) != frozenset()
    assert copied["name"][0] is loaded["name"][0]
