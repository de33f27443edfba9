"""Application Auto Scaling: scheduled actions set the desired count of services."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .compute import unique
from .conftest import Api, LocalCloud, answers, until

CLUSTER = "scaled"


@pytest.fixture(scope="module")
def cluster(local_cloud: LocalCloud) -> Iterator[LocalCloud]:
    ecs = local_cloud.client("ecs")
    ecs.create_cluster(clusterName=CLUSTER)
    container = {"name": "app", "image": "debian:trixie-slim", "command": ["sleep", "600"]}
    ecs.register_task_definition(
        family="app", containerDefinitions=[{**container, "stopTimeout": 1}]
    )
    yield local_cloud


def service(api: Api, count: int) -> dict[str, str]:
    """A new service, as Application Auto Scaling knows it."""
    name = unique("service")
    api.client("ecs").create_service(
        cluster=CLUSTER, serviceName=name, taskDefinition="app", desiredCount=count
    )
    return target(name)


def target(name: str) -> dict[str, str]:
    return {
        "ServiceNamespace": "ecs",
        "ResourceId": f"service/{CLUSTER}/{name}",
        "ScalableDimension": "ecs:service:DesiredCount",
    }


def state(api: Api, resource: dict[str, str]) -> dict[str, Any]:
    name = resource["ResourceId"].rpartition("/")[2]
    return api.client("ecs").describe_services(cluster=CLUSTER, services=[name])["services"][0]


def at(seconds: float) -> str:
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.strftime("at(%Y-%m-%dT%H:%M:%S)")


NONE = {"MinCapacity": 0, "MaxCapacity": 0}


def actions(api: Api, resource: dict[str, str], **asked: Any) -> list[dict[str, Any]]:
    scaling = api.client("application-autoscaling")
    return scaling.describe_scheduled_actions(**resource, **asked)["ScheduledActions"]


def test_a_scheduled_action_takes_the_tasks_away(cluster: LocalCloud) -> None:
    scaling, resource = cluster.client("application-autoscaling"), service(cluster, 1)
    until(lambda: state(cluster, resource)["runningCount"] == 1, 60, "the task")
    arn = scaling.register_scalable_target(**resource, MinCapacity=0, MaxCapacity=1)
    put = {"ScheduledActionName": "end", "Schedule": at(4), "ScalableTargetAction": NONE}
    scaling.put_scheduled_action(**resource, **put)
    (action,) = actions(cluster, resource, ScheduledActionNames=["end"])
    assert put.items() <= action.items()
    assert actions(cluster, resource, ScheduledActionNames=["other"]) == []
    time.sleep(1)
    assert state(cluster, resource)["desiredCount"] == 1
    until(lambda: state(cluster, resource)["desiredCount"] == 0, 10, "the scheduled action")
    until(lambda: state(cluster, resource)["runningCount"] == 0, 30, "the end of the task")
    (found,) = scaling.describe_scalable_targets(
        ServiceNamespace="ecs", ResourceIds=[resource["ResourceId"]]
    )["ScalableTargets"]
    assert (found["MinCapacity"], found["MaxCapacity"]) == (0, 0)
    assert found["ScalableTargetARN"] == arn["ScalableTargetARN"]
    # Once: what somebody sets later stays.
    name = resource["ResourceId"].rpartition("/")[2]
    cluster.client("ecs").update_service(cluster=CLUSTER, service=name, desiredCount=1)
    time.sleep(1.5)
    assert state(cluster, resource)["desiredCount"] == 1
    scaling.register_scalable_target(**resource, MinCapacity=0, MaxCapacity=0)
    assert state(cluster, resource)["desiredCount"] == 0


def test_what_is_scheduled_survives_kill_9_and_what_fell_due_meanwhile_is_done(
    cluster: LocalCloud,
) -> None:
    scaling = cluster.client("application-autoscaling")
    soon, later = service(cluster, 0), service(cluster, 0)
    for resource, seconds in ((soon, 3), (later, 3000)):
        scaling.register_scalable_target(**resource, MinCapacity=0, MaxCapacity=9)
        scaling.put_scheduled_action(
            **resource,
            ScheduledActionName="grow",
            Schedule=at(seconds),
            ScalableTargetAction={"MinCapacity": 1},
        )
    before = actions(cluster, later)
    saved = cluster.home / "state/application_autoscaling.json"
    until(lambda: saved.exists() and later["ResourceId"] in saved.read_text(), what="a save")
    os.kill(cluster.pid, signal.SIGKILL)
    until(lambda: not answers(f"{cluster.endpoint}/_ministack/health"))
    time.sleep(3)
    cluster("start")
    until(lambda: state(cluster, soon)["desiredCount"] == 1, 10, "what fell due meanwhile")
    assert actions(cluster, later) == before
    assert state(cluster, later)["desiredCount"] == 0


def test_a_target_takes_its_actions_with_it(cluster: LocalCloud) -> None:
    scaling, resource = cluster.client("application-autoscaling"), service(cluster, 0)
    put = {"Schedule": at(3000), "ScalableTargetAction": NONE}
    with pytest.raises(ClientError, match="ObjectNotFoundException.*No scalable target"):
        scaling.put_scheduled_action(**resource, ScheduledActionName="a", **put)
    scaling.register_scalable_target(**resource, MinCapacity=0, MaxCapacity=1)
    for name in ("a", "b"):
        scaling.put_scheduled_action(**resource, ScheduledActionName=name, **put)
    scaling.delete_scheduled_action(**resource, ScheduledActionName="a")
    with pytest.raises(ClientError, match="ObjectNotFoundException"):
        scaling.delete_scheduled_action(**resource, ScheduledActionName="a")
    assert [action["ScheduledActionName"] for action in actions(cluster, resource)] == ["b"]
    scaling.deregister_scalable_target(**resource)
    assert actions(cluster, resource) == []
    with pytest.raises(ClientError, match="ObjectNotFoundException"):
        scaling.deregister_scalable_target(**resource)


@pytest.mark.parametrize(
    ("limits", "refused"),
    [
        ({}, "needs MinCapacity and MaxCapacity"),
        ({"MinCapacity": 2, "MaxCapacity": 1}, "less than minimum"),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    cluster: LocalCloud, limits: dict[str, int], refused: str
) -> None:
    scaling = cluster.client("application-autoscaling")
    with pytest.raises(ClientError, match=f"ValidationException.*{refused}"):
        scaling.register_scalable_target(**service(cluster, 0), **limits)


def test_a_service_or_a_time_that_is_not_there_is_refused(cluster: LocalCloud) -> None:
    scaling, resource = cluster.client("application-autoscaling"), service(cluster, 0)
    with pytest.raises(ClientError, match="ValidationException.*doesn't exist"):
        scaling.register_scalable_target(**target("absent"), MinCapacity=0, MaxCapacity=1)
    scaling.register_scalable_target(**resource, MinCapacity=0, MaxCapacity=1)
    for schedule in (at(-60), "rate(1 day)"):
        with pytest.raises(ClientError, match="ValidationException"):
            scaling.put_scheduled_action(
                **resource, ScheduledActionName="a", Schedule=schedule, ScalableTargetAction=NONE
            )


def test_upstream_knows_no_scheduled_actions(plain_ministack: Api) -> None:
    with pytest.raises(ClientError):
        plain_ministack.client("application-autoscaling").describe_scheduled_actions(
            ServiceNamespace="ecs"
        )
