# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of EFS share."""

from __future__ import annotations

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
    compare_aws_tags,
)
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api

Options = dict[str, Any]

# Stands for the part of an ID that AWS assigns, in check mode.
PLACEHOLDER = "00000000000000000"


def wanted_tags(params: Options, current: dict[str, str]) -> dict[str, str]:
    """The tags of an EFS resource, whose name is a tag as well."""
    name = {"Name": params["name"]} if params["name"] else {}
    given = {key: str(value) for key, value in (params["tags"] or {}).items()}
    kept = {k: v for k, v in current.items() if not params["purge_tags"] or k.startswith("aws:")}
    return kept | name | given


def set_tags(api: Api, resource_id: str, old: dict[str, str], tags: dict[str, str]) -> None:
    changed, removed = compare_aws_tags(old, tags)
    of: Options = {"ResourceId": resource_id}
    if removed:
        api.call("untag_resource", f"remove tags of {resource_id}", TagKeys=removed, **of)
    if changed:
        tag_list = ansible_dict_to_boto3_tag_list(changed)
        api.call("tag_resource", f"tag {resource_id}", Tags=tag_list, **of)


def read_access_points(
    api: Api, *, access_point_id: str | None = None, file_system_id: str | None = None
) -> list[Options]:
    """Every access point, or that one, or those of a file system; none is no error."""
    by = {"AccessPointId": access_point_id} if access_point_id else {}
    if file_system_id and not access_point_id:
        by = {"FileSystemId": file_system_id}
    found = api.pages(
        "describe_access_points",
        "AccessPoints",
        f"look for the access points of {access_point_id or file_system_id or 'this account'}",
        missing=["AccessPointNotFound", "FileSystemNotFound"],
        **by,
    )
    return [
        described_access_point(point)
        for point in found
        if point["LifeCycleState"] not in ("deleting", "deleted")
        and file_system_id in (None, point["FileSystemId"])
    ]


def described_access_point(point: Options) -> Options:
    """An access point as AWS describes it, in the terms of the options."""
    tags = boto3_tag_list_to_ansible_dict(point.get("Tags", []))
    user = point.get("PosixUser")
    root = point.get("RootDirectory", {})
    info = root.get("CreationInfo") or {}
    return {
        "access_point_id": point["AccessPointId"],
        "access_point_arn": point["AccessPointArn"],
        "file_system_id": point["FileSystemId"],
        "name": tags.get("Name"),
        "life_cycle_state": point["LifeCycleState"],
        "posix_user": user
        and {
            "uid": user["Uid"],
            "gid": user["Gid"],
            "secondary_gids": sorted(user.get("SecondaryGids") or []),
        },
        "root_directory": {
            "path": root.get("Path", "/"),
            "owner_uid": info.get("OwnerUid"),
            "owner_gid": info.get("OwnerGid"),
            "permissions": info.get("Permissions"),
        },
        "tags": tags,
    }
