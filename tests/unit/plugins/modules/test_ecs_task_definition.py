# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What MiniStack does not show: the defaults that AWS fills in, pages, failures."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import botocore.session
from ansible_collections.multicompute.spin.plugins.modules import ecs_task_definition
from ansible_collections.multicompute.spin.plugins.modules.ecs_task_definition import normal
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)
from hypothesis import given, settings
from hypothesis import strategies as st

SHAPE = (
    botocore.session.get_session()
    .get_service_model("ecs")
    .operation_model("RegisterTaskDefinition")
    .input_shape
)
ARN = "arn:aws:ecs:eu-central-1:123456789012:task-definition/demo"
ARGS: dict[str, Any] = {
    "family": "demo",
    "requires_compatibilities": ["FARGATE"],
    "network_mode": "awsvpc",
    "cpu": "1 vCPU",
    "memory": "2 GB",
    "volumes": [
        {"name": "tmp"},
        {"name": "share", "efs_volume_configuration": {"file_system_id": "fs-1"}},
    ],
    "container_definitions": [
        {
            "name": "app",
            "image": "demo",
            "port_mappings": [{"container_port": 8000}],
            "health_check": {"command": ["CMD", "true"]},
            "environment": {"B": "2", "A": "1"},
        }
    ],
}
# What AWS answers to these.
FILLED: dict[str, Any] = {
    "taskDefinitionArn": f"{ARN}:1",
    "family": "demo",
    "revision": 1,
    "status": "ACTIVE",
    "registeredAt": datetime(2026, 1, 1, tzinfo=UTC),
    "registeredBy": "arn:aws:iam::123456789012:root",
    "compatibilities": ["EC2", "FARGATE"],
    "requiresAttributes": [{"name": "ecs.capability.task-eni"}],
    "requiresCompatibilities": ["FARGATE"],
    "networkMode": "awsvpc",
    "cpu": "1024",
    "memory": "2048",
    "placementConstraints": [],
    "enableFaultInjection": False,
    "runtimePlatform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
    "volumes": [
        {
            "name": "share",
            "efsVolumeConfiguration": {
                "fileSystemId": "fs-1",
                "rootDirectory": "/",
                "transitEncryption": "DISABLED",
                "authorizationConfig": {"iam": "DISABLED"},
            },
        },
        {"name": "tmp", "host": {}},
    ],
    "containerDefinitions": [
        {
            "name": "app",
            "image": "demo",
            "cpu": 0,
            "essential": True,
            "versionConsistency": "enabled",
            "portMappings": [{"containerPort": 8000, "hostPort": 8000, "protocol": "tcp"}],
            "environment": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
            "healthCheck": {"command": ["CMD", "true"], "interval": 30, "retries": 3, "timeout": 5},
            "mountPoints": [],
            "volumesFrom": [],
            "systemControls": [],
        }
    ],
}


def revisions(*numbers: int) -> dict[str, Any]:
    return {"taskDefinitionArns": [f"{ARN}:{number}" for number in numbers]}


def answer(aws: FakeAws, **changes: Any) -> None:
    aws.on("ecs.ListTaskDefinitions", revisions(1))
    aws.on("ecs.DescribeTaskDefinition", {"taskDefinition": FILLED | changes})


def test_the_defaults_that_aws_fills_in_are_no_change(aws: FakeAws) -> None:
    answer(aws)
    result = run_module(ecs_task_definition, ARGS)
    assert result["diff"]["before"] == result["diff"]["after"]
    assert not result["changed"] and aws.writes() == []


def test_the_request_is_complete(aws: FakeAws) -> None:
    aws.on("ecs.ListTaskDefinitions", revisions())
    aws.on("ecs.RegisterTaskDefinition", {"taskDefinition": FILLED})
    run_module(ecs_task_definition, ARGS | {"tags": {"a": 1}})
    (request,) = aws.params("RegisterTaskDefinition")
    assert request["tags"] == [{"key": "a", "value": "1"}]
    assert request["containerDefinitions"] == [
        {
            "name": "app",
            "image": "demo",
            "portMappings": [{"containerPort": 8000}],
            "healthCheck": {"command": ["CMD", "true"]},
            "environment": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
        }
    ]


