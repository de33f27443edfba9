# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import efs_file_system
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

TLS_ONLY = {
    "Version": "2012-10-17",
    "Statement": {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "elasticfilesystem:ClientMount",
        "Condition": {"Bool": {"aws:SecureTransport": False}},
    },
}


@pytest.fixture
def network(cloud: Any) -> dict[str, str]:
    ec2 = cloud("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ids = {}
    for number, zone in enumerate("abb"):
        ids[f"{zone}{number}"] = ec2.create_subnet(
            VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone=f"eu-central-1{zone}"
        )["Subnet"]["SubnetId"]
    for name in ("one", "two"):
        ids[name] = ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)[
            "GroupId"
        ]
    return ids


def test_missing_parameter_and_unknown_id(cloud: Any) -> None:
    assert "name, file_system_id" in run_module(efs_file_system, {})["msg"]
    unknown = run_module(efs_file_system, {"file_system_id": "fs-0123456789abcdef0"})
    assert "There is no file system fs-0123456789abcdef0 in region eu-central-1" in unknown["msg"]


def test_life(cloud: Any, network: dict[str, str], converge: Any) -> None:
    args: dict[str, Any] = {
        "name": "share",
        "mount_targets": [
            {"subnet_id": network["a0"], "security_groups": [network["one"]]},
            {"subnet_id": network["b1"], "security_groups": [network["one"], network["two"]]},
        ],
        "policy": TLS_ONLY,
        "backup": True,
        "lifecycle_policies": {"transition_to_ia": "AFTER_30_DAYS"},
        "tags": {"project": "demo", "number": 1},
    }
    created = converge(efs_file_system, args)
    assert created["changed"] and created["diff"]["before"] == {}
    file_system = created["file_system"]
    assert file_system["encrypted"] is True
    assert file_system["tags"] == {"Name": "share", "project": "demo", "number": "1"}
    assert file_system["lifecycle_policies"] == {"transition_to_ia": "AFTER_30_DAYS"}
    assert file_system["policy"]["Statement"][0]["Resource"] == file_system["file_system_arn"]
    assert len(created["mount_targets"]) == 2

    # Written in another way, it is the same.
    same = args | {
        "mount_targets": [
            {"subnet_id": network["b1"], "security_groups": [network["two"], network["one"]]},
            {"subnet_id": network["a0"]},
        ],
        "tags": {"number": "1", "project": "demo"},
    }
    assert converge(efs_file_system, same)["changed"] is False

    updates: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"throughput_mode": "elastic"}, {"throughput_mode": "elastic"}),
        (
            {"throughput_mode": "provisioned", "provisioned_throughput_in_mibps": 64},
            {"provisioned_throughput_in_mibps": 64.0},
        ),
        ({"backup": False}, {"backup": False}),
        ({"lifecycle_policies": {}}, {"lifecycle_policies": {}}),
        ({"policy": {}}, {"policy": {}}),
        # MiniStack drops one tag in a call; more are seen in the unit tests.
        (
            {"tags": {"project": "other"}},
            {"tags": {"Name": "share", "project": "other"}},
        ),
        (
            {"tags": {"more": "x"}, "purge_tags": False},
            {"tags": {"Name": "share", "project": "other", "more": "x"}},
        ),
    ]
    for change, expected in updates:
        updated = converge(efs_file_system, {"name": "share"} | change)
        assert updated["changed"], change
        assert updated["file_system"]["file_system_id"] == file_system["file_system_id"]
        assert expected.items() <= updated["file_system"].items()


def test_mount_targets(cloud: Any, network: dict[str, str], converge: Any) -> None:
    def targets(*options: dict[str, Any]) -> dict[str, Any]:
        return converge(efs_file_system, {"name": "share", "mount_targets": list(options)})

    first = targets({"subnet_id": network["a0"]}, {"subnet_id": network["b1"]})["mount_targets"]
    groups = targets(
        {"subnet_id": network["a0"], "security_groups": [network["two"]]},
        {"subnet_id": network["b1"]},
    )["mount_targets"]
    by_subnet = {target["subnet_id"]: target for target in groups}
    assert {t["mount_target_id"] for t in groups} == {t["mount_target_id"] for t in first}
    assert by_subnet[network["a0"]]["security_groups"] == [network["two"]]

    # The other subnet of zone b can only follow once the first target there is gone.
    moved = targets({"subnet_id": network["a0"]}, {"subnet_id": network["b2"]})
    assert {t["subnet_id"] for t in moved["mount_targets"]} == {network["a0"], network["b2"]}

    left = converge(efs_file_system, {"name": "share"})
    assert left["changed"] is False and len(left["mount_targets"]) == 2
    assert targets()["mount_targets"] == []


def test_what_efs_fixes_at_creation_is_refused(cloud: Any, converge: Any) -> None:
    converge(efs_file_system, {"name": "share"})
    for change in (
        {"encrypted": False},
        {"performance_mode": "max_io"},
        {"availability_zone_name": "eu-central-1b"},
    ):
        refused = run_module(efs_file_system, {"name": "share"} | change)
        assert "EFS cannot change fs-" in refused["msg"] and next(iter(change)) in refused["msg"]
    assert not run_module(efs_file_system, {"name": "share"})["changed"]


def test_one_zone(cloud: Any, network: dict[str, str], converge: Any) -> None:
    args = {
        "name": "one",
        "availability_zone_name": "eu-central-1a",
        "mount_targets": [{"subnet_id": network["a0"]}],
    }
    created = converge(efs_file_system, args)
    assert created["file_system"]["availability_zone_name"] == "eu-central-1a"


def test_absent_takes_mount_targets_and_access_points_along(
    cloud: Any, network: dict[str, str], converge: Any
) -> None:
    created = converge(
        efs_file_system, {"name": "share", "mount_targets": [{"subnet_id": network["a0"]}]}
    )
    file_system_id = created["file_system"]["file_system_id"]
    cloud("efs").create_access_point(FileSystemId=file_system_id)
    for args in ({"name": "share"}, {"file_system_id": file_system_id}):
        converge(efs_file_system, args | {"state": "absent"})
    assert cloud("efs").describe_file_systems()["FileSystems"] == []
    assert cloud("efs").describe_access_points()["AccessPoints"] == []
    assert converge(efs_file_system, {"name": "share", "state": "absent"})["changed"] is False


def test_check_mode_with_parents_that_do_not_exist_yet(cloud: Any) -> None:
    args = {"name": "share", "mount_targets": [{"subnet_id": "subnet-00000000000000000"}]}
    predicted = run_module(efs_file_system, args, check=True)
    assert predicted["changed"]
    assert predicted["file_system"]["file_system_id"] == "fs-00000000000000000"
    assert predicted["mount_targets"][0]["subnet_id"] == "subnet-00000000000000000"
    real = run_module(efs_file_system, args)
    assert "SubnetNotFound" in real["msg"]
    assert "create the mount target of fs-" in real["msg"]
    # What came about before the mistake is kept, and the next run goes on from there.
    assert cloud("efs").describe_file_systems()["FileSystems"][0]["Name"] == "share"
