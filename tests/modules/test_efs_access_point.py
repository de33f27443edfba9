# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import (
    efs_access_point,
    efs_access_point_info,
)
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

from .scenarios import access_point as args


@pytest.fixture
def share(cloud: Any) -> str:
    return cloud("efs").create_file_system(CreationToken="share")["FileSystemId"]


def test_missing_parameter_and_unknown_parents(cloud: Any, share: str) -> None:
    assert "file_system_id" in run_module(efs_access_point, {"name": "servers"})["msg"]
    assert "name, access_point_id" in run_module(efs_access_point, {})["msg"]
    unknown = run_module(efs_access_point, args("fs-0123456789abcdef0"))
    assert "Could not create an access point on fs-0123456789abcdef0 (check" in unknown["msg"]
    assert "FileSystemNotFound" in unknown["msg"]
    unknown = run_module(efs_access_point, {"access_point_id": "fsap-0123456789abcdef0"})
    assert "There is no access point fsap-0123456789abcdef0" in unknown["msg"]


def test_life(cloud: Any, share: str, converge: Any) -> None:
    point = converge(efs_access_point, args(share))["access_point"]
    assert point["posix_user"] == {"uid": 1000, "gid": 1000, "secondary_gids": [5, 7]}
    assert point["root_directory"]["path"] == "/app"
    assert point["tags"] == {"Name": "servers", "project": "demo"}

    same = args(share, posix_user={"uid": "1000", "gid": "1000", "secondary_gids": ["5", "7"]})
    same["root_directory"] = {"path": "app/"}
    assert converge(efs_access_point, same)["changed"] is False
    same["root_directory"] = args(share)["root_directory"] | {
        "owner_uid": "1000",
        "permissions": "0755",
    }
    assert converge(efs_access_point, same)["changed"] is False

    tagged = converge(efs_access_point, args(share, tags={"project": "other"}))
    assert (
        tagged["changed"] and tagged["access_point"]["access_point_id"] == point["access_point_id"]
    )
    assert tagged["access_point"]["tags"] == {"Name": "servers", "project": "other"}

    converge(efs_access_point, args(share, state="absent"))
    assert cloud("efs").describe_access_points()["AccessPoints"] == []
    assert converge(efs_access_point, args(share, state="absent"))["changed"] is False


def test_what_cannot_change_is_replaced_only_on_demand(
    cloud: Any, share: str, converge: Any
) -> None:
    point = converge(efs_access_point, args(share))["access_point"]
    for change in (
        {"posix_user": {"uid": 1001, "gid": 1000}},
        {"root_directory": {"path": "/other"}},
    ):
        for check in (True, False):
            refused = run_module(efs_access_point, args(share, **change), check=check)
            assert (
                f"EFS cannot change the access point {point['access_point_id']}" in refused["msg"]
            )
            assert "recreate: true" in refused["msg"]
    change = {"file_system_id": share, "name": "servers", "recreate": True}
    change["root_directory"] = {"path": "/other"}
    replaced = converge(efs_access_point, change)["access_point"]
    assert replaced["access_point_id"] != point["access_point_id"]
    # What the task does not mention stays as it was.
    assert replaced["posix_user"] == point["posix_user"] and replaced["tags"] == point["tags"]
    (left,) = cloud("efs").describe_access_points()["AccessPoints"]
    assert left["AccessPointId"] == replaced["access_point_id"]


def test_permissions_that_yaml_turned_into_a_decimal_are_refused(share: str) -> None:
    wrong = args(share)
    wrong["root_directory"]["permissions"] = 0o755
    assert "which is no octal mode" in run_module(efs_access_point, wrong)["msg"]


def test_two_with_the_same_name_are_not_guessed_between(cloud: Any, share: str) -> None:
    for _ in range(2):
        cloud("efs").create_access_point(
            FileSystemId=share, Tags=[{"Key": "Name", "Value": "servers"}]
        )
    message = run_module(efs_access_point, args(share))["msg"]
    assert f"{share} has 2 access points named servers" in message


def test_check_mode_with_a_file_system_that_does_not_exist_yet(cloud: Any) -> None:
    predicted = run_module(efs_access_point, args("fs-00000000000000000"), check=True)
    assert predicted["changed"]
    assert predicted["access_point"]["access_point_id"] == "fsap-00000000000000000"
    assert predicted["access_point"]["file_system_id"] == "fs-00000000000000000"


def test_info(cloud: Any, share: str, converge: Any) -> None:
    other = cloud("efs").create_file_system(CreationToken="other")["FileSystemId"]
    for name in ("b", "a"):
        converge(efs_access_point, args(share, name=name))
    converge(efs_access_point, args(other, name="a", tags={"number": 1}))

    def names(**options: Any) -> list[str]:
        found = run_module(efs_access_point_info, options)["access_points"]
        return [point["name"] for point in found]

    assert names(file_system_id=share) == ["a", "b"]
    assert names(name="b") == ["b"]
    assert names(tags={"number": 1}) == ["a"]
    assert len(names()) == 3
    assert names(file_system_id=share, tags={"number": 1}) == []
    assert names(file_system_id="fs-00000000000000000") == []
    assert names(access_point_id="fsap-00000000000000000") == []
