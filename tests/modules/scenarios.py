# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of one resource per module: steps that each change
something, and what there is afterwards, which tells whether something exists twice."""

from __future__ import annotations

import contextlib
import io
import json
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ansible_collections.multicompute.spin.plugins.modules import (
    ecr_repository,
    ecs_scheduled_count,
    ecs_task_definition,
    efs_access_point,
    efs_file_system,
    elb_lambda_target,
    elb_target_group,
    elb_weighted_listener,
    lambda_container,
    s3_bucket,
)
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import free_port

Args = dict[str, Any]
Clients = Callable[[str], Any]
ROLE = "arn:aws:iam::123456789012:role/demo"


@dataclass
class Scenario:
    module: ModuleType
    # From what `prepare` returns, the arguments of each step.
    steps: Callable[[Any], list[Args]]
    # How many of everything there are.
    count: Callable[[Clients], dict[str, int]]
    prepare: Callable[[Clients], Any] = lambda clients: None
    # Whether it needs what the local cloud mends in MiniStack.
    local: bool = False

    @property
    def name(self) -> str:
        return self.module.__name__.rsplit(".", 1)[-1]


def count_efs(clients: Clients) -> dict[str, int]:
    systems = clients("efs").describe_file_systems()["FileSystems"]
    return {
        "file systems": len(systems),
        "mount targets": sum(system["NumberOfMountTargets"] for system in systems),
        "access points": len(clients("efs").describe_access_points()["AccessPoints"]),
    }


def file_system(clients: Clients) -> str:
    return clients("efs").create_file_system(CreationToken="share")["FileSystemId"]


def access_point(file_system_id: str, **changes: Any) -> Args:
    return {
        "name": "servers",
        "file_system_id": file_system_id,
        "posix_user": {"uid": 1000, "gid": 1000, "secondary_gids": [7, 5]},
        "root_directory": {
            "path": "/app",
            "owner_uid": 1000,
            "owner_gid": 1000,
            "permissions": "755",
        },
        "tags": {"project": "demo"},
    } | changes


def access_point_steps(file_system_id: str) -> list[Args]:
    return [
        access_point(file_system_id),
        access_point(file_system_id, tags={"project": "other"}),
        access_point(file_system_id, posix_user={"uid": 2, "gid": 2}, recreate=True),
        {"name": "servers", "file_system_id": file_system_id, "state": "absent"},
    ]


def target_group_steps(_prepared: Any) -> list[Args]:
    given = {"name": "demo", "protocol": "HTTP", "port": 8000, "vpc_id": "vpc-0123456789abcdef0"}
    return [
        given | {"targets": [{"id": "i-0000000000000000a"}], "tags": {"project": "demo"}},
        given
        | {
            "targets": [{"id": "i-0000000000000000b"}],
            "health_check": {"path": "/health"},
            "deregistration_delay": 20,
            "tags": {"other": "demo"},
        },
        {"name": "demo", "state": "absent"},
    ]


def count_target_groups(clients: Clients) -> dict[str, int]:
    elb = clients("elbv2")
    groups = [group["TargetGroupArn"] for group in elb.describe_target_groups()["TargetGroups"]]
    health = [elb.describe_target_health(TargetGroupArn=group) for group in groups]
    return {
        "target groups": len(groups),
        "targets": sum(len(answer["TargetHealthDescriptions"]) for answer in health),
    }


def repository_steps(_prepared: Any) -> list[Args]:
    return [
        {"name": "demo/runtime", "keep_images": 10, "tags": {"project": "demo"}},
        {
            "name": "demo/runtime",
            "image_tag_mutability": "immutable",
            "scan_on_push": True,
            "keep_images": 0,
            "tags": {"other": "demo"},
        },
        {"name": "demo/runtime", "state": "absent"},
    ]


def count_repositories(clients: Clients) -> dict[str, int]:
    return {"repositories": len(clients("ecr").describe_repositories()["repositories"])}


def bucket_steps(name: str) -> list[Args]:
    return [
        {"name": name, "expiration": {"days": 7}, "tags": {"project": "demo"}},
        {"name": name, "versioning": True, "expiration": {"days": 0}, "tags": {}},
        {"name": name, "state": "absent", "force": True},
    ]


def bucket_name(_clients: Clients) -> str:
    """Names of buckets are unique over all accounts."""
    return f"demo-{uuid.uuid4()}"


def count_buckets(clients: Clients) -> dict[str, int]:
    return {"buckets": len(clients("s3").list_buckets()["Buckets"])}


def task_definition(image: str, **changes: Any) -> Args:
    container = {"name": "app", "image": image}
    return {"family": "demo", "container_definitions": [container]} | changes


def task_definition_steps(_prepared: Any) -> list[Args]:
    return [
        task_definition("demo:1", tags={"project": "demo"}),
        task_definition("demo:1", tags={"other": "demo"}),
        task_definition("demo:2", keep=1),
        {"family": "demo", "state": "absent"},
    ]


def count_revisions(clients: Clients) -> dict[str, int]:
    ecs = clients("ecs")
    return {
        status: len(ecs.list_task_definitions(status=status)["taskDefinitionArns"])
        for status in ("ACTIVE", "INACTIVE")
    }


def container_function(image: int, **changes: Any) -> Args:
    repository = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/demo"
    uri = f"{repository}@sha256:{image:064}"
    return {"name": "demo", "image_uri": uri, "role": ROLE} | changes


def container_function_steps(_prepared: Any) -> list[Args]:
    return [
        container_function(1, tags={"project": "demo"}),
        container_function(2, memory_size=512, alias_weight=10, tags={"other": "demo"}),
        container_function(
            2, keep=1, reserved_concurrent_executions=5, provisioned_concurrent_executions=1
        ),
        {"name": "demo", "state": "absent"},
    ]


def count_functions(clients: Clients) -> dict[str, int]:
    functions = clients("lambda")
    names = [each["FunctionName"] for each in functions.list_functions()["Functions"]]
    versions = [functions.list_versions_by_function(FunctionName=name) for name in names]
    return {
        "functions": len(names),
        "versions": sum(len(answer["Versions"]) for answer in versions),
    }


def network(clients: Clients) -> Args:
    ec2 = clients("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"eu-central-1{zone}"
        )["Subnet"]["SubnetId"]
        for number, zone in enumerate("ab")
    ]
    group = ec2.create_security_group(GroupName="demo", Description="demo", VpcId=vpc)["GroupId"]
    return {"vpc": vpc, "subnets": subnets, "group": group}


def file_system_steps(prepared: Any) -> list[Args]:
    first, second = prepared["subnets"] if prepared else ("", "")
    group = prepared["group"] if prepared else ""
    allowed = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "elasticfilesystem:*"}
    return [
        {
            "name": "share",
            "mount_targets": [{"subnet_id": first}],
            "lifecycle_policies": {"transition_to_ia": "AFTER_30_DAYS"},
            "policy": {"Version": "2012-10-17", "Statement": [allowed]},
            "tags": {"project": "demo"},
        },
        {
            "name": "share",
            "mount_targets": [
                {"subnet_id": first, "security_groups": [group]},
                {"subnet_id": second},
            ],
            "throughput_mode": "elastic",
            "lifecycle_policies": {},
            "backup": True,
            "policy": {},
            "tags": {"other": "demo"},
        },
        {"name": "share", "mount_targets": []},
        {"name": "share", "state": "absent"},
    ]


def load_balancer(clients: Clients) -> Args:
    """One with two target groups, and a port that is free for its listener."""
    subnets = network(clients)["subnets"]
    elb = clients("elbv2")
    for name in ("a", "b"):
        elb.create_target_group(Name=name, TargetType="lambda")
    made = elb.create_load_balancer(Name="demo", Subnets=subnets)["LoadBalancers"]
    return {"load_balancer_arn": made[0]["LoadBalancerArn"], "port": free_port()}


def listener_steps(prepared: Any) -> list[Args]:
    given = prepared or {}

    groups = [{"target_group_name": "a"}]

    def rule(priority: int, group: str) -> Args:
        to = [{"target_group_name": group}]
        return {"priority": priority, "paths": ["/x"], "target_groups": to}

    return [
        given
        | {
            "target_groups": [
                {"target_group_name": "a", "weight": 1},
                {"target_group_name": "b", "weight": 2},
            ],
            "rules": [rule(1, "a"), rule(2, "a"), {"hosts": ["x"], "target_groups": groups}],
            "tags": {"project": "demo"},
        },
        given
        | {
            "target_groups": [{"target_group_name": "b", "weight": 3}],
            "rules": [rule(2, "b"), rule(3, "b"), {"hosts": ["x"], "state": "absent"}],
            "tags": {"other": "demo"},
        },
        given | {"state": "absent"},
    ]


def count_listeners(clients: Clients) -> dict[str, int]:
    elb = clients("elbv2")
    (balancer,) = elb.describe_load_balancers()["LoadBalancers"]
    found = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    rules = [elb.describe_rules(ListenerArn=each["ListenerArn"])["Rules"] for each in found]
    return {"listeners": len(found), "rules": sum(len(of_one) for of_one in rules)}


def function_and_group(clients: Clients) -> Args:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("app.py", "")
    functions = [
        clients("lambda").create_function(
            FunctionName=name,
            Runtime="python3.12",
            Handler="app.handler",
            Role=ROLE,
            Code={"ZipFile": archive.getvalue()},
        )["FunctionArn"]
        for name in ("first", "second")
    ]
    group = clients("elbv2").create_target_group(Name="demo", TargetType="lambda")["TargetGroups"]
    return {"functions": functions, "group": group[0]["TargetGroupArn"]}


def lambda_target_steps(prepared: Any) -> list[Args]:
    first, second = prepared["functions"] if prepared else ("", "")
    given = {"target_group_arn": prepared["group"] if prepared else ""}
    return [
        given | {"function_arn": first, "multi_value_headers": True},
        given | {"function_arn": second},
        given | {"state": "absent"},
    ]


def count_lambda_targets(clients: Clients) -> dict[str, int]:
    functions = clients("lambda")
    statements = 0
    for name in ("first", "second"):
        with contextlib.suppress(functions.exceptions.ResourceNotFoundException):
            policy = json.loads(functions.get_policy(FunctionName=name)["Policy"])
            statements += len(policy["Statement"])
    return count_target_groups(clients) | {"statements": statements}


def stopped_service(clients: Clients) -> None:
    ecs = clients("ecs")
    ecs.create_cluster(clusterName="scheduled")
    container = {"name": "app", "image": "debian:trixie-slim"}
    ecs.register_task_definition(family="scheduled", containerDefinitions=[container])
    ecs.create_service(
        cluster="scheduled", serviceName="app", taskDefinition="scheduled", desiredCount=0
    )


def scheduled_count_steps(prepared: Any) -> list[Args]:
    service = {"cluster": "scheduled", "service": "app"}
    return [
        service | {"count": 1, "after": 3000},
        service | {"count": 2, "after": 3000},
        service | {"state": "absent"},
    ]


def count_scheduled(clients: Clients) -> dict[str, int]:
    scaling = clients("application-autoscaling")
    targets = scaling.describe_scalable_targets(ServiceNamespace="ecs")["ScalableTargets"]
    actions = scaling.describe_scheduled_actions(ServiceNamespace="ecs")["ScheduledActions"]
    return {"targets": len(targets), "actions": len(actions)}


SCENARIOS = [
    Scenario(efs_file_system, file_system_steps, count_efs, network),
    Scenario(efs_access_point, access_point_steps, count_efs, file_system),
    Scenario(elb_target_group, target_group_steps, count_target_groups),
    Scenario(elb_weighted_listener, listener_steps, count_listeners, load_balancer, local=True),
    Scenario(elb_lambda_target, lambda_target_steps, count_lambda_targets, function_and_group),
    Scenario(ecr_repository, repository_steps, count_repositories),
    Scenario(
        ecs_scheduled_count, scheduled_count_steps, count_scheduled, stopped_service, local=True
    ),
    Scenario(ecs_task_definition, task_definition_steps, count_revisions),
    Scenario(lambda_container, container_function_steps, count_functions),
    Scenario(s3_bucket, bucket_steps, count_buckets, bucket_name),
]
