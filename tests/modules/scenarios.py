# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of one resource per module: steps that each change
something, and what there is afterwards, which tells whether something exists twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from ansible_collections.multicompute.spin.plugins.modules import (
    ecr_repository,
    efs_access_point,
    elb_target_group,
)

Args = dict[str, Any]
Clients = Callable[[str], Any]


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


SCENARIOS = [
    Scenario(efs_access_point, access_point_steps, count_efs, file_system),
    Scenario(elb_target_group, target_group_steps, count_target_groups),
    Scenario(ecr_repository, repository_steps, count_repositories),
]
