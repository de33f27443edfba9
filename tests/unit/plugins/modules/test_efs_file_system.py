# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What MiniStack does not show: slow states, lost answers, and that nothing but content counts."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import efs_file_system
from ansible_collections.multicompute.spin.plugins.modules.efs_file_system import (
    wanted,
    wanted_policy,
    wanted_targets,
)
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)
from hypothesis import given
from hypothesis import strategies as st

ARN = "arn:aws:elasticfilesystem:eu-central-1:123456789012:file-system/fs-0123456789abcdef0"
SUBNET = "subnet-0123456789abcdef0"
GROUP = "sg-0123456789abcdef0"
FILE_SYSTEM = {
    "OwnerId": "123456789012",
    "CreationToken": "share",
    "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
    "FileSystemId": "fs-0123456789abcdef0",
    "FileSystemArn": ARN,
    "LifeCycleState": "available",
    "NumberOfMountTargets": 0,
    "SizeInBytes": {"Value": 0},
    "PerformanceMode": "generalPurpose",
    "Encrypted": True,
    "KmsKeyId": "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab",
    "ThroughputMode": "bursting",
    "Tags": [{"Key": "Name", "Value": "share"}],
}
TARGET = {
    "MountTargetId": "fsmt-0123456789abcdef0",
    "FileSystemId": "fs-0123456789abcdef0",
    "SubnetId": SUBNET,
    "LifeCycleState": "available",
}


def file_systems(**changes: Any) -> dict[str, Any]:
    return {"FileSystems": [FILE_SYSTEM | changes]}


def targets(**changes: Any) -> dict[str, Any]:
    return {"MountTargets": [TARGET | changes]}


ARGS = {"name": "share", "mount_targets": [{"subnet_id": SUBNET, "security_groups": [GROUP]}]}


def test_creation_waits_for_each_state_before_the_next_call(aws: FakeAws) -> None:
    creating = {"LifeCycleState": "creating"}
    none: dict[str, Any] = {"FileSystems": []}
    slow = [none, file_systems(**creating), file_systems(**creating), file_systems()]
    aws.on("efs.DescribeFileSystems", slow)
    aws.on("efs.CreateFileSystem", FILE_SYSTEM)
    aws.on("efs.CreateMountTarget", TARGET | creating)
    aws.on("efs.DescribeMountTargets", [targets(**creating), targets()])
    aws.on("efs.DescribeMountTargetSecurityGroups", {"SecurityGroups": [GROUP]})
    result = run_module(efs_file_system, ARGS)
    assert result["mount_targets"][0]["security_groups"] == [GROUP]
    assert aws.operations() == [
        "DescribeFileSystems",
        "CreateFileSystem",
        *["DescribeFileSystems"] * 3,
        "CreateMountTarget",
        *["DescribeMountTargets"] * 2,
        "DescribeFileSystems",
        "DescribeMountTargets",
        "DescribeMountTargetSecurityGroups",
    ]
    assert aws.params("CreateFileSystem") == [
        {
            "CreationToken": "share",
            "Encrypted": True,
            "PerformanceMode": "generalPurpose",
            "Tags": [{"Key": "Name", "Value": "share"}],
        }
    ]


def test_an_answer_lost_after_the_creation_makes_no_second_file_system(aws: FakeAws) -> None:
    exists = AwsError("FileSystemAlreadyExists", "already exists", 409)
    aws.on("efs.DescribeFileSystems", [{"FileSystems": []}, file_systems()])
    aws.on("efs.CreateFileSystem", [AwsError("InternalServerError", status=500), exists])
    aws.on("efs.DescribeMountTargets", {"MountTargets": []})
    result = run_module(efs_file_system, {"name": "share"})
    assert result["file_system"]["file_system_id"] == FILE_SYSTEM["FileSystemId"]


