# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EXAMPLES of every module: what users copy is YAML, and has arguments that the module takes."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.testing import patch_module_args

COLLECTION = "multicompute.spin"
MODULES = sorted(path.stem for path in (Path(__file__).parents[3] / "plugins/modules").glob("*.py"))


class Accepted(Exception):
    """The module has taken its arguments, and would begin to work."""


def complaint(
    module: Any, args: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> dict[str, Any] | None:
    try:
        with patch_module_args(args):
            module.main()
    except Accepted:
        return None
    except SystemExit:
        return json.loads(capsys.readouterr().out)
    raise AssertionError("the module ended without a result")


def complaint_of_documentation(module: Any, args: dict[str, Any]) -> list[str]:
    """An action has no main() that could be asked."""
    known = ("type", "elements", "default", "required", "choices")
    options = yaml.safe_load(module.DOCUMENTATION)["options"]
    spec = {
        name: {key: option[key] for key in known if key in option}
        for name, option in options.items()
    }
    return ArgumentSpecValidator(spec).validate(args).error_messages


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_validated_but_not_run(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def accept(_module: AnsibleModule) -> None:
        raise Accepted

    # What AnsibleModule does next when the arguments are as they should.
    monkeypatch.setattr(AnsibleModule, "_log_invocation", accept)
    module = importlib.import_module(f"ansible_collections.{COLLECTION}.plugins.modules.{name}")
    tasks = yaml.safe_load(module.EXAMPLES)
    examples = [task[key] for task in tasks if (key := f"{COLLECTION}.{name}") in task]
    assert examples
    for args in examples:
        for given, wrong in ((args, False), (args | {"no_such_option": 1}, True)):
            if hasattr(module, "main"):
                found = complaint(module, given, capsys)
            else:
                found = complaint_of_documentation(module, given)
            assert bool(found) is wrong, found
