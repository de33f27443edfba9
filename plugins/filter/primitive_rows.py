# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Joins what listener and targets say of each primitive with how it answered."""

from __future__ import annotations

DOCUMENTATION = r"""
name: primitive_rows
short_description: The rows of the status table
version_added: 1.0.0
author: The multicompute.spin authors
description:
  - One row for each primitive of the inventory, for any app, whatever it says of itself.
positional: _input
options:
  _input:
    description:
      - The primitives, each with C(name), C(kind) and C(architecture). What else they have is in
        their row as well.
    type: list
    elements: dict
    required: true
  deployment:
    description: Name of the deployment, which target group names begin with.
    type: str
    required: true
  found:
    description: What C(multicompute.spin.wasm_release_info) returned as C(primitives).
    type: dict
    required: true
  metrics:
    description: What C(multicompute.spin.elb_metrics_info) returned as C(target_groups).
    type: dict
    required: true
  asked:
    description:
      - By name of the primitive, what C(multicompute.spin.endpoint_probe_info) returned that asked
        it alone. Its requests may be in the metrics already, so the greater number counts.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ primitives | multicompute.spin.primitive_rows(deployment='multicompute',
      found=releases.primitives, metrics=metrics.target_groups) }}"
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
      release: 1.1.0
      standby: 1.0.0
      health: healthy
      requests: 10
      failures: 0
      share: 33.3
      p50_ms: 2.4
      error: ""
"""

from typing import Any

# The worst last.
STATES = ["healthy", "initial", "draining", "unused", "unavailable", "unhealthy"]


def _worst(colour: dict[str, Any]) -> dict[str, Any] | None:
    return max(colour["targets"], key=lambda target: STATES.index(target["state"]), default=None)


def _health(found: dict[str, Any]) -> str:
    colours = found["colours"]
    if not any(colour["target_group_arn"] for colour in colours.values()):
        return "absent"
    if found["active"] is None:
        return "unused"
    active = colours[found["active"]]
    if active["ready"]:
        return "healthy"
    worst = _worst(active)
    return worst["state"] if worst else "no target"


def _release(found: dict[str, Any]) -> str:
    """Of the active colour; during a canary also that of the other one."""
    active, other = _active_and_other(found)
    releases = [active.get("release")] + ([other["release"]] if other.get("weight") else [])
    return " + ".join(dict.fromkeys(release for release in releases if release))


def _standby(found: dict[str, Any]) -> str:
    _active, other = _active_and_other(found)
    is_standby = other.get("ready") and not other["weight"]
    return (other["release"] or "") if is_standby else ""


def _active_and_other(found: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    colours = dict(found["colours"])
    active = colours.pop(found["active"], None)
    return (active, *colours.values()) if active else ({}, {})


def _error(found: dict[str, Any], failure: dict[str, Any] | None) -> str:
    """The first bad answer, or else what is wrong with the target."""
    if failure:
        asked = f"GET {failure['path']}"
        if failure["status"] is None:
            return f"{asked}: {failure['error']}"
        return f"{asked}: {failure['status']}, wanted {failure['expected']}"
    active, _other = _active_and_other(found)
    target = _worst(active) if active and not active["ready"] else None
    return (target.get("description") or target["reason"]) if target else ""


def _shares(requests: list[int]) -> list[float]:
    """In percent, to one digit, so that they add up to 100."""
    total = sum(requests)
    if not total:
        return [0.0] * len(requests)
    tenths = [1000 * number // total for number in requests]
    # What rounding down left goes to those that lost most.
    lost = sorted(range(len(requests)), key=lambda row: -(1000 * requests[row] % total))
    for row in lost[: 1000 - sum(tenths)]:
        tenths[row] += 1
    return [number / 10 for number in tenths]


def primitive_rows(
    primitives: list[dict[str, Any]],
    deployment: str,
    found: dict[str, Any],
    metrics: dict[str, Any],
    asked: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    rows = []
    for primitive in primitives:
        name = primitive["name"]
        own = found[name]
        counted = {
            colour: metrics.get(f"{deployment}-{name}-{colour}", {}) for colour in own["colours"]
        }
        answers = (asked or {}).get(name, {})
        rows.append(
            {
                **primitive,
                "weight": own["weight"] or 0,
                "release": _release(own),
                "standby": _standby(own),
                "health": _health(own),
                **{
                    key: max(sum(one.get(key, 0) for one in counted.values()), answers.get(key, 0))
                    for key in ("requests", "failures")
                },
                "p50_ms": answers.get("p50_ms")
                or counted.get(own["active"], {}).get("response_ms"),
                "error": _error(own, answers.get("first_failure")),
            }
        )
    shares = _shares([row["requests"] for row in rows])
    return [row | {"share": share} for row, share in zip(rows, shares, strict=True)]


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"primitive_rows": primitive_rows}
