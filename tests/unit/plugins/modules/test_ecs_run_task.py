# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import ecs_run_task
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)

TASK = "arn:aws:ecs:eu-central-1:123456789012:task/demo/1dc5c17a422b4dc4b493371970c6c4d6"
DEFINITION = "arn:aws:ecs:eu-central-1:123456789012:task-definition/publisher:3"
ARGS: dict[str, Any] = {
    "cluster": "demo",
    "task_definition": "publisher:3",
    "container": "publisher",
    "command": ["publish", "--key=1.0.0.tar"],
    "subnets": ["subnet-1", "subnet-2"],
    "security_groups": ["sg-1"],
    "tags": {"number": 1},
}
LOGGED = {
    "logDriver": "awslogs",
    "options": {"awslogs-group": "/demo/publisher", "awslogs-stream-prefix": "publish"},
}


def stopped(*containers: dict[str, Any], reason: str = "") -> dict[str, Any]:
    task = {
        "taskArn": TASK,
        "taskDefinitionArn": DEFINITION,
        "lastStatus": "STOPPED",
        "containers": list(containers),
        "stoppedReason": reason,
    }
    return {"tasks": [task]}


@pytest.fixture
def ecs(aws: FakeAws) -> FakeAws:
    """A task that runs for a while and ends well."""
    aws.on("ecs.RunTask", {"tasks": [{"taskArn": TASK}], "failures": []})
    running = {"tasks": [{"taskArn": TASK, "lastStatus": "RUNNING"}]}
    aws.on("ecs.DescribeTasks", [running, stopped({"name": "publisher", "exitCode": 0})])
    container = {"name": "publisher", "logConfiguration": LOGGED}
    aws.on("ecs.DescribeTaskDefinition", {"taskDefinition": {"containerDefinitions": [container]}})
    aws.on("logs.GetLogEvents", {"events": [{"message": "unpacking\n"}, {"message": "done"}]})
    return aws


def test_one_fargate_task_runs_to_its_end(ecs: FakeAws) -> None:
    result = run_module(ecs_run_task, ARGS)
    assert result["changed"]
    assert (result["task_arn"], result["exit_code"]) == (TASK, 0)
    assert result["log"] == ["unpacking", "done"]
    (request,) = ecs.params("RunTask")
    assert request.pop("clientToken")
    assert request == {
        "cluster": "demo",
        "taskDefinition": "publisher:3",
        "launchType": "FARGATE",
        "count": 1,
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": ["subnet-1", "subnet-2"],
                "securityGroups": ["sg-1"],
                "assignPublicIp": "DISABLED",
            }
        },
        "overrides": {
            "containerOverrides": [{"name": "publisher", "command": ["publish", "--key=1.0.0.tar"]}]
        },
        "tags": [{"key": "number", "value": "1"}],
    }


def test_a_request_whose_answer_was_lost_starts_no_second_task(ecs: FakeAws) -> None:
    lost = AwsError("ServerException", "", 500)
    ecs.on("ecs.RunTask", [lost, lost, {"tasks": [{"taskArn": TASK}], "failures": []}])
    assert run_module(ecs_run_task, ARGS)["changed"]
    assert len({request["clientToken"] for request in ecs.params("RunTask")}) == 1


def test_only_the_end_of_its_own_log_is_read(ecs: FakeAws) -> None:
    run_module(ecs_run_task, {**ARGS, "log_lines": 7})
    assert ecs.params("GetLogEvents") == [
        {
            "logGroupName": "/demo/publisher",
            "logStreamName": "publish/publisher/1dc5c17a422b4dc4b493371970c6c4d6",
            "limit": 7,
            "startFromHead": False,
        }
    ]


def test_without_command_the_task_definitions_own_runs(ecs: FakeAws) -> None:
    args = {key: value for key, value in ARGS.items() if key not in ("command", "tags")}
    run_module(ecs_run_task, {**args, "assign_public_ip": True})
    (request,) = ecs.params("RunTask")
    assert not request.keys() & {"overrides", "tags"}
    network = request["networkConfiguration"]["awsvpcConfiguration"]
    assert network["assignPublicIp"] == "ENABLED"


def test_a_container_that_fails_fails_the_module_with_its_last_words(ecs: FakeAws) -> None:
    failed = {"name": "publisher", "exitCode": 2}
    ecs.on("ecs.DescribeTasks", stopped(failed, reason="Essential container in task exited"))
    ecs.on("logs.GetLogEvents", {"events": [{"message": "digest is wrong"}]})
    result = run_module(ecs_run_task, ARGS)
    assert result["failed"]
    assert result["msg"] == (
        f"Task {TASK} failed: container publisher ended with 2: Essential container in task exited."
        " Its last words:\ndigest is wrong"
    )
    assert (result["exit_code"], result["log"]) == (2, ["digest is wrong"])


def test_a_container_beside_it_that_fails_counts(ecs: FakeAws) -> None:
    beside = {"name": "sidecar", "exitCode": 137, "reason": "OutOfMemoryError"}
    ecs.on("ecs.DescribeTasks", stopped({"name": "publisher", "exitCode": 0}, beside))
    result = run_module(ecs_run_task, ARGS)
    assert result["failed"]
    assert "container sidecar ended with 137: OutOfMemoryError" in result["msg"]


def test_a_task_that_never_started_says_why(ecs: FakeAws) -> None:
    reason = "CannotPullContainerError: image not found"
    ecs.on("ecs.DescribeTasks", stopped({"name": "publisher"}, reason=reason))
    ecs.on("logs.GetLogEvents", AwsError("ResourceNotFoundException", "no such stream"))
    result = run_module(ecs_run_task, ARGS)
    assert result["failed"]
    assert f"container publisher ended with None: {reason}" in result["msg"]
    assert result["msg"].endswith("Its last words:\nnothing")


def test_a_task_without_the_container_fails(ecs: FakeAws) -> None:
    ecs.on("ecs.DescribeTasks", stopped({"name": "other", "exitCode": 0}, reason="ended"))
    result = run_module(ecs_run_task, ARGS)
    assert result["failed"]
    assert "it has no container publisher: ended" in result["msg"]


def test_a_cluster_without_capacity_is_named(ecs: FakeAws) -> None:
    ecs.on("ecs.RunTask", {"tasks": [], "failures": [{"reason": "RESOURCE:MEMORY"}]})
    result = run_module(ecs_run_task, ARGS)
    assert result["msg"] == "Could not run task publisher:3 on cluster demo: RESOURCE:MEMORY"


def test_a_task_that_takes_too_long_is_named(ecs: FakeAws) -> None:
    ecs.on("ecs.DescribeTasks", {"tasks": [{"taskArn": TASK, "lastStatus": "RUNNING"}]})
    result = run_module(ecs_run_task, {**ARGS, "wait_timeout": 12})
    assert result["failed"]
    assert f"Could not see task {TASK} end within 12 s" in result["msg"]


def test_a_container_that_logs_elsewhere_has_no_log(ecs: FakeAws) -> None:
    containers = [{"name": "publisher", "logConfiguration": {"logDriver": "splunk"}}]
    ecs.on("ecs.DescribeTaskDefinition", {"taskDefinition": {"containerDefinitions": containers}})
    assert run_module(ecs_run_task, ARGS)["log"] == []
    assert "GetLogEvents" not in ecs.operations()


def test_check_mode_asks_for_nothing(ecs: FakeAws) -> None:
    assert run_module(ecs_run_task, ARGS, check=True)["changed"]
    assert ecs.operations() == []
