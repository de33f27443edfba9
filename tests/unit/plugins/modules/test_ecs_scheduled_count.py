# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import ecs_scheduled_count
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)

SERVICE = {"cluster": "demo", "service": "ecs-blue"}
TARGET = {
    "ServiceNamespace": "ecs",
    "ResourceId": "service/demo/ecs-blue",
    "ScalableDimension": "ecs:service:DesiredCount",
}
MADE = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 23, 10, 10, tzinfo=UTC)


class FakeCloud:
    """A service that runs two tasks, and Application Auto Scaling as far as it is asked."""

    def __init__(self, aws: FakeAws) -> None:
        self.count: int | None = 2
        self.target: dict[str, Any] | None = None
        self.actions: list[dict[str, Any]] = []
        aws.on("ecs.DescribeServices", self.describe_services)
        for operation in (
            "RegisterScalableTarget",
            "DeregisterScalableTarget",
            "DescribeScalableTargets",
            "PutScheduledAction",
            "DescribeScheduledActions",
        ):
            aws.on(f"application-autoscaling.{operation}", getattr(self, operation))

    def describe_services(self, _params: dict[str, Any]) -> dict[str, Any]:
        if self.count is None:
            return {"services": [{"status": "INACTIVE", "desiredCount": 2}]}
        return {"services": [{"status": "ACTIVE", "desiredCount": self.count}]}

    def RegisterScalableTarget(self, params: dict[str, Any]) -> Any:
        self.target = params
        return {}

    def DeregisterScalableTarget(self, params: dict[str, Any]) -> Any:
        self.target, self.actions = None, []
        return {}

    def DescribeScalableTargets(self, params: dict[str, Any]) -> Any:
        assert params["ResourceIds"] == [TARGET["ResourceId"]]
        found = [{**self.target, "RoleARN": "role", "CreationTime": MADE}] if self.target else []
        return {"ScalableTargets": found}

    def PutScheduledAction(self, params: dict[str, Any]) -> Any:
        if not self.target:
            return AwsError("ObjectNotFoundException", "No scalable target registered")
        self.actions = [{**params, "ScheduledActionARN": "arn", "CreationTime": MADE}]
        return {}

    def DescribeScheduledActions(self, params: dict[str, Any]) -> Any:
        return {"ScheduledActions": self.actions}


@pytest.fixture
def cloud(aws: FakeAws, monkeypatch: pytest.MonkeyPatch) -> FakeCloud:
    monkeypatch.setattr(ecs_scheduled_count, "now", lambda: NOW)
    return FakeCloud(aws)


def run(*, check: bool = False, **options: Any) -> dict[str, Any]:
    return run_module(ecs_scheduled_count, {**SERVICE, **options}, check=check)


def test_the_count_is_scheduled_and_stays_so_until_then(cloud: FakeCloud, aws: FakeAws) -> None:
    predicted = run(after=600, check=True)
    assert predicted["changed"]
    assert aws.writes() == []
    done = run(after=600)
    assert done["changed"]
    assert done["at"] == predicted["at"] == "2026-11-23T10:20:00Z"
    assert done["diff"] == predicted["diff"]
    assert done["diff"]["after"] == {"at": "2026-11-23T10:20:00Z", "count": 0}
    # Nothing happens when it is registered.
    assert aws.params("RegisterScalableTarget") == [{**TARGET, "MinCapacity": 0, "MaxCapacity": 2}]
    assert aws.params("PutScheduledAction") == [
        {
            **TARGET,
            "ScheduledActionName": "scheduled-count",
            "Schedule": "at(2026-11-23T10:20:00)",
            "ScalableTargetAction": {"MinCapacity": 0, "MaxCapacity": 0},
        }
    ]