def test_a_mount_target_in_creation_is_neither_changed_nor_made_twice(aws: FakeAws) -> None:
    aws.on("efs.DescribeFileSystems", file_systems())
    aws.on("efs.DescribeMountTargets", targets(LifeCycleState="creating"))
    aws.on("efs.DescribeMountTargetSecurityGroups", AwsError("IncorrectMountTargetState", "", 409))
    assert not run_module(efs_file_system, ARGS | {"wait": False})["changed"]
    assert aws.writes() == []


def test_what_an_interrupted_run_left_is_waited_for(aws: FakeAws) -> None:
    creating = {"LifeCycleState": "creating"}
    aws.on("efs.DescribeFileSystems", [file_systems(**creating)] * 2 + [file_systems()])
    aws.on("efs.DescribeMountTargets", [targets(**creating)] * 3 + [targets()])
    aws.on("efs.DescribeMountTargetSecurityGroups", {"SecurityGroups": [GROUP]})
    assert not run_module(efs_file_system, ARGS)["changed"]
    assert aws.operations() == [
        *["DescribeFileSystems"] * 3,
        *["DescribeMountTargets"] * 4,
        "DescribeMountTargetSecurityGroups",
    ]


def test_an_answer_lost_after_a_mount_target_came_about_makes_no_second(aws: FakeAws) -> None:
    lost = AwsError("InternalServerError", "", 500)
    conflict = AwsError("MountTargetConflict", "already in this zone", 409)
    aws.on("efs.DescribeFileSystems", file_systems())
    aws.on("efs.DescribeMountTargets", [{"MountTargets": []}, targets()])
    aws.on("efs.DescribeMountTargetSecurityGroups", {"SecurityGroups": [GROUP]})
    aws.on("efs.CreateMountTarget", [lost, conflict])
    assert len(run_module(efs_file_system, ARGS)["mount_targets"]) == 1
    assert len(aws.params("CreateMountTarget")) == 2


def test_an_old_mount_target_that_is_still_going_is_waited_for(aws: FakeAws) -> None:
    going = targets(SubnetId="subnet-1111111111111111f", LifeCycleState="deleting")
    conflict = AwsError("MountTargetConflict", "already in this zone", 409)
    aws.on("efs.DescribeFileSystems", file_systems())
    aws.on("efs.DescribeMountTargets", [going, going, targets()])
    aws.on("efs.DescribeMountTargetSecurityGroups", {"SecurityGroups": [GROUP]})
    aws.on("efs.CreateMountTarget", [conflict, conflict, TARGET])
    assert run_module(efs_file_system, ARGS)["changed"]
    aws.on("efs.DescribeMountTargets", going)
    aws.on("efs.CreateMountTarget", conflict)
    assert "list one subnet for each zone" in run_module(efs_file_system, ARGS)["msg"]


def test_a_file_system_being_deleted_counts_as_gone(aws: FakeAws) -> None:
    deleting = file_systems(LifeCycleState="deleting")
    gone = AwsError("FileSystemNotFound", "gone", 404)
    aws.on("efs.DescribeFileSystems", deleting)
    assert run_module(efs_file_system, {"name": "share"}, check=True)["diff"]["before"] == {}
    aws.on("efs.DescribeFileSystems", [deleting, deleting, gone, file_systems()])
    aws.on("efs.CreateFileSystem", FILE_SYSTEM)
    aws.on("efs.DescribeMountTargets", {"MountTargets": []})
    assert run_module(efs_file_system, {"name": "share"})["changed"]
    aws.on("efs.DescribeFileSystems", [deleting, gone])
    assert not run_module(efs_file_system, {"name": "share", "state": "absent"})["changed"]