def test_zero_is_not_a_default_where_it_means_something() -> None:
    def swap(swappiness: int) -> dict[str, Any]:
        parameters = {"swappiness": swappiness} if swappiness >= 0 else {}
        return {"containerDefinitions": [{"name": "a", "linuxParameters": parameters}]}

    assert normal(SHAPE, swap(0)) != normal(SHAPE, swap(-1))


def test_a_fixed_host_port_in_bridge_mode_is_not_the_default() -> None:
    def port(**mapping: int) -> dict[str, Any]:
        ports = [{"containerPort": 80} | mapping]
        return {"containerDefinitions": [{"name": "a", "portMappings": ports}]}

    assert normal(SHAPE, port(hostPort=0)) == normal(SHAPE, port())
    assert normal(SHAPE, port(hostPort=80)) != normal(SHAPE, port())


def test_of_250_revisions_on_several_pages_the_newest_counts(aws: FakeAws) -> None:
    def page(params: dict[str, Any]) -> dict[str, Any]:
        if params["status"] == "INACTIVE":
            return revisions()
        first = int(params.get("nextToken", 1))
        more = {"nextToken": str(first + 100)} if first < 200 else {}
        return revisions(*range(first, min(first + 100, 251))) | more

    aws.on("ecs.ListTaskDefinitions", page)
    aws.on("ecs.DescribeTaskDefinition", {"taskDefinition": FILLED})
    aws.on("ecs.DeregisterTaskDefinition", {})
    aws.on("ecs.DeleteTaskDefinitions", {})
    run_module(ecs_task_definition, ARGS | {"keep": 2})
    assert aws.params("DescribeTaskDefinition")[0]["taskDefinition"] == f"{ARN}:250"
    gone = [params["taskDefinition"] for params in aws.params("DeregisterTaskDefinition")]
    assert gone == [f"{ARN}:{number}" for number in range(248, 0, -1)]
    deleted = aws.params("DeleteTaskDefinitions")
    assert len(deleted) == 25 and all(len(call["taskDefinitions"]) <= 10 for call in deleted)


def test_a_revision_that_cannot_be_deleted_is_named(aws: FakeAws) -> None:
    aws.on("ecs.ListTaskDefinitions", [revisions(1), revisions()])
    aws.on("ecs.DeregisterTaskDefinition", {})
    failure = {"arn": f"{ARN}:1", "reason": "in use"}
    aws.on("ecs.DeleteTaskDefinitions", {"failures": [failure]})
    message = run_module(ecs_task_definition, {"family": "demo", "state": "absent"})["msg"]
    assert f"{ARN}:1: in use" in message and "delete: false" in message


def test_another_registration_at_the_same_moment_is_waited_for(aws: FakeAws) -> None:
    busy = AwsError(
        "ClientException",
        "Too many concurrent attempts to create a new revision of the specified family.",
    )
    aws.on("ecs.ListTaskDefinitions", revisions())
    aws.on("ecs.RegisterTaskDefinition", [busy, {"taskDefinition": FILLED}])
    assert run_module(ecs_task_definition, ARGS)["changed"]


def test_a_refusal_says_what_was_being_done(aws: FakeAws) -> None:
    aws.on("ecs.ListTaskDefinitions", revisions())
    aws.on("ecs.RegisterTaskDefinition", AwsError("ClientException", "No Fargate configuration"))
    message = run_module(ecs_task_definition, ARGS)["msg"]
    assert message.startswith("Could not register a revision of demo: ")
    assert "ClientException" in message and "No Fargate configuration" in message


