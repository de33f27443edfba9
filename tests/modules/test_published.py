# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Published modules and ours, side by side: what theirs lacks is why ours exists.

When the first half of a test fails, the published module has learnt it, and ours may go.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.amazon.aws.plugins.modules import elb_application_lb, lambda_policy
from ansible_collections.community.aws.plugins.modules import ecs_taskdefinition, efs, elb_target
from ansible_collections.multicompute.spin.plugins.modules import (
    ecs_task_definition,
    efs_file_system,
    elb_lambda_target,
    elb_weighted_listener,
    lambda_container,
)
from ansible_collections.multicompute.spin.tests.local_cloud import conftest as local
from ansible_collections.multicompute.spin.tests.local_cloud.test_elb_lambda import function
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

from .scenarios import network

# Its name is a keyword.
published_lambda = __import__(
    "ansible_collections.amazon.aws.plugins.modules.lambda", fromlist=["main"]
)
ROLE = "arn:aws:iam::123456789012:role/demo"
IMAGE = f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/demo@sha256:{1:064}"


@pytest.fixture
def on_local_cloud(local_cloud: local.LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Weights and functions as targets are what MiniStack alone has not."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_cloud.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", local.REGION)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    return local_cloud.client


def theirs_changed(module: Any, args: dict[str, Any]) -> bool:
    result = run_module(module, args)
    assert not result.get("failed"), result["msg"]
    return result["changed"]


def test_the_same_weights_are_no_change(cloud: Any, on_local_cloud: Any) -> None:
    made, elb = network(on_local_cloud), on_local_cloud("elbv2")
    a, b = (
        elb.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=made["vpc"])[
            "TargetGroups"
        ][0]["TargetGroupArn"]
        for name in ("a", "b")
    )
    port = local.free_port()
    shares = [{"TargetGroupArn": a, "Weight": 90}, {"TargetGroupArn": b, "Weight": 10}]
    forward = {"Type": "forward", "ForwardConfig": {"TargetGroups": shares}}
    listener = {"Protocol": "HTTP", "Port": port, "DefaultActions": [forward]}
    theirs = {
        "name": "demo",
        "subnets": made["subnets"],
        "security_groups": [made["group"]],
        "listeners": [listener],
    }
    assert theirs_changed(elb_application_lb, theirs)
    assert theirs_changed(elb_application_lb, theirs), "nothing differs, and it changes"

    def ours(*groups: dict[str, Any]) -> dict[str, Any]:
        args = {"load_balancer_name": "demo", "port": port, "target_groups": list(groups)}
        return run_module(elb_weighted_listener, args)

    for groups in (
        ({"target_group_arn": a, "weight": 90}, {"target_group_arn": b, "weight": 10}),
        ({"target_group_arn": b, "weight": "10"}, {"target_group_arn": a, "weight": "90"}),
        ({"target_group_name": "a", "weight": 90}, {"target_group_name": "b", "weight": 10}),
        ({"target_group_name": "b"}, {"target_group_arn": a}),
    ):
        again = ours(*groups)
        assert again["changed"] is False, again
    assert ours({"target_group_arn": a, "weight": 90})["changed"]
    run_module(
        elb_weighted_listener, {"load_balancer_name": "demo", "port": port, "state": "absent"}
    )


