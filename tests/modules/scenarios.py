# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of one resource per module, as tests of all modules need it: steps that each change
something, and what there is afterwards, which tells whether something exists twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ansible_collections.multicompute.spin.plugins.modules import (
    ecr_repository,
    ecs_task_definition,
    efs_access_point,
    efs_file_system,
    elb_target_group,
    lambda_container,
    s3_bucket,
)

Args = dict[str, Any]
Clients = Callable[[str], Any]
ROLE = "arn:aws:iam::123456789012:role/demo"
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/demo@sha256:"


@dataclass
class Scenario:
    module: ModuleType
    # From what `prepare` returns, the arguments of each step.
    steps: Callable[[Any], list[Args]]
    # How many of everything there are.
    count: Callable[[Clients], dict[str, int]]
    prepare: Callable[[Clients], Any] = lambda clients: None

    @property
    def name(self) -> str:
        return self.module.__name__.rsplit(".", 1)[-1]


def network(clients: Clients) -> list[str]:
    ec2 = clients("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    return [
        ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"eu-central-1{zone}"
        )["Subnet"]["SubnetId"]
        for number, zone in enumerate("ab")
    ]


def file_system_steps(subnets: list[str]) -> list[Args]:
    insecure = {"Bool": {"aws:SecureTransport": "false"}}
    mount = "elasticfilesystem:ClientMount"
    deny = {"Effect": "Deny", "Principal": "*", "Action": mount, "Condition": insecure}
    return [
        {
            "name": "share",
            "mount_targets": [{"subnet_id": subnet} for subnet in subnets],
            "policy": {"Version": "2012-10-17", "Statement": [deny]},
            "backup": True,
            "lifecycle_policies": {"transition_to_ia": "AFTER_30_DAYS"},
            "tags": {"project": "demo"},
        },
        {
            "name": "share",
            "throughput_mode": "elastic",
            "mount_targets": [{"subnet_id": subnets[0]}],
            "policy": {},
            "tags": {"project": "other"},
        },
        {"name": "share", "state": "absent"},
    ]


def count_efs(clients: Clients) -> dict[str, int]:
    systems = clients("efs").describe_file_systems()["FileSystems"]
    return {
        "file systems": len(systems),
        "mount targets": sum(system["NumberOfMountTargets"] for system in systems),
        "access points": len(clients("efs").describe_access_points()["AccessPoints"]),
    }


def file_system(clients: Clients) -> str:
    return clients("efs").create_file_system(CreationToken="share")["FileSystemId"]


def access_point_steps(file_system_id: str) -> list[Args]:
    given = {
        "name": "servers",
        "file_system_id": file_system_id,
        "posix_user": {"uid": 1000, "gid": 1000},
        "root_directory": {
            "path": "/app",
            "owner_uid": 1000,
            "owner_gid": 1000,
            "permissions": "755",
        },
        "tags": {"project": "demo"},
    }
    return [
        given,
        given | {"tags": {"project": "other"}},
        given | {"posix_user": {"uid": 2, "gid": 2}, "recreate": True},
        {"name": "servers", "file_system_id": file_system_id, "state": "absent"},
    ]


def function_steps(_prepared: Any) -> list[Args]:
    given = {
        "name": "demo",
        "image_uri": f"{IMAGE}{1:064}",
        "role": ROLE,
        "environment": {"A": "1"},
        "tags": {"project": "demo"},
    }
    return [
        given,
        given
        | {
            "image_uri": f"{IMAGE}{2:064}",
            "memory_size": 256,
            "reserved_concurrent_executions": 5,
            "provisioned_concurrent_executions": 1,
            "alias_weight": 50,
            "tags": {"project": "other"},
        },
        given | {"image_uri": f"{IMAGE}{2:064}", "memory_size": 256, "keep": 1},
        {"name": "demo", "state": "absent"},
    ]


def count_functions(clients: Clients) -> dict[str, int]:
    client = clients("lambda")
    counts = {"functions": 0, "versions": 0, "aliases": 0}
    for function in client.list_functions()["Functions"]:
        name = function["FunctionName"]
        counts["functions"] += 1
        counts["versions"] += len(client.list_versions_by_function(FunctionName=name)["Versions"])
        counts["aliases"] += len(client.list_aliases(FunctionName=name)["Aliases"])
    return counts


def task_definition_steps(_prepared: Any) -> list[Args]:
    given = {
        "family": "demo",
        "requires_compatibilities": ["FARGATE"],
        "cpu": "256",
        "memory": "512",
        "container_definitions": [{"name": "app", "image": "demo:1"}],
        "tags": {"project": "demo"},
    }
    return [
        given,
        given | {"cpu": "512", "memory": "1024"},
        given | {"cpu": "512", "memory": "1024", "tags": {"project": "other"}},
        given | {"keep": 1},
        {"family": "demo", "state": "absent"},
    ]


def count_revisions(clients: Clients) -> dict[str, int]:
    list_ = clients("ecs").list_task_definitions
    return {
        status: len(list_(familyPrefix="demo", status=status)["taskDefinitionArns"])
        for status in ("ACTIVE", "INACTIVE")
    }


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


def bucket_steps(_prepared: Any) -> list[Args]:
    return [
        {"name": "demo-releases", "versioning": True, "tags": {"project": "demo"}},
        {"name": "demo-releases", "expiration": {"days": 30}, "tags": {}, "versioning": False},
        {"name": "demo-releases", "state": "absent", "force": True},
    ]


def count_buckets(clients: Clients) -> dict[str, int]:
    return {"buckets": len(clients("s3").list_buckets()["Buckets"])}


SCENARIOS = [
    Scenario(efs_file_system, file_system_steps, count_efs, network),
    Scenario(efs_access_point, access_point_steps, count_efs, file_system),
    Scenario(lambda_container, function_steps, count_functions),
    Scenario(ecs_task_definition, task_definition_steps, count_revisions),
    Scenario(elb_target_group, target_group_steps, count_target_groups),
    Scenario(ecr_repository, repository_steps, count_repositories),
    Scenario(s3_bucket, bucket_steps, count_buckets),
]