def test_deletion_waits_for_the_mount_targets_and_for_the_end(aws: FakeAws) -> None:
    aws.on("efs.DescribeFileSystems", [file_systems(), file_systems(LifeCycleState="deleting")])
    aws.answers["efs.DescribeFileSystems"].append(AwsError("FileSystemNotFound", "", 404))
    deleting = targets(LifeCycleState="deleting")
    gone = AwsError("MountTargetNotFound", "", 404)
    aws.on("efs.DescribeMountTargets", [targets(), deleting, gone])
    aws.on("efs.DescribeMountTargetSecurityGroups", {"SecurityGroups": [GROUP]})
    aws.on("efs.DescribeAccessPoints", {"AccessPoints": []})
    aws.on("efs.DeleteMountTarget", {})
    aws.on("efs.DeleteFileSystem", [AwsError("FileSystemInUse", "in use", 409), {}])
    result = run_module(efs_file_system, {"name": "share", "state": "absent"})
    assert result["changed"]
    assert aws.operations() == [
        "DescribeFileSystems",
        "DescribeMountTargets",
        "DescribeMountTargetSecurityGroups",
        "DescribeAccessPoints",
        "DeleteMountTarget",
        *["DescribeMountTargets"] * 2,
        *["DeleteFileSystem"] * 2,
        *["DescribeFileSystems"] * 2,
    ]


def test_throughput_waits_until_it_is_in_force(aws: FakeAws) -> None:
    updating = file_systems(LifeCycleState="updating")
    aws.on("efs.DescribeFileSystems", [file_systems(), updating, file_systems()])
    aws.on("efs.DescribeMountTargets", {"MountTargets": []})
    aws.on("efs.UpdateFileSystem", FILE_SYSTEM)
    run_module(efs_file_system, {"name": "share", "throughput_mode": "elastic"})
    assert aws.params("UpdateFileSystem") == [
        {"FileSystemId": FILE_SYSTEM["FileSystemId"], "ThroughputMode": "elastic"}
    ]
    assert aws.operations().count("DescribeFileSystems") == 4


def test_throughput_that_may_change_tomorrow_only_is_not_tried_again(aws: FakeAws) -> None:
    aws.on("efs.DescribeFileSystems", file_systems())
    aws.on("efs.DescribeMountTargets", {"MountTargets": []})
    aws.on("efs.UpdateFileSystem", AwsError("TooManyRequests", "wait", 429))
    result = run_module(efs_file_system, {"name": "share", "throughput_mode": "elastic"})
    assert "once in 24 hours" in result["msg"]
    assert len(aws.params("UpdateFileSystem")) == 1


def test_the_key_may_be_given_as_id_arn_or_alias(aws: FakeAws) -> None:
    aws.on("efs.DescribeFileSystems", file_systems())
    aws.on("efs.DescribeMountTargets", {"MountTargets": []})
    for key in ("1234abcd-12ab", FILE_SYSTEM["KmsKeyId"], "alias/share"):
        assert not run_module(efs_file_system, {"name": "share", "kms_key_id": key})["changed"]
    other = run_module(efs_file_system, {"name": "share", "kms_key_id": "99999999-9999"})
    assert "kms_key_id" in other["msg"]


def test_tags_are_purged_but_for_name_and_what_is_aws_own(aws: FakeAws) -> None:
    old = {"Name": "share", "a": "1", "b": "2", "c": "3", "aws:backup": "x"}
    tags = [{"Key": key, "Value": value} for key, value in old.items()]
    aws.on("efs.DescribeFileSystems", file_systems(Tags=tags))
    aws.on("efs.DescribeMountTargets", {"MountTargets": []})
    aws.on("efs.UntagResource", {})
    aws.on("efs.TagResource", {})
    run_module(efs_file_system, {"name": "share", "tags": {"c": 4}})
    assert sorted(aws.params("UntagResource")[0]["TagKeys"]) == ["a", "b"]
    assert aws.params("TagResource")[0]["Tags"] == [{"Key": "c", "Value": "4"}]


