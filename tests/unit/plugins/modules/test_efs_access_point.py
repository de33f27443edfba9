# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What MiniStack does not show: slow states, lost answers, pages, and what is no change."""

from __future__ import annotations

from typing import Any

from ansible_collections.multicompute.spin.plugins.modules import (
    efs_access_point,
    efs_access_point_info,
)
from ansible_collections.multicompute.spin.plugins.modules.efs_access_point import wanted
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)
from hypothesis import given
from hypothesis import strategies as st

POINT = {
    "AccessPointId": "fsap-0123456789abcdef0",
    "AccessPointArn": "arn:aws:elasticfilesystem:eu-central-1:123456789012:access-point/"
    "fsap-0123456789abcdef0",
    "FileSystemId": "fs-0123456789abcdef0",
    "LifeCycleState": "available",
    "PosixUser": {"Uid": 1000, "Gid": 1000},
    "RootDirectory": {
        "Path": "/app",
        "CreationInfo": {"OwnerUid": 1000, "OwnerGid": 1000, "Permissions": "755"},
    },
    "Tags": [{"Key": "Name", "Value": "servers"}],
}
ARGS = {
    "name": "servers",
    "file_system_id": "fs-0123456789abcdef0",
    "posix_user": {"uid": 1000, "gid": 1000},
}


def points(**changes: Any) -> dict[str, Any]:
    return {"AccessPoints": [POINT | changes]}


def test_creation_waits_and_repeats_with_the_same_token(aws: FakeAws) -> None:
    creating = points(LifeCycleState="creating")
    aws.on("efs.DescribeAccessPoints", [{"AccessPoints": []}, creating, creating, points()])
    not_yet = AwsError("IncorrectFileSystemLifeCycleState", "creating", 409)
    aws.on("efs.CreateAccessPoint", [not_yet, AwsError("InternalServerError", "", 500), POINT])
    result = run_module(efs_access_point, ARGS)
    assert result["access_point"]["life_cycle_state"] == "available", result
    requests = aws.params("CreateAccessPoint")
    assert len(requests) == 3 and requests[0] == requests[1] == requests[2]
    assert aws.operations()[4:] == ["DescribeAccessPoints"] * 4


def test_an_answer_lost_after_the_creation_makes_no_second_access_point(aws: FakeAws) -> None:
    def made(_params: dict[str, Any]) -> dict[str, Any]:
        token = aws.params("CreateAccessPoint")[-1]["ClientToken"]
        other = POINT | {"AccessPointId": "fsap-other", "ClientToken": "of another"}
        return {"AccessPoints": [other, POINT | {"ClientToken": token}]}

    exists = AwsError("AccessPointAlreadyExists", "already exists", 409)
    aws.on("efs.DescribeAccessPoints", [{"AccessPoints": []}, made, points(), points()])
    aws.on("efs.CreateAccessPoint", [AwsError("InternalServerError", status=500), exists])
    result = run_module(efs_access_point, ARGS)
    assert result["access_point"]["access_point_id"] == POINT["AccessPointId"], result
    assert aws.params("DescribeAccessPoints")[2] == {"AccessPointId": POINT["AccessPointId"]}


def test_replacing_waits_until_the_old_one_is_gone(aws: FakeAws) -> None:
    deleting = points(LifeCycleState="deleting")
    gone = AwsError("AccessPointNotFound", "", 404)
    aws.on("efs.DescribeAccessPoints", [points(), deleting, gone, points()])
    aws.on("efs.DeleteAccessPoint", {})
    aws.on("efs.CreateAccessPoint", POINT)
    change = {"posix_user": {"uid": 1, "gid": 1}, "recreate": True}
    assert run_module(efs_access_point, ARGS | change)["changed"]
    assert aws.operations() == [
        "DescribeAccessPoints",
        "DeleteAccessPoint",
        *["DescribeAccessPoints"] * 2,
        "CreateAccessPoint",
        *["DescribeAccessPoints"] * 2,
    ]
    assert aws.params("CreateAccessPoint")[0]["RootDirectory"] == POINT["RootDirectory"]


def test_what_an_interrupted_run_left_is_waited_for(aws: FakeAws) -> None:
    creating = points(LifeCycleState="creating")
    aws.on("efs.DescribeAccessPoints", [creating, creating, points()])
    result = run_module(efs_access_point, ARGS)
    assert not result["changed"]
    assert result["access_point"]["life_cycle_state"] == "available"
    assert len(aws.calls) == 3


def test_one_being_deleted_counts_as_gone(aws: FakeAws) -> None:
    aws.on("efs.DescribeAccessPoints", points(LifeCycleState="deleting"))
    assert not run_module(efs_access_point, ARGS | {"state": "absent"})["changed"]
    assert run_module(efs_access_point, ARGS, check=True)["diff"]["before"] == {}


def test_250_on_stubbed_pages_are_all_found(aws: FakeAws) -> None:
    def page(params: dict[str, Any]) -> dict[str, Any]:
        first = int(params.get("NextToken", 0))
        found = [
            POINT
            | {
                "AccessPointId": f"fsap-{number:017}",
                "Tags": [{"Key": "Name", "Value": f"n{number}"}],
            }
            for number in range(first, min(first + 100, 250))
        ]
        return {"AccessPoints": found} | ({"NextToken": str(first + 100)} if first < 200 else {})

    aws.on("efs.DescribeAccessPoints", page)
    assert len(run_module(efs_access_point_info, {})["access_points"]) == 250
    args = {"name": "n249", "file_system_id": POINT["FileSystemId"]}
    last = run_module(efs_access_point, args)
    assert last["access_point"]["access_point_id"] == f"fsap-{249:017}"


numbers = st.integers(0, 2**31)


@given(
    uid=numbers,
    gids=st.lists(numbers, max_size=5, unique=True),
    mode=st.from_regex("[0-7]{3}", fullmatch=True),
    path=st.lists(st.text("ab.", min_size=1), max_size=4).map("/".join),
    random=st.randoms(),
)
def test_another_way_to_write_the_same_is_no_change(
    uid: int, gids: list[int], mode: str, path: str, random: Any
) -> None:
    current = {
        "posix_user": {"uid": uid, "gid": uid, "secondary_gids": sorted(gids)},
        "root_directory": {
            "path": f"/{path}",
            "owner_uid": uid,
            "owner_gid": uid,
            "permissions": mode,
        },
        "tags": {"Name": "servers"},
    }
    random.shuffle(gids)
    info = random.choice([(uid, uid, f"0{mode}"), (None, None, None)])
    owner = dict(zip(("owner_uid", "owner_gid", "permissions"), info, strict=True))
    params = {
        "posix_user": {"uid": uid, "gid": uid, "secondary_gids": gids},
        "root_directory": {"path": f"{path}/"} | owner,
        "tags": None,
    }
    options = wanted(params, current)
    assert options.items() <= current.items()
    params["posix_user"] = {"uid": uid + 1, "gid": uid, "secondary_gids": gids}
    assert wanted(params, current)["posix_user"] != current["posix_user"]
