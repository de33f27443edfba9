# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The weights of a listener whose primitives have two colours each."""

from __future__ import annotations

DOCUMENTATION = r"""
name: listener_weights
short_description: Weights for a listener's target groups, with and without a canary
version_added: 1.0.0
author: The multicompute.spin authors
description:
  - A canary's release gets some per cent of what its primitive gets. Weights are whole numbers, so
    all of the listener's are raised in proportion meanwhile.
  - Without a canary each primitive's active colour gets all that the primitive has, and what an
    interrupted canary had raised is lowered again.
positional: _input
options:
  _input:
    description: The primitives, as C(multicompute.spin.wasm_release_info) returns them.
    type: dict
    required: true
  deployment:
    description: Name of the deployment, with which the names of target groups begin.
    type: str
    required: true
  canary:
    description: The primitive that is the canary.
    type: str
  percent:
    description: How much of its requests the canary's idle colour gets, from 1 to 49.
    type: int
    default: 5
  weights:
    description: Weights by primitive, instead of those that they have; 0 where it names none.
    type: dict
  swap:
    description: Primitives whose idle colour gets what the active one has.
    type: list
    elements: str
"""

EXAMPLES = r"""
- multicompute.spin.elb_weighted_listener:
    load_balancer_name: demo
    port: 80
    target_groups: "{{ found.primitives
      | multicompute.spin.listener_weights('demo', canary='lambda', percent=5) }}"
    purge_target_groups: false
"""

RETURN = r"""
_value:
  description: Target groups as M(multicompute.spin.elb_weighted_listener) takes them.
  type: list
  elements: dict
  sample:
    - {target_group_name: demo-ec2-blue, weight: 300}
    - {target_group_name: demo-lambda-blue, weight: 285}
    - {target_group_name: demo-lambda-green, weight: 15}
"""

from collections.abc import Collection
from math import gcd
from typing import Any

MAX_WEIGHT = 999


def listener_weights(
    primitives: dict[str, dict[str, Any]],
    deployment: str,
    canary: str | None = None,
    percent: int = 5,
    weights: dict[str, int] | None = None,
    swap: Collection[str] = (),
) -> list[dict[str, Any]]:
    active = {name: one["active"] for name, one in primitives.items() if one["active"]}
    active |= {name: _other(active[name]) for name in swap if name in active}
    if weights is None:
        weights = {name: int(primitives[name]["weight"] or 0) for name in active}
        if any(_colours_with_users(primitives[name]) > 1 for name in active):
            # The divisor is what the interrupted canary had raised them by.
            divisor = gcd(*weights.values()) or 1
            weights = {name: weight // divisor for name, weight in weights.items()}
    weights = {name: int(weights.get(name, 0)) for name in active}
    factor = 1
    if canary:
        factor = max(1, MAX_WEIGHT // max([*weights.values(), 1]))
    entries = []
    for name, colour in active.items():
        weight, other = weights[name] * factor, _other(colour)
        part = 0
        if name == canary and weight:
            # Of less, or with as much, the idle colour would pass for the active one.
            weight = max(weight, 3)
            part = min(max(1, round(weight * percent / 100)), (weight - 1) // 2)
        idle: dict[str, Any] = {"weight": part} if part else {"state": "absent"}
        entries += [
            {"target_group_name": f"{deployment}-{name}-{colour}", "weight": weight - part},
            {"target_group_name": f"{deployment}-{name}-{other}", **idle},
        ]
    return entries


def _other(colour: str) -> str:
    return "green" if colour == "blue" else "blue"


def _colours_with_users(primitive: dict[str, Any]) -> int:
    return sum(colour.get("weight") is not None for colour in primitive["colours"].values())


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"listener_weights": listener_weights}
