# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.filter.primitive_rows import primitive_rows


def target_group(name: str, *states: str, kind: str = "ip") -> dict[str, Any]:
    return {
        "target_group_name": f"demo-{name}",
        "target_group_arn": f"arn:{name}",
        "target_type": kind,
        "targets_health_description": [{"target_health": {"state": state}} for state in states],
    }


def listener(**weights: int) -> list[dict[str, Any]]:
    """The default action, as a listener of these weights has it."""
    groups = [
        {"target_group_arn": f"arn:{name}", "weight": weight} for name, weight in weights.items()
    ]
    return [{"type": "forward", "forward_config": {"target_groups": groups}}]


def rows(
    *names: str,
    groups: list[dict[str, Any]],
    actions: list[dict[str, Any]] | None = None,
    probe: dict[str, Any] | None = None,
) -> list[dict[str, Any]]:
    primitives = [{"name": name, "kind": "service", "architecture": "amd64"} for name in names]
    return primitive_rows(primitives, "demo", actions or [], groups, probe or {})


def test_a_row_joins_weight_health_and_answers() -> None:
    probe = {
        "served_by": {
            "ecs": {"requests": 10, "releases": ["1.0.0", "1.1.0"], "p50_ms": 2.4},
            "ec2": {"requests": 20, "releases": ["1.1.0"], "p50_ms": 1.5},
        }
    }
    groups = [target_group("ecs", "healthy"), target_group("ec2", "healthy", kind="instance")]
    assert rows("ecs", "ec2", groups=groups, actions=listener(ecs=1, ec2=2), probe=probe) == [
        {
            "name": "ecs",
            "kind": "service",
            "architecture": "amd64",
            "weight": 1,
            "health": "healthy",
            "release": "1.0.0, 1.1.0",
            "requests": 10,
            "share": 33.3,
            "p50_ms": 2.4,
        },
        {
            "name": "ec2",
            "kind": "service",
            "architecture": "amd64",
            "weight": 2,
            "health": "healthy",
            "release": "1.1.0",
            "requests": 20,
            "share": 66.7,
            "p50_ms": 1.5,
        },
    ]


@pytest.mark.parametrize(
    ("group", "health"),
    [
        (target_group("one", "draining", "healthy", "initial"), "healthy"),
        (target_group("one", "unhealthy", "draining"), "draining"),
        (target_group("one", "unhealthy"), "unhealthy"),
        (target_group("one"), "no target"),
        # A load balancer does not check functions.
        (target_group("one", "unavailable", kind="lambda"), "healthy"),
        (target_group("one", "unavailable"), "unavailable"),
        (target_group("one", kind="lambda"), "no target"),
    ],
)
def test_health_is_that_of_the_best_target(group: dict[str, Any], health: str) -> None:
    assert rows("one", groups=[group])[0]["health"] == health


def test_a_primitive_that_is_not_deployed_is_absent() -> None:
    (row,) = rows("ecs", groups=[])
    assert (row["health"], row["weight"], row["requests"]) == ("absent", 0, 0)
    assert (row["release"], row["share"], row["p50_ms"]) == ("", 0, None)


def test_a_target_group_off_the_listener_has_no_weight() -> None:
    (row,) = rows("ecs", groups=[target_group("ecs", "unused")], actions=listener(ec2=3))
    assert (row["weight"], row["health"]) == (0, "unused")


def test_a_group_that_is_alone_weighs_one_whatever_the_listener_says() -> None:
    actions = [{"forward_config": {"target_groups": [{"target_group_arn": "arn:ecs"}]}}]
    assert rows("ecs", groups=[target_group("ecs")], actions=actions)[0]["weight"] == 1


def test_a_fixed_answer_has_no_target_groups() -> None:
    actions = [{"type": "fixed-response", "forward_config": None}]
    assert rows("ecs", groups=[target_group("ecs")], actions=actions)[0]["weight"] == 0


def test_who_serves_without_being_in_the_inventory_is_shown_last() -> None:
    groups = [target_group("old", "healthy"), target_group("ecs", "healthy")]
    first, last = rows("ecs", groups=groups, actions=listener(old=5, ecs=1))
    assert first["name"] == "ecs"
    assert (last["name"], last["kind"], last["weight"]) == ("old", "not in inventory", 5)
