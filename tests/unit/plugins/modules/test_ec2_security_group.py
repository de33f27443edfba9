# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the local cloud does not show: AWS being slow, pages, and two runs at once."""

from __future__ import annotations

import inspect
import time
from typing import Any

import pytest
import yaml
from ansible_collections.amazon.aws.plugins.modules import ec2_security_group as published
from ansible_collections.multicompute.spin.plugins.modules import ec2_security_group
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)

ID = "sg-0123456789abcdef0"
VPC = "vpc-0123456789abcdef0"
OUT = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
OUT_V6 = {"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "::/0"}]}
HTTP = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80}
ARGS: dict[str, Any] = {
    "name": "servers",
    "description": "test",
    "vpc_id": VPC,
    "rules": [{"ports": [80], "cidr_ip": "10.0.0.0/8"}],
}
NOT_FOUND = AwsError("InvalidGroup.NotFound", "not there yet")


def groups(*networks: str, **changes: Any) -> dict[str, Any]:
    """The group as AWS answers it, where these networks may come in on port 80."""
    permission = HTTP | {"IpRanges": [{"CidrIp": network} for network in networks]}
    group = {
        "GroupId": ID,
        "GroupName": "servers",
        "Description": "test",
        "OwnerId": "123456789012",
        "VpcId": VPC,
        "IpPermissions": [permission] if networks else [],
        "IpPermissionsEgress": [OUT],
    }
    return {"SecurityGroups": [group | changes]}


NONE: dict[str, Any] = {"SecurityGroups": []}


@pytest.fixture
def ec2(aws: FakeAws) -> FakeAws:
    aws.on("ec2.CreateSecurityGroup", {"GroupId": ID})
    for direction in ("Ingress", "Egress"):
        aws.on(f"ec2.AuthorizeSecurityGroup{direction}", {"Return": True})
        aws.on(f"ec2.RevokeSecurityGroup{direction}", {"Return": True})
    aws.on("ec2.DeleteSecurityGroup", {"Return": True})
    return aws


def operations(aws: FakeAws) -> list[str]:
    return [call.operation for call in aws.writes()]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def test_nothing_sleeps_when_aws_is_there_at_once(ec2: FakeAws, pauses: list[float]) -> None:
    ec2.on("ec2.DescribeSecurityGroups", [NONE, groups()])
    assert run_module(ec2_security_group, ARGS)["changed"]
    assert pauses == []
    assert ec2.operations() == [
        "DescribeSecurityGroups",
        "CreateSecurityGroup",
        "DescribeSecurityGroups",
        "DescribeSecurityGroups",
        "AuthorizeSecurityGroupIngress",
    ]


def test_a_new_group_is_waited_for_until_it_is_complete(ec2: FakeAws, pauses: list[float]) -> None:
    unfinished = groups(IpPermissionsEgress=[])
    ec2.on("ec2.DescribeSecurityGroups", [NONE, NOT_FOUND, unfinished, groups()])
    result = run_module(ec2_security_group, ARGS | {"rules_egress": []})
    assert result["changed"] and len(pauses) == 2
    # Seen too early, the rule that lets everything out would have stayed.
    assert operations(ec2)[-1] == "RevokeSecurityGroupEgress"


def test_a_vpc_with_ipv6_lets_more_out(ec2: FakeAws) -> None:
    both = groups(IpPermissionsEgress=[OUT, OUT_V6])
    ec2.on("ec2.DescribeSecurityGroups", [NONE, both])
    run_module(ec2_security_group, ARGS | {"rules_egress": []})
    (revoked,) = ec2.params("RevokeSecurityGroupEgress")
    (permission,) = revoked["IpPermissions"]
    assert permission["IpRanges"] == OUT["IpRanges"]
    assert permission["Ipv6Ranges"] == OUT_V6["Ipv6Ranges"]


def test_new_rules_come_before_old_ones_go(ec2: FakeAws) -> None:
    ec2.on("ec2.DescribeSecurityGroups", groups("192.168.0.0/16"))
    run_module(ec2_security_group, ARGS)
    assert operations(ec2) == ["AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"]


def test_nothing_is_asked_to_change_when_all_is_right(ec2: FakeAws) -> None:
    ec2.on("ec2.DescribeSecurityGroups", groups("10.0.0.0/8"))
    assert not run_module(ec2_security_group, ARGS)["changed"]
    assert ec2.operations() == ["DescribeSecurityGroups"]


