# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.multicompute.spin.plugins.lookup.content_digest import content_digest


def digest(*terms: Path, exclude: tuple[str, ...] = ()) -> str:
    return content_digest([str(term) for term in terms], "/", list(exclude))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source/.cargo").mkdir(parents=True)
    (tmp_path / "source/.cargo/config.toml").write_text("linker")
    (tmp_path / "source/a").write_text("one")
    (tmp_path / "source/b").write_text("two")
    return tmp_path / "source"


def hidden_changes(source: Path) -> None:
    (source / ".cargo/config.toml").write_text("other")


def renamed(source: Path) -> None:
    (source / "a").rename(source / "c")


def swapped(source: Path) -> None:
    (source / "a").write_text("two")
    (source / "b").write_text("one")


def added(source: Path) -> None:
    (source / "empty").touch()


def moved(source: Path) -> None:
    (source / "a").rename(source / ".cargo/a")


@pytest.mark.parametrize("change", [hidden_changes, renamed, swapped, added, moved])
def test_every_change_makes_another_digest(source: Path, change: Callable[[Path], None]) -> None:
    before = digest(source)
    change(source)
    assert digest(source) != before


def test_place_time_and_what_is_excluded_do_not(source: Path, tmp_path: Path) -> None:
    before = digest(source, exclude=("target",))
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    for path in copy.rglob("*"):
        os.utime(path, (0, 0))
    (copy / ".cargo/target").mkdir()
    (copy / ".cargo/target/debris").touch()
    assert digest(copy, exclude=("target",)) == before
    assert digest(copy) != before


def test_files_are_told_apart_by_order_and_name(source: Path) -> None:
    assert digest(source / "a", source / "b") != digest(source / "b", source / "a")
    before = digest(source / "a")
    assert digest((source / "a").rename(source / "c")) != before


def test_relative_terms_are_meant_from_the_root(source: Path) -> None:
    assert content_digest(["a", "b"], str(source), []) == digest(source / "a", source / "b")


@pytest.mark.parametrize("name", ["none", "none/below"])
def test_what_is_not_there_is_an_error(source: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        digest(source / name)