@pytest.mark.parametrize(
    "change",
    [
        {"cpu": "512"},
        {"memory": "2048"},
        {"runtime_platform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"}},
        {"execution_role_arn": ROLE + "2"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_task_is_registered(cloud: Any, change: dict[str, Any]) -> None:
    common = {
        "family": "theirs",
        "cpu": "256",
        "memory": "1024",
        "network_mode": "awsvpc",
        "execution_role_arn": ROLE,
        "runtime_platform": {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"},
    }
    containers = [{"name": "app", "image": "demo", "essential": True}]
    theirs = common | {"state": "present", "launch_type": "FARGATE", "containers": containers}
    assert theirs_changed(ecs_taskdefinition, theirs)
    assert theirs_changed(ecs_taskdefinition, theirs | change) is False, "it is lost"

    def in_ours(options: dict[str, Any]) -> dict[str, Any]:
        platform = options["runtime_platform"]
        return options | {
            "family": "ours",
            "requires_compatibilities": ["FARGATE"],
            "container_definitions": containers,
            "runtime_platform": {
                "cpu_architecture": platform["cpuArchitecture"],
                "operating_system_family": platform["operatingSystemFamily"],
            },
        }

    assert run_module(ecs_task_definition, in_ours(common))["changed"]
    assert run_module(ecs_task_definition, in_ours(common))["changed"] is False
    changed = run_module(ecs_task_definition, in_ours(common | change))
    assert changed["changed"] and changed["task_definition"]["revision"] == 2
    kept = run_module(ecs_task_definition, in_ours(common | change) | {"keep": 1})
    assert kept["diff"]["after"]["active_revisions"] == [2]


def test_the_same_image_publishes_no_version(cloud: Any) -> None:
    theirs = {"name": "theirs", "image_uri": IMAGE, "role": ROLE, "architecture": "x86_64"}
    assert theirs_changed(published_lambda, theirs)
    assert theirs_changed(published_lambda, theirs), "nothing differs, and it changes"
    ours = {"name": "ours", "image_uri": IMAGE, "role": ROLE}
    assert run_module(lambda_container, ours)["version"] == "1"
    again = run_module(lambda_container, ours)
    assert (again["changed"], again["version"]) == (False, "1")


def policy(client: Any, arn: str) -> list[dict[str, Any]]:
    try:
        return json.loads(client.get_policy(FunctionName=arn)["Policy"])["Statement"]
    except client.exceptions.ResourceNotFoundException:
        return []


def test_a_replaced_function_leaves_nothing_behind(
    cloud: Any, local_cloud: local.LocalCloud, on_local_cloud: Any
) -> None:
    elb, lambda_ = on_local_cloud("elbv2"), on_local_cloud("lambda")

    def group(name: str) -> str:
        made = elb.create_target_group(Name=name, TargetType="lambda")["TargetGroups"]
        return made[0]["TargetGroupArn"]

    def targets(arn: str) -> set[str]:
        health = elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        return {target["Target"]["Id"] for target in health}

    with function(local_cloud, "first") as first, function(local_cloud, "second") as second:
        theirs, ours = group("theirs"), group("ours")
        for number, arn in enumerate((first, second)):
            statement = {
                "function_name": arn,
                "statement_id": f"statement-{number}",
                "action": "lambda:InvokeFunction",
                "principal": "elasticloadbalancing.amazonaws.com",
                "source_arn": theirs,
                "state": "present",
            }
            assert theirs_changed(lambda_policy, statement)
            target = {"target_group_arn": theirs, "target_id": arn, "state": "present"}
            run_module(elb_target, target | {"deregister_unused": True})
        assert first in targets(theirs) or policy(lambda_, first), "the old one is still there"
        assert policy(lambda_, first), "its permission is still there"

        for arn in (first, second):
            replaced = {"target_group_arn": ours, "function_arn": arn}
            assert run_module(elb_lambda_target, replaced)["changed"]
            assert run_module(elb_lambda_target, replaced)["changed"] is False
        assert targets(ours) == {second}
        assert [s for s in policy(lambda_, first) if ours in json.dumps(s)] == []
        (statement,) = [s for s in policy(lambda_, second) if ours in json.dumps(s)]
        account = {"AWS:SourceAccount": ours.split(":")[4]}
        assert statement["Condition"]["StringEquals"] == account
        for arn in (theirs, ours):
            elb.delete_target_group(TargetGroupArn=arn)


def test_a_file_system_is_predicted_and_has_all_that_efs_offers(cloud: Any) -> None:
    skipped = run_module(efs, {"name": "theirs"}, check=True)
    assert skipped["skipped"] and "does not support check mode" in skipped["msg"]
    refused = run_module(efs, {"name": "theirs", "throughput_mode": "elastic"})
    assert "value of throughput_mode must be one of" in refused["msg"]

    ours = {
        "name": "ours",
        "throughput_mode": "elastic",
        "backup": True,
        "availability_zone_name": "eu-central-1a",
        "mount_targets": [{"subnet_id": network(cloud)["subnets"][0]}],
    }
    predicted = run_module(efs_file_system, ours, check=True)
    assert predicted["changed"] and cloud("efs").describe_file_systems()["FileSystems"] == []
    made = run_module(efs_file_system, ours)
    assert made["diff"] == predicted["diff"]
    assert made["file_system"]["throughput_mode"] == "elastic"
    targets = cloud("efs").describe_mount_targets(
        FileSystemId=made["file_system"]["file_system_id"]
    )["MountTargets"]
    assert [target["LifeCycleState"] for target in targets] == ["available"]
    assert run_module(efs_file_system, ours)["changed"] is False
    assert run_module(efs_file_system, {"name": "ours", "state": "absent"})["changed"]
    assert cloud("efs").describe_file_systems()["FileSystems"] == []
