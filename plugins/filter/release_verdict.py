# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tells from the load balancer's counts whether a release is worse than the one before it."""

from __future__ import annotations

DOCUMENTATION = r"""
name: release_verdict
short_description: What speaks against a release that has users
version_added: 1.0.0
author: The multicompute.spin authors
description:
  - Compares what the release's target group did since a moment with what the former one's did, up
    to that moment and since.
positional: _input, before, new, former
options:
  _input:
    description: >-
      Counts by target group, as C(multicompute.spin.elb_metrics_info) returns them, since the same
      time as O(before).
    type: dict
    required: true
  before:
    description: The counts at that moment.
    type: dict
    required: true
  new:
    description: Name of the release's target group.
    type: str
    required: true
  former:
    description: Name of the former release's target group.
    type: str
    required: true
  slowdown:
    description: How many times as slow the release may be. Not set, that is not looked at.
    type: float
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ after.target_groups | multicompute.spin.release_verdict(before.target_groups,
      'demo-ec2-green', 'demo-ec2-blue') }}"
"""

RETURN = r"""
_value:
  description: What speaks against the release; empty if nothing does.
  type: str
  sample: 12 of 60 requests failed, where the former release failed 0 of 3000
"""

from typing import Any

Counts = dict[str, Any]
# Of so many requests one may fail by what no release can help.
TOLERATED = 0.01
SLACK_MS = 5


def _counts(groups: dict[str, Counts], name: str) -> tuple[int, int]:
    counts = groups.get(name) or {}
    return int(counts.get("requests") or 0), int(counts.get("failures") or 0)


def _since(after: dict[str, Counts], before: dict[str, Counts], name: str) -> tuple[int, int]:
    pairs = zip(_counts(after, name), _counts(before, name), strict=True)
    requests, failures = (max(0, now - then) for now, then in pairs)
    return requests, failures


def release_verdict(
    after: dict[str, Counts],
    before: dict[str, Counts],
    new: str,
    former: str,
    slowdown: float | None = None,
) -> str:
    requests, failures = _since(after, before, new)
    # Up to the moment and since: a canary's former release goes on.
    former_requests, former_failures = _counts(after, former)
    former_rate = former_failures / former_requests if former_requests else 0.0
    if requests and failures / requests > max(TOLERATED, 2 * former_rate):
        return (
            f"{failures} of {requests} requests failed, where the former release failed "
            f"{former_failures} of {former_requests}"
        )
    ms, former_ms = ((after.get(name) or {}).get("response_ms") for name in (new, former))
    if slowdown and ms and former_ms and ms > max(former_ms * slowdown, former_ms + SLACK_MS):
        return (
            f"an answer takes {ms} ms (mean), where the former release takes {former_ms} ms and "
            f"{slowdown:g} times that is the limit"
        )
    return ""


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"release_verdict": release_verdict}
