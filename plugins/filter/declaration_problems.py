# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with what is declared of an app, before anything is built or changed."""

from __future__ import annotations

DOCUMENTATION = r"""
name: declaration_problems
short_description: What is wrong with what is declared of an app
version_added: 1.0.0
author: The multicompute.spin authors
description:
  - Says a line for each value that a release cannot carry, with the variable, the value and the
    fix.
positional: _input
options:
  _input:
    description:
      - C(app_health_path), C(app_health_codes), C(app_probes) and C(app_instance_reuse), as role
        C(multicompute.spin.app) takes them. An empty one, or 0, says nothing.
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ {'app_health_path': 'healthz'} | multicompute.spin.declaration_problems }}"
"""

RETURN = r"""
_value:
  description: The lines; none if all is well.
  type: list
  elements: str
"""

from typing import Any

from ansible_collections.multicompute.spin.plugins.module_utils._declaration import problems

NOTHING: tuple[Any, ...] = (None, "", 0, "0", [])


def declaration_problems(variables: dict[str, Any]) -> list[str]:
    given = {
        name.removeprefix("app_"): value
        for name, value in variables.items()
        if value not in NOTHING or value is False
    }
    return problems(given, "app_{}")


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"declaration_problems": declaration_problems}
