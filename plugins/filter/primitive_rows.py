# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Joins what the load balancer knows of each primitive with what a probe saw."""

from __future__ import annotations

DOCUMENTATION = r"""
name: primitive_rows
short_description: The rows of the status table
version_added: 1.0.0
author: The multicompute.spin authors
description:
  - One row for each primitive of the inventory, and one for each target group on the listener that
    belongs to none.
positional: _input
options:
  _input:
    description: The primitives, each with C(name), C(kind) and C(architecture).
    type: list
    elements: dict
    required: true
  deployment:
    description: Name of the deployment, which target group names begin with.
    type: str
    required: true
  listener_actions:
    description:
      - Default actions of the listener, as C(amazon.aws.elb_application_lb_info) returns them.
    type: list
    elements: dict
    required: true
  target_groups:
    description:
      - Target groups with their targets' health, as C(community.aws.elb_target_group_info) returns
        them.
    type: list
    elements: dict
    required: true
  probe:
    description: What C(multicompute.spin.endpoint_probe_info) returned.
    type: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ primitives | multicompute.spin.primitive_rows(deployment='multicompute',
      listener_actions=actions, target_groups=groups, probe=probe) }}"
"""

RETURN = r"""
_value:
  description: The rows, in the order of the inventory.
  type: list
  elements: dict
  sample:
    - name: lambda
      kind: function
      architecture: amd64
      weight: 1
      health: healthy
      release: 1.0.0
      requests: 10
      share: 33.3
      p50_ms: 2.4
"""

from typing import Any


def _health(target_group: dict[str, Any] | None) -> str:
    """The best state among the group's targets; a function's is not checked, it counts as there."""
    if target_group is None:
        return "absent"
    states = [
        target["target_health"]["state"]
        for target in target_group.get("targets_health_description") or []
    ]
    if target_group["target_type"] == "lambda" and "unavailable" in states:
        return "healthy"
    order = ["healthy", "initial", "draining", "unhealthy", "unused", "unavailable"]
    return min(states, key=order.index, default="no target")


def _weights(listener_actions: list[dict[str, Any]]) -> dict[str, int]:
    """Weight by target group ARN."""
    return {
        group["target_group_arn"]: int(group.get("weight", 1))
        for action in listener_actions
        for group in (action.get("forward_config") or {}).get("target_groups", [])
    }


def primitive_rows(
    primitives: list[dict[str, Any]],
    deployment: str,
    listener_actions: list[dict[str, Any]],
    target_groups: list[dict[str, Any]],
    probe: dict[str, Any],
) -> list[dict[str, Any]]:
    prefix = f"{deployment}-"
    groups = {group["target_group_name"].removeprefix(prefix): group for group in target_groups}
    weights = _weights(listener_actions)
    known = {primitive["name"] for primitive in primitives}
    strangers = [
        {"name": name, "kind": "not in inventory", "architecture": ""}
        for name in sorted(set(groups) - known)
    ]
    answers = probe.get("served_by", {})
    total = sum(answer["requests"] for answer in answers.values()) or 1
    rows = []
    for primitive in [*primitives, *strangers]:
        group = groups.get(primitive["name"])
        answer = answers.get(primitive["name"], {})
        requests = answer.get("requests", 0)
        rows.append(
            {
                **primitive,
                "weight": weights.get(group["target_group_arn"], 0) if group else 0,
                "health": _health(group),
                "release": ", ".join(answer.get("releases", [])),
                "requests": requests,
                "share": round(100 * requests / total, 1),
                "p50_ms": answer.get("p50_ms"),
            }
        )
    return rows


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"primitive_rows": primitive_rows}