def test_what_is_scheduled_keeps_its_time(
    cloud: FakeCloud, aws: FakeAws, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(after=600)
    aws.calls.clear()
    monkeypatch.setattr(ecs_scheduled_count, "now", lambda: NOW + timedelta(seconds=300))
    for check in (False, True):
        again = run(after=600, check=check)
        assert not again["changed"]
        assert again["at"] == "2026-11-23T10:20:00Z"
    assert aws.writes() == []


def test_another_count_is_taken_over_at_the_time_that_is_set(cloud: FakeCloud) -> None:
    run(after=600)
    changed = run(after=900, count=1)
    assert changed["changed"]
    assert changed["at"] == "2026-11-23T10:20:00Z"
    assert cloud.actions[0]["ScalableTargetAction"] == {"MinCapacity": 1, "MaxCapacity": 1}


def test_a_time_that_has_passed_is_no_schedule(
    cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(after=600)
    monkeypatch.setattr(ecs_scheduled_count, "now", lambda: NOW + timedelta(seconds=601))
    cloud.count = 3  # it had come down, and is up again
    assert run(after=600)["at"] == "2026-11-23T10:30:01Z"
    assert cloud.target
    assert cloud.target["MaxCapacity"] == 3


def test_a_service_that_has_the_count_needs_none(cloud: FakeCloud, aws: FakeAws) -> None:
    cloud.count = 0
    result = run(after=600)
    assert (result["changed"], result["at"]) == (False, None)
    assert aws.writes() == []


def test_a_greater_count(cloud: FakeCloud) -> None:
    run(after=600, count=5)
    assert cloud.target
    assert (cloud.target["MinCapacity"], cloud.target["MaxCapacity"]) == (2, 5)


def test_now_is_a_little_later(cloud: FakeCloud) -> None:
    assert run(after=0)["at"] == "2026-11-23T10:10:05Z"


def test_arns_are_taken_for_names(cloud: FakeCloud, aws: FakeAws) -> None:
    arn = "arn:aws:ecs:eu-central-1:123456789012"
    run(after=1, cluster=f"{arn}:cluster/demo", service=f"{arn}:service/demo/ecs-blue")
    assert aws.params("RegisterScalableTarget")[0]["ResourceId"] == TARGET["ResourceId"]


def test_absent_takes_it_back_once(cloud: FakeCloud, aws: FakeAws) -> None:
    run(after=600)
    aws.calls.clear()
    predicted = run(state="absent", check=True)
    assert predicted["changed"]
    assert aws.writes() == []
    done = run(state="absent")
    assert done["changed"]
    assert done["at"] is None
    assert done["diff"] == predicted["diff"]
    assert done["diff"]["before"]["at"] == "2026-11-23T10:20:00Z"
    assert aws.params("DeregisterScalableTarget") == [TARGET]
    aws.calls.clear()
    for check in (False, True):
        assert not run(state="absent", check=check)["changed"]
    assert aws.writes() == []


def test_absent_removes_a_target_whose_action_is_gone(cloud: FakeCloud) -> None:
    run(after=600)
    cloud.actions = []
    assert run(state="absent")["changed"]
    assert cloud.target is None


def test_a_target_that_is_not_known_yet_is_waited_for(cloud: FakeCloud, aws: FakeAws) -> None:
    unknown = AwsError("ObjectNotFoundException", "No scalable target registered")
    put = "application-autoscaling.PutScheduledAction"
    aws.on(put, [unknown, unknown, cloud.PutScheduledAction])
    assert run(after=600)["changed"]
    assert cloud.actions


@pytest.mark.parametrize("missing", [True, False])
def test_a_service_that_is_not_there(cloud: FakeCloud, aws: FakeAws, missing: bool) -> None:
    cloud.count = None
    if missing:
        aws.on("ecs.DescribeServices", AwsError("ClusterNotFoundException"))
    assert run(after=600)["msg"] == (
        "There is no service ecs-blue of cluster demo: "
        "create it first, or correct cluster and service"
    )
    # Before the first run of a play that makes it.
    assert run(after=600, check=True)["at"] == "2026-11-23T10:20:00Z"
    assert aws.writes() == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "missing: after"),
        ({"after": -1}, "after is -1, it must be 0 or more"),
        ({"after": 1, "count": -1}, "count is -1, it must be 0 or more"),
    ],
)
def test_errors(cloud: FakeCloud, options: dict[str, Any], message: str) -> None:
    assert message in run(**options)["msg"]
