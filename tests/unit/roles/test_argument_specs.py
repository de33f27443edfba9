# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a role documents is what it has, no more and no less."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()) or {}


def options(role: str) -> dict[str, dict[str, Any]]:
    """The options of all entry points of the role, but those that are another role's variables."""
    specs = load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]
    return {
        name: option
        for spec in specs.values()
        for name, option in spec["options"].items()
        if name.startswith(role)
    }


def defaults(role: str) -> dict[str, Any]:
    """The variables that a user may set."""
    path = ROOT / "roles" / role / "defaults" / "main.yml"
    values = load(path) if path.exists() else {}
    return {name: value for name, value in values.items() if not name.startswith("__")}


@cache
def used_names() -> frozenset[str]:
    """Every word of the roles and playbooks but where a default variable gets its value."""
    folders = ("tasks", "handlers", "templates", "vars", "defaults", "files")
    files = [
        path
        for folder in folders
        for path in ROOT.glob(f"roles/*/{folder}/**/*")
        if path.suffix in {".yml", ".j2"}
    ]
    files += [*ROOT.glob("playbooks/*.yml"), *ROOT.glob("inventories/**/*.yml")]
    texts = (re.sub(r"^\w+:", "", path.read_text(), flags=re.MULTILINE) for path in files)
    return frozenset(word for text in texts for word in re.findall(r"\w+", text))


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_documented(role: str) -> None:
    assert sorted(defaults(role).keys() - options(role).keys()) == []


@pytest.mark.parametrize("role", ROLES)
def test_every_option_is_used(role: str) -> None:
    assert sorted(options(role).keys() - used_names()) == []


@pytest.mark.parametrize("role", ROLES)
def test_every_option_is_required_or_has_a_default(role: str) -> None:
    required = {name for name, option in options(role).items() if option.get("required")}
    assert sorted(options(role).keys() - defaults(role).keys()) == sorted(required)


@pytest.mark.parametrize("role", ROLES)
def test_documented_defaults_are_the_real_ones(role: str) -> None:
    documented = {name: o["default"] for name, o in options(role).items() if "default" in o}
    real = {
        name: value
        for name, value in defaults(role).items()
        # Computed values, and lists and tables too long to repeat, may be described in words.
        if name in documented or ("{{" not in str(value) and not isinstance(value, list | dict))
    }
    assert documented == real
