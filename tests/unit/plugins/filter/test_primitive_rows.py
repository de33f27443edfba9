# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.filter.primitive_rows import primitive_rows
from hypothesis import given
from hypothesis import strategies as st


def colour(*states: str, weight: int | None = None, **options: Any) -> dict[str, Any]:
    targets = [
        {"id": "i-1", "port": 8000, "state": state, "reason": f"Target.{state}"} for state in states
    ]
    is_ready = "healthy" in states
    there = {"target_group_arn": "arn:group", "weight": weight, "release": "1.0.0"}
    return there | {"ready": is_ready, "targets": targets} | options


ABSENT = colour(target_group_arn=None, release=None)
IDLE = colour(release=None)


def pair(active: str | None, blue: dict[str, Any], green: dict[str, Any]) -> dict[str, Any]:
    weights = [one["weight"] for one in (blue, green) if one["weight"] is not None]
    weight = sum(weights) if weights else None
    return {"active": active, "weight": weight, "colours": {"blue": blue, "green": green}}


def counted(requests: int, failures: int = 0, response_ms: float | None = None) -> dict[str, Any]:
    return {"requests": requests, "failures": failures, "response_ms": response_ms}


def rows(
    metrics: dict[str, Any] | None = None,
    asked: dict[str, Any] | None = None,
    **found: dict[str, Any],
) -> list[dict[str, Any]]:
    primitives = [{"name": name, "kind": "service", "architecture": "amd64"} for name in found]
    return primitive_rows(primitives, "demo", found, metrics or {}, asked)


def test_a_row_joins_colours_metrics_and_answers() -> None:
    metrics = {
        "demo-ecs-blue": counted(10, 1, 4.0),
        "demo-ecs-green": counted(5, 0, 9.0),
        "demo-ec2-green": counted(2, 0, 1.5),
        "somebody-elses": counted(1000),
    }
    asked = {"ec2": {"requests": 15, "failures": 0, "p50_ms": 2.4, "first_failure": None}}
    standby = colour("healthy", release="0.9.0")
    ecs = pair("blue", colour("healthy", weight=2), standby)
    ec2 = pair("green", IDLE, colour("healthy", weight=1, release="1.1.0"))
    assert rows(metrics, asked, ecs=ecs, ec2=ec2) == [
        {
            "name": "ecs",
            "kind": "service",
            "architecture": "amd64",
            "weight": 2,
            "release": "1.0.0",
            "standby": "0.9.0",
            "health": "healthy",
            "requests": 15,
            "failures": 1,
            "share": 50.0,
            "p50_ms": 4.0,
            "error": "",
        },
        {
            "name": "ec2",
            "kind": "service",
            "architecture": "amd64",
            "weight": 1,
            "release": "1.1.0",
            "standby": "",
            "health": "healthy",
            "requests": 15,
            "failures": 0,
            "share": 50.0,
            "p50_ms": 2.4,
            "error": "",
        },
    ]


@pytest.mark.parametrize(
    ("found", "health", "error"),
    [
        (pair("blue", colour("unhealthy", "healthy", weight=1), ABSENT), "healthy", ""),
        (
            pair("blue", colour("unhealthy", "initial", weight=1), colour("healthy")),
            "unhealthy",
            "Target.unhealthy",
        ),
        (pair("blue", colour(weight=1), ABSENT), "no target", ""),
        # A load balancer does not check functions.
        (pair("blue", colour("unavailable", weight=1, ready=True), ABSENT), "healthy", ""),
        (pair(None, ABSENT, ABSENT), "absent", ""),
        (pair(None, colour("unused"), IDLE), "unused", ""),
    ],
)
def test_health_is_that_of_the_active_colour(
    found: dict[str, Any], health: str, error: str
) -> None:
    (row,) = rows(ecs=found)
    assert (row["health"], row["error"]) == (health, error)


def test_what_is_wrong_with_a_target_is_told_in_words_where_there_are_any() -> None:
    blue = colour("unhealthy", weight=1)
    blue["targets"][0]["description"] = "Health checks failed with these codes: [502]"
    assert rows(ecs=pair("blue", blue, IDLE))[0]["error"] == blue["targets"][0]["description"]


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        ({"path": "/x", "status": 500, "expected": "200", "error": None}, "500, wanted 200"),
        ({"path": "/x", "status": None, "expected": "200", "error": "timed out"}, "timed out"),
    ],
)
def test_the_first_bad_answer_is_told(failure: dict[str, Any], error: str) -> None:
    asked = {"ecs": {"requests": 3, "failures": 2, "p50_ms": None, "first_failure": failure}}
    metrics = {"demo-ecs-blue": counted(1, 1, 4.0)}
    (row,) = rows(metrics, asked, ecs=pair("blue", colour("healthy", weight=1), IDLE))
    assert row["error"] == f"GET /x: {error}"
    assert (row["requests"], row["failures"], row["p50_ms"]) == (3, 2, 4.0)


def test_a_canary_shows_both_releases_and_no_standby() -> None:
    canary = colour("healthy", weight=10, release="1.1.0")
    (row,) = rows(ecs=pair("blue", colour("healthy", weight=90), canary))
    assert (row["release"], row["standby"], row["weight"]) == ("1.0.0 + 1.1.0", "", 100)


def test_a_primitive_without_users_has_a_release_all_the_same() -> None:
    (row,) = rows(ecs=pair("green", IDLE, colour("healthy", weight=0)))
    assert (row["release"], row["weight"], row["health"]) == ("1.0.0", 0, "healthy")


def test_a_primitive_that_is_not_deployed_is_absent() -> None:
    (row,) = rows(ecs=pair(None, ABSENT, ABSENT))
    assert (row["release"], row["standby"], row["weight"]) == ("", "", 0)
    assert (row["requests"], row["failures"], row["share"], row["p50_ms"]) == (0, 0, 0, None)


def test_what_the_inventory_says_stays() -> None:
    primitive = {"name": "ecs", "kind": "service", "architecture": "amd64", "rolled_in": 3.5}
    (row,) = primitive_rows([primitive], "demo", {"ecs": pair(None, ABSENT, ABSENT)}, {})
    assert row["rolled_in"] == 3.5


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=9))
def test_shares_add_up(requests: list[int]) -> None:
    found = {f"p{number}": pair("blue", colour(weight=1), IDLE) for number in range(len(requests))}
    metrics = {f"demo-p{number}-blue": counted(count) for number, count in enumerate(requests)}
    shares = [row["share"] for row in rows(metrics, **found)]
    assert round(sum(shares), 1) == (100 if any(requests) else 0)
    for share, count in zip(shares, requests, strict=True):
        assert abs(share - 100 * count / max(sum(requests), 1)) <= 0.1001
