"""Shares by weight, health check matchers, and the verdict on a target."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_cloud.patches import elb_health
from local_cloud.patches.elb_routing import Weighted, matches, weights_of


@given(st.lists(st.integers(0, 999), min_size=1, max_size=5).filter(any), st.integers(1, 3))
def test_shares_are_exact_over_each_turn(weights: list[int], turns: int) -> None:
    shares = dict(enumerate(weights))
    weighted = Weighted()
    picked = Counter(weighted.pick(shares) for _ in range(sum(weights) * turns))
    assert picked == {key: weight * turns for key, weight in shares.items() if weight}


@given(st.integers(2, 5))
def test_equal_weights_take_turns(number: int) -> None:
    weighted = Weighted()
    picked = [weighted.pick(dict.fromkeys(range(number), 7)) for _ in range(number * 3)]
    assert picked == list(range(number)) * 3


def test_heavy_ones_are_interleaved_with_light_ones() -> None:
    weighted = Weighted()
    picked = "".join(weighted.pick({"a": 5, "b": 1, "c": 1}) for _ in range(7))
    assert picked == "aabacaa"


def test_new_weights_start_a_new_turn() -> None:
    weighted = Weighted()
    for _ in range(4):
        weighted.pick({"a": 1, "b": 1, "c": 1})
    assert [weighted.pick({"a": 1, "b": 1}) for _ in range(4)] == ["a", "b", "a", "b"]


@pytest.mark.parametrize("weights", [{}, {"a": 0, "b": 0}])
def test_nobody_has_a_weight(weights: dict[str, int]) -> None:
    assert Weighted().pick(weights) is None


def test_weights_of_both_notations() -> None:
    groups = [{"TargetGroupArn": "a", "Weight": 3}, {"TargetGroupArn": "b", "Weight": 0}]
    assert weights_of({"ForwardConfig": {"TargetGroups": groups}}) == {"a": 3, "b": 0}
    assert weights_of({"TargetGroupArn": "a"}) == {"a": 1}
    assert weights_of({"Type": "redirect"}) == {}


@pytest.mark.parametrize(
    ("status", "matcher", "expected"),
    [
        (200, "200", True),
        (204, "200", False),
        (302, "200,302", True),
        (250, "200-299", True),
        (300, "200-299", False),
        (404, "200-299, 404", True),
    ],
)
def test_matchers(status: int, matcher: str, expected: bool) -> None:
    assert matches(status, matcher) is expected


GROUP: dict[str, Any] = {
    "HealthyThresholdCount": 3,
    "UnhealthyThresholdCount": 2,
    "HealthCheckIntervalSeconds": 10,
}


def states(target: elb_health.Target, outcomes: str) -> list[str]:
    """The state after each of the outcomes: + passed, - failed."""
    seen = []
    for outcome in outcomes:
        target.observe(GROUP, None if outcome == "+" else elb_health.FAILED)
        seen.append(target.state)
    return seen


def test_a_new_target_needs_one_passed_check() -> None:
    target = elb_health.Target("group", "i-1", 80)
    assert states(target, "--+") == ["initial", "initial", "healthy"]


def test_a_new_target_that_never_passes_is_unhealthy_when_its_time_is_up() -> None:
    target = elb_health.Target("group", "i-1", 80)
    target.registered -= 20  # interval times threshold
    assert states(target, "-") == ["unhealthy"]


def test_a_healthy_target_leaves_and_returns_by_the_thresholds() -> None:
    target = elb_health.Target("group", "i-1", 80, verdict=elb_health.HEALTHY)
    assert states(target, "-+--") == ["healthy", "healthy", "healthy", "unhealthy"]
    assert states(target, "++-+++") == ["unhealthy"] * 5 + ["healthy"]


def test_requests_find_an_instance_while_its_address_is_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = elb_health.Target("group", "i-1", 80, address="10.0.0.1")
    during: list[str | None] = []

    def look_up(_id: str) -> str:
        during.append(target.address)
        return "10.0.0.2"

    async def status_of(address: str, *_given: object) -> int:
        assert address == "10.0.0.2"
        return 200

    monkeypatch.setattr(elb_health, "status_of", status_of)
    group = {
        "TargetType": "instance",
        "HealthCheckPath": "/",
        "HealthCheckTimeoutSeconds": 2,
        "HealthCheckPort": "traffic-port",
    }
    assert asyncio.run(elb_health.Targets(look_up)._status(target, group)) == 200
    assert during == ["10.0.0.1"]
    assert target.address == "10.0.0.2"