# Only content counts.

names = st.text("abc", min_size=1, max_size=3)
numbers = st.integers(0, 9)
flags = st.booleans()
containers = st.fixed_dictionaries(
    {"name": names, "image": names},
    optional={
        "cpu": numbers,
        "memory": numbers,
        "essential": flags,
        "privileged": flags,
        "command": st.lists(names, max_size=3),
        "environment": st.lists(
            st.fixed_dictionaries({"name": names, "value": st.text("xy", max_size=2)}),
            max_size=3,
            unique_by=lambda pair: pair["name"],
        ),
        "portMappings": st.lists(
            st.fixed_dictionaries(
                {"containerPort": numbers},
                optional={"hostPort": numbers, "protocol": st.sampled_from(["tcp", "udp"])},
            ),
            max_size=3,
        ),
        "dockerLabels": st.dictionaries(names, st.text("xy", max_size=2), max_size=2),
        "linuxParameters": st.fixed_dictionaries(
            {}, optional={"swappiness": numbers, "initProcessEnabled": flags}
        ),
    },
)
tasks = st.fixed_dictionaries(
    {"family": st.just("demo"), "containerDefinitions": st.lists(containers, max_size=3)},
    optional={
        "networkMode": st.sampled_from(["awsvpc", "bridge"]),
        "requiresCompatibilities": st.lists(st.sampled_from(["EC2", "FARGATE"]), unique=True),
        "taskRoleArn": names,
        "volumes": st.lists(st.fixed_dictionaries({"name": names}), max_size=2),
    },
)
EMPTY: dict[str, Any] = {"mountPoints": [], "volumesFrom": [], "user": "", "secrets": None}


def as_aws_answers(task: dict[str, Any], random: Any) -> dict[str, Any]:
    """The same task, filled with defaults and in another order."""
    task = copy.deepcopy(task)
    fargate = "FARGATE" in task.get("requiresCompatibilities", [])
    mode = task.setdefault("networkMode", "awsvpc" if fargate else "bridge")
    if fargate:
        task["runtimePlatform"] = {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"}
    task |= {"placementConstraints": [], "revision": 1, "enableFaultInjection": False}
    for container in task["containerDefinitions"]:
        container |= EMPTY | {"cpu": container.get("cpu", 0)}
        container.setdefault("essential", True)
        container.setdefault("readonlyRootFilesystem", False)
        for port in container.get("portMappings", []):
            port.setdefault("protocol", "tcp")
            port.setdefault("hostPort", port["containerPort"] if mode == "awsvpc" else 0)
        for field in ("environment", "portMappings"):
            random.shuffle(container.setdefault(field, []))
    for field in ("containerDefinitions", "requiresCompatibilities", "volumes"):
        random.shuffle(task.setdefault(field, []))
    return task


@settings(max_examples=300)
@given(tasks, st.randoms())
def test_no_default_and_no_order_is_a_change(task: dict[str, Any], random: Any) -> None:
    assert normal(SHAPE, as_aws_answers(task, random)) == normal(SHAPE, task)


@given(tasks, st.data())
def test_every_real_difference_shows(task: dict[str, Any], data: Any) -> None:
    changed = copy.deepcopy(task)
    if not task["containerDefinitions"]:
        return
    container = changed["containerDefinitions"][0]
    field, value = data.draw(
        st.sampled_from(
            [
                ("image", container["image"] + "x"),
                ("command", [*container.get("command", []), "more"]),
                ("environment", [*container.get("environment", []), {"name": "new", "value": ""}]),
                ("essential", not container.get("essential", True)),
                ("memory", container.get("memory", 0) + 1),
                ("dockerLabels", container.get("dockerLabels", {}) | {"new": ""}),
                ("cpu", container.get("cpu", 0) + 1),
            ]
        )
    )
    container[field] = value
    assert normal(SHAPE, changed) != normal(SHAPE, task)
