# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""meta/runtime.yml names every module that the connection options of AWS are for."""

from __future__ import annotations

import importlib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]


def fragments(module: str) -> list[str]:
    found = importlib.import_module(
        f"ansible_collections.multicompute.spin.plugins.modules.{module}"
    )
    return yaml.safe_load(found.DOCUMENTATION).get("extends_documentation_fragment", [])


def test_every_aws_module_takes_the_groups_defaults() -> None:
    modules = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("*.py"))
    groups = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text())["action_groups"]
    assert groups["all"] == [
        module for module in modules if "amazon.aws.common.modules" in fragments(module)
    ]


def test_modules_that_use_aws_document_its_options() -> None:
    for path in (ROOT / "plugins" / "modules").glob("*.py"):
        uses = "AnsibleAWSModule(" in path.read_text()
        assert uses == ("amazon.aws.common.modules" in fragments(path.stem)), path.name