@pytest.mark.parametrize(
    ("operation", "doing"),
    [
        ("DescribeFileSystems", "look for the file system share"),
        ("CreateFileSystem", "create the file system share"),
        ("CreateMountTarget", f"create the mount target of fs-0123456789abcdef0 in {SUBNET}"),
    ],
)
def test_a_refused_call_says_what_was_being_done(aws: FakeAws, operation: str, doing: str) -> None:
    aws.on("efs.DescribeFileSystems", [{"FileSystems": []}, file_systems()])
    aws.on("efs.CreateFileSystem", FILE_SYSTEM)
    aws.on(f"efs.{operation}", AwsError("AccessDeniedException", "not you", 403))
    message = run_module(efs_file_system, ARGS)["msg"]
    assert message.startswith(f"Could not {doing} (allow elasticfilesystem:{operation} to")
    assert "AccessDeniedException" in message and "not you" in message


# Only content counts.

names = st.text("abc", min_size=1, max_size=4)
groups = st.lists(names, min_size=1, max_size=3, unique=True)
options = st.dictionaries(names, groups, max_size=4)


@given(options, st.randoms())
def test_order_of_mount_targets_and_groups_never_matters(
    content: dict[str, list[str]], random: Any
) -> None:
    given_targets = [{"subnet_id": k, "security_groups": list(v)} for k, v in content.items()]
    current = [{"subnet_id": k, "security_groups": sorted(content[k])} for k in sorted(content)]
    random.shuffle(given_targets)
    for target in given_targets:
        random.shuffle(target["security_groups"])
    assert wanted_targets(given_targets, current) == current
    without = [{"subnet_id": target["subnet_id"]} for target in given_targets]
    assert wanted_targets(without, current) == current


@given(options, options)
def test_every_real_difference_of_mount_targets_shows(
    old: dict[str, list[str]], new: dict[str, list[str]]
) -> None:
    current = [{"subnet_id": k, "security_groups": sorted(old[k])} for k in sorted(old)]
    desired = wanted_targets(
        [{"subnet_id": k, "security_groups": v} for k, v in new.items()], current
    )
    same = {k: sorted(v) for k, v in old.items()} == {k: sorted(v) for k, v in new.items()}
    assert (desired == current) is same


statements = st.lists(
    st.fixed_dictionaries(
        {
            "Effect": st.sampled_from(["Allow", "Deny"]),
            "Principal": st.sampled_from(["*", {"AWS": "*"}]),
            "Action": st.lists(
                st.sampled_from(["elasticfilesystem:ClientMount", "elasticfilesystem:ClientWrite"]),
                min_size=1,
                unique=True,
            ),
        }
    ),
    min_size=1,
    max_size=3,
)


@given(statements, st.randoms(), st.booleans())
def test_what_aws_fills_into_a_policy_is_no_change(
    content: list[dict[str, Any]], random: Any, single: bool
) -> None:
    policy = {"Version": "2012-10-17", "Statement": content}
    stored = copy.deepcopy(policy) | {"Id": "1"}
    for number, statement in enumerate(stored["Statement"]):
        statement |= {"Sid": f"efs-statement-{number}", "Resource": ARN}
        if single and len(statement["Action"]) == 1:
            statement["Action"] = statement["Action"][0]
        random.shuffle(statement["Action"]) if isinstance(statement["Action"], list) else None
    random.shuffle(stored["Statement"])
    assert wanted_policy(policy, stored, ARN) == stored
    stored["Statement"][0]["Effect"] = "Deny" if content[0]["Effect"] == "Allow" else "Allow"
    if len(content) == 1:
        assert wanted_policy(policy, stored, ARN) == policy


@given(st.dictionaries(names, st.integers() | st.booleans() | names, max_size=3))
def test_tags_are_text_whatever_yaml_made_of_them(tags: dict[str, Any]) -> None:
    params = {option: None for option in efs_file_system.SETTERS} | dict.fromkeys(
        (*efs_file_system.IMMUTABLE, *efs_file_system.THROUGHPUT)
    )
    params |= {"name": "share", "tags": tags, "purge_tags": True}
    stored = {"Name": "share", "aws:kept": "x"} | {key: str(value) for key, value in tags.items()}
    assert wanted(params, {"tags": stored}, ARN)["tags"] == stored
    assert json.dumps(wanted(params, {"tags": {}}, ARN)["tags"])
