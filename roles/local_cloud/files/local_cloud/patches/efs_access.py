"""Who may mount what, and whether to write: the answer for one client of EFS.

A client that mounts with IAM needs `elasticfilesystem:ClientMount`, and `ClientWrite` to write,
from its role's policies or the file system's. One that mounts without IAM has what the file
system's policy gives everybody. While a file system has no policy AWS gives everything to
everybody; here a role is held to its own policies even then, so that a missing permission shows
before the file system's policy is put.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id, get_region
from ministack.services import ec2, efs, iam

from .efs import Record, access_point_directory, directory, settle


class MountRefused(Exception):
    """Why a client cannot mount."""


@dataclass(frozen=True)
class Mount:
    source: Path
    read_only: bool


def mount(
    file_system_id: str,
    *,
    access_point_id: str | None,
    path: str = "/",
    role_arn: str | None,
    subnets: Iterable[str],
) -> Mount:
    """Mount for a client in `subnets`, as `role_arn` (None: without IAM)."""
    settle()
    file_system = efs._file_systems.get(file_system_id)
    if not file_system:
        raise MountRefused(f"file system {file_system_id} does not exist")
    point = efs._access_points.get(access_point_id) if access_point_id else None
    if access_point_id and (not point or point["FileSystemId"] != file_system_id):
        raise MountRefused(f"{file_system_id} has no access point {access_point_id}")
    require_mount_targets(file_system_id, subnets)
    if not allowed("ClientMount", file_system, point, role_arn):
        raise MountRefused(
            f"access denied: {role_arn or 'a client without IAM'} may not "
            f"elasticfilesystem:ClientMount on {file_system_id}"
        )
    source = access_point_directory(point) if point else directory(file_system) / path.lstrip("/")
    if not source.is_dir():
        raise MountRefused(f"no such directory on {file_system_id}: {path}")
    return Mount(source, not allowed("ClientWrite", file_system, point, role_arn))


def require_mount_targets(file_system_id: str, subnets: Iterable[str]) -> None:
    reachable = {
        target["AvailabilityZoneName"]
        for target in efs._mount_targets.values()
        if target["FileSystemId"] == file_system_id and target["LifeCycleState"] == "available"
    }
    for zone in {ec2._subnets[id_]["AvailabilityZone"] for id_ in subnets if id_ in ec2._subnets}:
        if zone not in reachable:
            raise MountRefused(f"{file_system_id} has no available mount target in {zone}")


def allowed(
    action: str, file_system: Record, access_point: Record | None, role_arn: str | None
) -> bool:
    account = get_account_id()
    policy = file_system.get("FileSystemPolicy")
    context = iam_evaluator.EvalContext(
        principal_arn=_session(role_arn) if role_arn else "",
        principal_type="AssumedRole",
        principal_account=account if role_arn else "",
        action=f"elasticfilesystem:{action}",
        resource_arn=file_system["FileSystemArn"],
        region=get_region(),
        secure_transport=True,  # ECS, Lambda and `mount -t efs -o tls` all use TLS
        service_context={
            "elasticfilesystem:accessedviamounttarget": "true",
            "elasticfilesystem:accesspointarn": access_point and access_point["AccessPointArn"],
        },
    )
    if not role_arn:
        return (
            not policy
            or iam_evaluator.evaluate_resource_policy(policy, context).decision == "Allow"
        )
    role = role_arn.rsplit("/", 1)[-1]
    limits = iam_evaluator._permissions_boundary(iam._roles, role, account)
    identity = iam_evaluator.evaluate(
        context, iam_evaluator._gather_role_policies(role, account), *limits
    )
    return (
        iam_evaluator.combine_resource_policy(
            identity, context, policy, account, limits=tuple(limits)
        ).decision
        == "Allow"
    )


def _session(role_arn: str) -> str:
    account, role = role_arn.split(":")[4], role_arn.rsplit("/", 1)[-1]
    return f"arn:aws:sts::{account}:assumed-role/{role}/local-cloud"
