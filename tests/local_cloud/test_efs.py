"""EFS: file systems are directories, and take time to come and go."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .compute import first_subnet, state, unique
from .conftest import Api, LocalCloud, until


def code_of(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]["Code"]


def file_system(api: Api) -> str:
    efs = api.client("efs")
    id_ = efs.create_file_system(CreationToken=unique("token"))["FileSystemId"]
    until(lambda: state(efs.describe_file_systems(FileSystemId=id_)) == "available")
    return id_


def test_a_file_system_is_a_directory_from_creation_to_deletion(local_cloud: LocalCloud) -> None:
    efs, token = local_cloud.client("efs"), unique("token")
    made = efs.create_file_system(CreationToken=token)
    id_, directory = made["FileSystemId"], local_cloud.home / "efs" / made["FileSystemId"]
    assert made["LifeCycleState"] == "creating"
    assert directory.is_dir()
    early = code_of(efs.create_access_point, FileSystemId=id_, ClientToken=unique("token"))
    assert early == "IncorrectFileSystemLifeCycleState"
    until(lambda: state(efs.describe_file_systems(CreationToken=token)) == "available")
    assert code_of(efs.create_file_system, CreationToken=token) == "FileSystemAlreadyExists"
    efs.delete_file_system(FileSystemId=id_)
    assert state(efs.describe_file_systems(FileSystemId=id_)) == "deleting"
    until(lambda: not directory.exists() or not efs.describe_file_systems()["FileSystems"])
    assert code_of(efs.describe_file_systems, FileSystemId=id_) == "FileSystemNotFound"
    assert not directory.exists()


def test_mount_targets_take_time_one_for_each_zone(local_cloud: LocalCloud) -> None:
    efs, id_, subnet = (
        local_cloud.client("efs"),
        file_system(local_cloud),
        first_subnet(local_cloud),
    )
    target = efs.create_mount_target(FileSystemId=id_, SubnetId=subnet)
    assert target["LifeCycleState"] == "creating"
    until(lambda: state(efs.describe_mount_targets(FileSystemId=id_)) == "available")
    conflict = code_of(efs.create_mount_target, FileSystemId=id_, SubnetId=subnet)
    assert conflict == "MountTargetConflict"
    assert code_of(efs.delete_file_system, FileSystemId=id_) == "FileSystemInUse"
    efs.delete_mount_target(MountTargetId=target["MountTargetId"])
    assert state(efs.describe_mount_targets(FileSystemId=id_)) == "deleting"
    assert code_of(efs.delete_file_system, FileSystemId=id_) == "FileSystemInUse"
    until(lambda: not efs.describe_mount_targets(FileSystemId=id_)["MountTargets"])
    efs.delete_file_system(FileSystemId=id_)


def test_an_access_point_is_a_directory_with_owner_and_mode(local_cloud: LocalCloud) -> None:
    efs, id_ = local_cloud.client("efs"), file_system(local_cloud)
    request = {
        "FileSystemId": id_,
        "ClientToken": unique("token"),
        "RootDirectory": {
            "Path": "/deep/app",
            "CreationInfo": {"OwnerUid": 1000, "OwnerGid": 1001, "Permissions": "2750"},
        },
    }
    point = efs.create_access_point(**request)
    assert point["LifeCycleState"] == "creating"
    assert code_of(efs.create_access_point, **request) == "AccessPointAlreadyExists"
    directory = (local_cloud.home / "efs" / id_ / "deep/app").stat()
    assert (directory.st_uid, directory.st_gid, oct(directory.st_mode)) == (1000, 1001, "0o42750")
    listed = json.loads((local_cloud.home / "efs/access-points.json").read_text())
    assert listed[point["AccessPointId"]] == {"file_system": id_, "path": "/deep/app"}
    efs.delete_file_system(FileSystemId=id_)  # takes it along
    until(lambda: point["AccessPointId"] not in ids(efs.describe_access_points()))
    assert point["AccessPointId"] not in (local_cloud.home / "efs/access-points.json").read_text()


def ids(answer: dict[str, Any]) -> list[str]:
    return [point["AccessPointId"] for point in answer["AccessPoints"]]


def test_access_points_come_in_pages(local_cloud: LocalCloud) -> None:
    efs, id_ = local_cloud.client("efs"), file_system(local_cloud)
    made = three_access_points(local_cloud, id_)
    paginator = efs.get_paginator("describe_access_points")
    pages = list(paginator.paginate(FileSystemId=id_, PaginationConfig={"PageSize": 2}))
    assert [len(page["AccessPoints"]) for page in pages] == [2, 1]
    assert sorted(point for page in pages for point in ids(page)) == sorted(made)


def three_access_points(api: Api, id_: str) -> list[str]:
    create = api.client("efs").create_access_point
    return [
        create(FileSystemId=id_, ClientToken=unique("token"))["AccessPointId"] for _ in range(3)
    ]


def test_unknown_names_are_errors(local_cloud: LocalCloud) -> None:
    efs, point, id_ = local_cloud.client("efs"), "fsap-00000000000000000", "fs-00000000000000000"
    assert code_of(efs.describe_access_points, AccessPointId=point) == "AccessPointNotFound"
    assert code_of(efs.describe_access_points, FileSystemId=id_) == "FileSystemNotFound"
    assert code_of(efs.describe_mount_targets, FileSystemId=id_) == "FileSystemNotFound"


def test_several_tags_go_at_once(local_cloud: LocalCloud) -> None:
    assert tags_after_removing_two(local_cloud) == {"c": "3"}


def tags_after_removing_two(api: Api) -> dict[str, str]:
    efs, id_ = api.client("efs"), file_system(api)
    tags = [{"Key": key, "Value": value} for key, value in ("a1", "b2", "c3")]
    efs.tag_resource(ResourceId=id_, Tags=tags)
    efs.untag_resource(ResourceId=id_, TagKeys=["a", "b"])
    left = efs.list_tags_for_resource(ResourceId=id_)["Tags"]
    return {tag["Key"]: tag["Value"] for tag in left}


def test_policy_and_backup_policy_are_kept(local_cloud: LocalCloud) -> None:
    efs, id_ = local_cloud.client("efs"), file_system(local_cloud)
    assert code_of(efs.describe_file_system_policy, FileSystemId=id_) == "PolicyNotFound"
    statement = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "*", "Resource": "*"}
    statement["Condition"] = {"Bool": {"aws:SecureTransport": "false"}}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    efs.put_file_system_policy(FileSystemId=id_, Policy=policy)
    kept = json.loads(efs.describe_file_system_policy(FileSystemId=id_)["Policy"])
    assert statement.items() <= kept["Statement"][0].items()
    efs.put_backup_policy(FileSystemId=id_, BackupPolicy={"Status": "ENABLED"})
    backup = efs.describe_backup_policy(FileSystemId=id_)["BackupPolicy"]
    assert backup == {"Status": "ENABLED"}
    efs.delete_file_system_policy(FileSystemId=id_)
    assert code_of(efs.describe_file_system_policy, FileSystemId=id_) == "PolicyNotFound"


# Upstream


def test_upstream_has_everything_at_once(plain_ministack: Api) -> None:
    efs, token = plain_ministack.client("efs"), unique("token")
    made = efs.create_file_system(CreationToken=token)
    again = efs.create_file_system(CreationToken=token)
    assert made["LifeCycleState"] == "available"
    assert again["FileSystemId"] == made["FileSystemId"]
    subnet = first_subnet(plain_ministack)
    target = efs.create_mount_target(FileSystemId=made["FileSystemId"], SubnetId=subnet)
    assert target["LifeCycleState"] == "available"


def test_upstream_access_points_have_no_pages_and_outlive_the_file_system(
    plain_ministack: Api,
) -> None:
    efs, id_ = plain_ministack.client("efs"), file_system(plain_ministack)
    made = three_access_points(plain_ministack, id_)
    page = efs.describe_access_points(FileSystemId=id_, MaxResults=2)
    assert len(page["AccessPoints"]) == 2
    assert "NextToken" not in page
    efs.delete_file_system(FileSystemId=id_)
    assert set(made) <= set(ids(efs.describe_access_points()))


def test_upstream_finds_nothing_for_unknown_names(plain_ministack: Api) -> None:
    efs = plain_ministack.client("efs")
    assert ids(efs.describe_access_points(AccessPointId="fsap-00000000000000000")) == []


def test_upstream_removes_one_tag_of_two(plain_ministack: Api) -> None:
    assert tags_after_removing_two(plain_ministack) == {"b": "2", "c": "3"}
