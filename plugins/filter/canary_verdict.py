# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares a primitive that serves a new release with those that do not yet."""

from __future__ import annotations

DOCUMENTATION = r"""
name: canary_verdict
short_description: What speaks against the release that a canary serves
version_added: 1.0.0
author: The multicompute.spin authors
description:
  - Compares the canary's error rate with that of the others over the same requests.
  - A function is slower than an instance whatever it serves, so the canary's latency is compared
    with the others' before and after - it may be slower by O(slowdown) than it was, as far as the
    others did not become slower, too.
  - A bad answer that says nothing of who gave it counts as the canary's, since only its release is
    new.
positional: _input, name
options:
  _input:
    description: What C(multicompute.spin.endpoint_probe_info) returned after the canary's roll.
    type: dict
    required: true
  name:
    description: Name of the canary.
    type: str
    required: true
  before:
    description: What it returned before the roll.
    type: dict
    required: true
  slowdown:
    description: How many times as slow the canary may become.
    type: float
    required: true
  slack_ms:
    description: A difference of fewer milliseconds is none.
    type: float
    default: 5
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ after | multicompute.spin.canary_verdict('lambda', before=before, slowdown=2) }}"
"""

RETURN = r"""
_value:
  description: C(against) says what speaks against it and is empty if nothing does.
  type: dict
  sample:
    requests: 67
    error_rate: 0.0
    others_error_rate: 0.0
    p50_ms: 4.5
    expected_p50_ms: 4.2
    against: ""
"""

from statistics import mean
from typing import Any

UNKNOWN = "unknown"


def _p50(probe: dict[str, Any], names: list[str]) -> float | None:
    known = [
        p50 for name in names if (p50 := probe["served_by"].get(name, {}).get("p50_ms")) is not None
    ]
    return mean(known) if known else None


def _rate(failed: int, good: int) -> float:
    return round(failed / (failed + good), 4) if failed + good else 0.0


def canary_verdict(
    after: dict[str, Any], name: str, before: dict[str, Any], slowdown: float, slack_ms: float = 5
) -> dict[str, Any]:
    others = [other for other in after["served_by"] if other not in (name, UNKNOWN)]
    good = {one: answer["requests"] for one, answer in after["served_by"].items()}
    failed = after["failed_by"]
    rate = _rate(failed.get(name, 0) + failed.get(UNKNOWN, 0), good.get(name, 0))
    others_rate = _rate(
        sum(count for one, count in failed.items() if one not in (name, UNKNOWN)),
        sum(good[other] for other in others),
    )
    p50, was = _p50(after, [name]), _p50(before, [name])
    drift = (_p50(after, others) or 1) / (_p50(before, others) or 1) if others else 1.0
    expected = was * max(drift, 1.0) if was is not None else None
    against = ""
    if rate > others_rate:
        against = (
            f"{name} failed {rate:.1%} of its requests, the others {others_rate:.1%} of theirs"
        )
    elif p50 is None:
        against = f"{name} got no requests"
    elif expected is not None and p50 > max(expected * slowdown, expected + slack_ms):
        against = (
            f"{name} answers in {p50} ms (median), where {expected:.1f} ms were expected and "
            f"{slowdown} times that is the limit"
        )
    return {
        "requests": good.get(name, 0),
        "error_rate": rate,
        "others_error_rate": others_rate,
        "p50_ms": p50,
        "expected_p50_ms": round(expected, 1) if expected is not None else None,
        "against": against,
    }


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"canary_verdict": canary_verdict}