def test_a_rule_that_another_run_added_meanwhile(ec2: FakeAws) -> None:
    args = ARGS | {"rules": [{"ports": [80], "cidr_ip": ["10.0.0.0/8", "172.16.0.0/12"]}]}
    ec2.on("ec2.DescribeSecurityGroups", [groups(), groups("10.0.0.0/8")])
    duplicate = AwsError("InvalidPermission.Duplicate", "already exists")
    ec2.on("ec2.AuthorizeSecurityGroupIngress", [duplicate, {"Return": True}])
    assert run_module(ec2_security_group, args)["changed"]
    asked = [
        [entry["CidrIp"] for entry in call["IpPermissions"][0]["IpRanges"]]
        for call in ec2.params("AuthorizeSecurityGroupIngress")
    ]
    assert asked == [["10.0.0.0/8", "172.16.0.0/12"], ["172.16.0.0/12"]]


def test_a_rule_that_another_run_removed_meanwhile(ec2: FakeAws) -> None:
    gone = AwsError("InvalidPermission.NotFound", "does not exist")
    both = groups("172.16.0.0/12", "192.168.0.0/16")
    ec2.on("ec2.DescribeSecurityGroups", [both, groups("192.168.0.0/16")])
    ec2.on("ec2.RevokeSecurityGroupIngress", [gone, {"Return": True}])
    run_module(ec2_security_group, ARGS | {"rules": []})
    left = ec2.params("RevokeSecurityGroupIngress")[-1]["IpPermissions"][0]["IpRanges"]
    assert left == [{"CidrIp": "192.168.0.0/16"}]


def test_a_group_that_another_run_made_meanwhile(ec2: FakeAws) -> None:
    ec2.on("ec2.CreateSecurityGroup", AwsError("InvalidGroup.Duplicate", "already exists"))
    ec2.on("ec2.DescribeSecurityGroups", [NONE, NONE, groups("10.0.0.0/8")])
    result = run_module(ec2_security_group, ARGS)
    assert result["group_id"] == ID
    assert operations(ec2) == ["CreateSecurityGroup"]


def test_a_group_on_a_later_page(ec2: FakeAws) -> None:
    pages = [NONE | {"NextToken": "1"}, groups("10.0.0.0/8")]
    ec2.on("ec2.DescribeSecurityGroups", pages)
    assert not run_module(ec2_security_group, ARGS)["changed"]
    assert [call.get("NextToken") for call in ec2.params("DescribeSecurityGroups")] == [None, "1"]


def test_a_deletion_is_tried_for_as_long_as_it_was_told(ec2: FakeAws, pauses: list[float]) -> None:
    used = AwsError("DependencyViolation", f"resource {ID} has a dependent object")
    ec2.on("ec2.DescribeSecurityGroups", groups())
    ec2.on("ec2.DeleteSecurityGroup", used)
    interface = {"NetworkInterfaceId": "eni-1", "Description": "AWS Lambda VPC ENI-demo"}
    ec2.on("ec2.DescribeNetworkInterfaces", {"NetworkInterfaces": [interface]})
    absent = {"name": "servers", "vpc_id": VPC, "state": "absent", "wait_timeout": 60}
    failed = run_module(ec2_security_group, absent)
    assert "within 60 s: it is used by eni-1 (AWS Lambda VPC ENI-demo)" in failed["msg"]
    assert sum(pauses) == pytest.approx(60)
    assert len({*pauses}) > 5 and max(pauses) <= 15
    ec2.on("ec2.DeleteSecurityGroup", [used, used, {"Return": True}])
    assert run_module(ec2_security_group, absent)["changed"]


def test_a_deletion_that_got_through_before(ec2: FakeAws) -> None:
    ec2.on("ec2.DescribeSecurityGroups", [groups(), NONE])
    ec2.on("ec2.DeleteSecurityGroup", NOT_FOUND)
    absent = {"name": "servers", "vpc_id": VPC, "state": "absent"}
    assert run_module(ec2_security_group, absent)["changed"]


def spec_of(documentation: str) -> dict[str, Any]:
    """What a user may write: names, types, defaults and aliases of options and of a rule's."""
    options = yaml.safe_load(documentation)["options"]
    flat = options | {f"rules.{k}": v for k, v in options["rules"]["suboptions"].items()}
    flat |= {f"out.{k}": v for k, v in options["rules_egress"]["suboptions"].items()}
    fields = ("type", "elements", "choices")
    return {
        name: {field: option.get(field) for field in fields}
        | {"aliases": option.get("aliases") or []}
        | {"default": str(option.get("default")).lower()}
        for name, option in flat.items()
    }


def test_the_options_are_those_of_the_published_module() -> None:
    ours, theirs = spec_of(ec2_security_group.DOCUMENTATION), spec_of(published.DOCUMENTATION)
    assert ours.keys() - theirs.keys() == {"wait_timeout"}
    assert {name: ours[name] for name in theirs} == theirs
    assert "sleep(3)" in inspect.getsource(published), "the reason to have this module is gone"
