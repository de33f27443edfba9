# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Security groups against the local cloud, which keeps rules as EC2 does."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from ansible_collections.amazon.aws.plugins.modules import ec2_security_group as published
from ansible_collections.multicompute.spin.plugins.modules import ec2_security_group
from ansible_collections.multicompute.spin.tests.local_cloud import conftest as local
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

WRITES = (
    "CreateSecurityGroup",
    "CreateTags",
    "DeleteTags",
    "AuthorizeSecurityGroupIngress",
    "AuthorizeSecurityGroupEgress",
    "UpdateSecurityGroupRuleDescriptionsIngress",
    "RevokeSecurityGroupIngress",
    "RevokeSecurityGroupEgress",
)


@pytest.fixture
def endpoint(local_cloud: local.LocalCloud) -> str:
    return local_cloud.endpoint


@pytest.fixture
def ec2(cloud: Any) -> Any:
    return cloud("ec2")


@pytest.fixture
def vpc_id(ec2: Any) -> str:
    return ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]


@pytest.fixture
def args(vpc_id: str) -> dict[str, Any]:
    """A group with rules of every kind."""
    return {
        "name": "servers",
        "description": "Load balancer to the servers",
        "vpc_id": vpc_id,
        "rules": [
            {"ports": [80, "8000-8001"], "cidr_ip": ["10.0.0.0/8"], "rule_desc": "clients"},
            {"from_port": 53, "to_port": 53, "proto": "udp", "cidr_ipv6": ["2001:DB8::/32"]},
            {"ports": [443], "ip_prefix": ["pl-0123456789abcdef0"]},
            {"proto": "icmp", "icmp_type": 8, "icmp_code": -1, "cidr_ip": ["0.0.0.0/0"]},
            {"proto": "all", "group_name": ["servers"]},
        ],
        "tags": {"project": "demo", "number": 1},
    }


def described(ec2: Any, name: str = "servers") -> dict[str, Any]:
    filters = [{"Name": "group-name", "Values": [name]}]
    (group,) = ec2.describe_security_groups(Filters=filters)["SecurityGroups"]
    return group


def sources(result: dict[str, Any], direction: str = "ip_permissions") -> list[str]:
    """Networks and groups of all rules."""
    fields = ("cidr_ip", "cidr_ipv6", "prefix_list_id", "group_id")
    lists = ("ip_ranges", "ipv6_ranges", "prefix_list_ids", "user_id_group_pairs")
    return sorted(
        entry[field]
        for permission in result[direction]
        for field, entries in zip(fields, lists, strict=True)
        for entry in permission[entries]
    )


def test_missing_parameters(cloud: Any) -> None:
    def message(**options: Any) -> str:
        return run_module(ec2_security_group, options)["msg"]

    assert "one of the following is required: name, group_id" in message()
    assert "state is present but all of the following are missing: description" in message(name="x")
    rule = {"ports": [80], "from_port": 80, "cidr_ip": "10.0.0.0/8"}
    assert "mutually exclusive: ports|from_port" in message(
        name="x", description="x", rules=[rule]
    ).replace("'", "")
    assert "one of the following is required: cidr_ip" in message(
        name="x", description="x", rules=[{"ports": [80]}]
    )


@pytest.mark.parametrize("check", [True, False])
def test_what_aws_would_refuse_is_refused_before_anything_is_made(
    ec2: Any, args: dict[str, Any], check: bool
) -> None:
    for rule, text in (
        ({"cidr_ip": "10.0.0.0/8"}, "needs ports, or from_port and to_port"),
        ({"ports": [80], "cidr_ip": "2001:db8::/32"}, "2001:db8::/32 is no IPv4 network"),
        ({"ports": [80], "cidr_ip": "anywhere"}, "anywhere is no IPv4 network"),
        ({"ports": ["http"], "cidr_ip": "10.0.0.0/8"}, "http is neither a port nor a range"),
        ({"ports": [70000], "cidr_ip": "10.0.0.0/8"}, "is no range of ports from 0 to 65535"),
        ({"proto": "tls", "cidr_ip": "10.0.0.0/8"}, "tls is no protocol"),
        ({"icmp_type": 8, "cidr_ip": "10.0.0.0/8"}, "goes with proto icmp or icmpv6, not with tcp"),
        ({"ports": [80], "cidr_ip": []}, "has no source"),
    ):
        refused = run_module(ec2_security_group, args | {"rules": [rule]}, check=check)
        assert text in refused["msg"]
    assert len(ec2.describe_security_groups()["SecurityGroups"]) <= 2  # those of the VPCs


def test_life(ec2: Any, args: dict[str, Any], converge: Any) -> None:
    created = converge(ec2_security_group, args)
    id_ = created["group_id"]
    assert created["changed"] and created["diff"]["before"] == {}
    assert created["tags"] == {"project": "demo", "number": "1"}
    expected = ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/8", "2001:db8::/32", "pl-0123456789abcdef0"]
    assert sources(created) == sorted([*expected, id_])
    assert {"proto": "all", "group_name": "servers"} in created["diff"]["after"]["rules"]
    group = described(ec2)
    assert group["GroupId"] == id_ and len(group["IpPermissions"]) == 6
    assert group["IpPermissionsEgress"][0]["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}]

    # Written in another way, it is the same.
    same = args | {
        "rules": [
            {"proto": "-1", "group_id": [id_]},
            {"proto": 1, "from_port": 8, "to_port": -1, "cidr_ip": [["0.0.0.0/0"]]},
            {"from_port": "443", "to_port": 443, "ip_prefix": "pl-0123456789abcdef0"},
            {"proto": "UDP", "ports": "53", "cidr_ipv6": "2001:db8:0:0::1/32"},
            {"ports": ["8001 - 8000"], "cidr_ip": "10.1.2.3/8", "rule_desc": "clients"},
            {"proto": "6", "ports": 80, "cidr_ip": ["10.0.0.0/8"], "rule_desc": "clients"},
        ],
    }
    assert converge(ec2_security_group, same)["changed"] is False

    # What is not given stays, but for the rules.
    bare = {key: args[key] for key in ("name", "description", "vpc_id")}
    kept = converge(ec2_security_group, bare | {"purge_rules": False})
    assert kept["changed"] is False and kept["tags"] == created["tags"]
    emptied = converge(ec2_security_group, bare)
    assert emptied["changed"] and sources(emptied) == []
    assert sources(emptied, "ip_permissions_egress") == ["0.0.0.0/0"]

    absent = {"name": "servers", "vpc_id": args["vpc_id"], "state": "absent"}
    gone = converge(ec2_security_group, absent)
    assert gone["changed"] and gone["group_id"] is None
    assert converge(ec2_security_group, absent)["changed"] is False


def test_rules_egress(args: dict[str, Any], converge: Any) -> None:
    nothing = converge(ec2_security_group, args | {"rules_egress": []})
    assert nothing["ip_permissions_egress"] == []
    # Not given, it stays.
    assert converge(ec2_security_group, args)["ip_permissions_egress"] == []
    https = [{"ports": [443], "cidr_ip": ["0.0.0.0/0"], "cidr_ipv6": ["::/0"]}]
    some = converge(ec2_security_group, args | {"egress_rules": https})
    assert sources(some, "ip_permissions_egress") == ["0.0.0.0/0", "::/0"]
    dns = args | {"rules_egress": [{"proto": "udp", "ports": [53], "cidr_ip": ["10.0.0.2"]}]}
    more = converge(ec2_security_group, dns | {"purge_egress_rules": False})
    assert sources(more, "ip_permissions_egress") == ["0.0.0.0/0", "10.0.0.2/32", "::/0"]
    assert sources(converge(ec2_security_group, dns), "ip_permissions_egress") == ["10.0.0.2/32"]


def test_rules_are_purged_or_kept(args: dict[str, Any], converge: Any) -> None:
    def networks(purge: bool, *cidrs: str) -> list[str]:
        rules = [{"ports": [80], "cidr_ip": [*cidrs]}]
        options = args | {"rules": rules, "purge_rules": purge}
        return sources(converge(ec2_security_group, options))

    assert networks(True, "10.0.0.0/8") == ["10.0.0.0/8"]
    assert networks(False, "172.16.0.0/12") == ["10.0.0.0/8", "172.16.0.0/12"]
    assert networks(True, "172.16.0.0/12") == ["172.16.0.0/12"]


def test_descriptions_of_rules_change_alone(ec2: Any, args: dict[str, Any], converge: Any) -> None:
    def describe(text: str | None) -> dict[str, Any]:
        sources = {"cidr_ip": ["10.0.0.0/8"], "group_name": ["servers"]}
        rules = [{"ports": [80], **sources} | ({"rule_desc": text} if text else {})]
        return converge(ec2_security_group, args | {"rules": rules})

    describe("old")
    changed = describe("new")
    assert [rule["rule_desc"] for rule in changed["diff"]["before"]["rules"]] == ["old", "old"]
    (permission,) = described(ec2)["IpPermissions"]
    assert permission["IpRanges"] == [{"CidrIp": "10.0.0.0/8", "Description": "new"}]
    assert permission["UserIdGroupPairs"][0]["Description"] == "new"
    describe(None)
    assert described(ec2)["IpPermissions"][0]["IpRanges"] == [{"CidrIp": "10.0.0.0/8"}]


def test_tags(args: dict[str, Any], converge: Any) -> None:
    converge(ec2_security_group, args)
    more = converge(ec2_security_group, args | {"tags": {"more": "x"}, "purge_tags": False})
    assert more["tags"] == {"project": "demo", "number": "1", "more": "x"}
    assert converge(ec2_security_group, args | {"tags": {"more": "y"}})["tags"] == {"more": "y"}


def test_a_description_cannot_change(ec2: Any, args: dict[str, Any], converge: Any) -> None:
    converge(ec2_security_group, args)
    other = run_module(ec2_security_group, args | {"description": "Other"})
    assert other["changed"] is False and "which AWS cannot change" in str(other["warnings"])
    assert other["description"] == described(ec2)["Description"] == args["description"]


def test_groups_that_rules_name(ec2: Any, args: dict[str, Any], converge: Any) -> None:
    clients = {"ports": [80], "group_name": ["clients"]}
    named = args | {"rules": [clients]}
    missing = run_module(ec2_security_group, named)
    assert "names the security group clients, which does not exist" in missing["msg"]
    assert "servers" not in str(ec2.describe_security_groups())
    described_ = args | {"rules": [clients | {"group_desc": "Clients"}]}
    created = converge(ec2_security_group, described_)
    group = described(ec2, "clients")
    assert group["Description"] == "Clients" and group["VpcId"] == args["vpc_id"]
    assert sources(created) == [group["GroupId"]]
    assert converge(ec2_security_group, named)["changed"] is False
    # A group of another VPC with that name is not meant.
    other = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    ec2.create_security_group(GroupName="clients", Description="x", VpcId=other)
    assert converge(ec2_security_group, named)["changed"] is False


def test_the_same_name_in_two_vpcs(ec2: Any, args: dict[str, Any]) -> None:
    for _ in range(2):
        vpc_id = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
        assert run_module(ec2_security_group, args | {"vpc_id": vpc_id})["changed"]
    absent = {"name": "servers", "state": "absent"}
    assert (
        "each have a security group servers: give vpc_id"
        in run_module(ec2_security_group, absent)["msg"]
    )


def test_deletion_by_id(ec2: Any, args: dict[str, Any], converge: Any) -> None:
    id_ = converge(ec2_security_group, args)["group_id"]
    assert converge_absent(converge, id_)["changed"]
    assert not converge_absent(converge, id_)["changed"]


def converge_absent(converge: Any, id_: str) -> dict[str, Any]:
    return converge(ec2_security_group, {"group_id": id_, "state": "absent"})


def test_a_change_from_outside_is_put_right(ec2: Any, args: dict[str, Any], converge: Any) -> None:
    id_ = converge(ec2_security_group, args)["group_id"]
    http = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80}
    ec2.authorize_security_group_ingress(
        GroupId=id_, IpPermissions=[http | {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    )
    ec2.revoke_security_group_ingress(
        GroupId=id_, IpPermissions=[http | {"IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]
    )
    ec2.create_tags(Resources=[id_], Tags=[{"Key": "theirs", "Value": "x"}])
    corrected = converge(ec2_security_group, args)
    theirs = {"proto": "tcp", "from_port": 80, "to_port": 80, "cidr_ip": "0.0.0.0/0"}
    assert theirs in corrected["diff"]["before"]["rules"]
    assert theirs not in corrected["diff"]["after"]["rules"]
    assert corrected["tags"] == {"project": "demo", "number": "1"}


def test_check_mode_with_parents_that_do_not_exist_yet(ec2: Any, args: dict[str, Any]) -> None:
    rules = [
        {"ports": [80], "group_id": ["sg-00000000000000001"]},
        {"ports": [80], "group_name": ["later"]},
    ]
    options = args | {"vpc_id": "vpc-00000000000000000", "rules": rules}
    predicted = run_module(ec2_security_group, options, check=True)
    assert predicted["changed"] and predicted["group_id"] is None
    assert [rule.get("group_id") for rule in predicted["diff"]["after"]["rules"]] == [
        "sg-00000000000000001",
        None,
    ]
    # Nor does a rule of an existing group have to.
    assert run_module(ec2_security_group, args)["changed"]
    predicted = run_module(ec2_security_group, args | {"rules": rules}, check=True)
    assert predicted["changed"] and sources(predicted) == ["later", "sg-00000000000000001"]


@pytest.fixture
def interface(ec2: Any, args: dict[str, Any]) -> str:
    """A network interface that holds the group."""
    id_ = run_module(ec2_security_group, args)["group_id"]
    subnet = ec2.create_subnet(VpcId=args["vpc_id"], CidrBlock="10.0.0.0/24")["Subnet"]
    made = ec2.create_network_interface(
        SubnetId=subnet["SubnetId"], Groups=[id_], Description="AWS Lambda VPC ENI-demo"
    )
    return made["NetworkInterface"]["NetworkInterfaceId"]


def test_a_deletion_outlasts_a_network_interface(
    ec2: Any, args: dict[str, Any], interface: str
) -> None:
    delete = threading.Timer(
        2, ec2.delete_network_interface, kwargs={"NetworkInterfaceId": interface}
    )
    delete.start()
    absent = {"name": "servers", "vpc_id": args["vpc_id"], "state": "absent"}
    gone = run_module(ec2_security_group, absent)
    delete.join()
    assert gone["changed"] and "failed" not in gone
    assert not run_module(ec2_security_group, absent)["changed"]


def test_a_deletion_that_takes_too_long_says_who_holds_the_group(
    ec2: Any, args: dict[str, Any], interface: str
) -> None:
    held = [{"ports": [80], "group_name": ["servers"]}]
    run_module(ec2_security_group, args | {"name": "storage", "rules": held})
    absent = {"name": "servers", "vpc_id": args["vpc_id"], "state": "absent", "wait_timeout": 1}
    kept = run_module(ec2_security_group, absent)
    assert (
        f"within 1 s: it is used by {interface} (AWS Lambda VPC ENI-demo), rules of storage"
        in kept["msg"]
    )
    assert described(ec2)["GroupName"] == "servers"


# Faults


@pytest.fixture
def changed_args(ec2: Any, args: dict[str, Any]) -> dict[str, Any]:
    """For a group that is made with the first half, every kind of change is left to do."""
    run_module(ec2_security_group, args | {"tags": {"old": "x"}})
    return args | {
        "rules": [
            {"ports": [80], "cidr_ip": ["10.0.0.0/8"], "rule_desc": "everybody"},
            {"ports": [90], "cidr_ip": ["10.0.0.0/8"]},
        ],
        "rules_egress": [{"ports": [443], "cidr_ip": ["0.0.0.0/0"]}],
    }


def fresh_args(args: dict[str, Any], action: str, changed: dict[str, Any]) -> dict[str, Any]:
    return args | {"name": "new"} if action == "CreateSecurityGroup" else changed


@pytest.mark.parametrize("action", ("DescribeSecurityGroups", *WRITES))
@pytest.mark.parametrize("kind", ["throttling", "unavailable", "cut"])
def test_a_passing_fault_is_outlasted(
    args: dict[str, Any],
    changed_args: dict[str, Any],
    faults: Any,
    ec2: Any,
    action: str,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Only botocore tries again when a connection breaks; the rest is left to the module.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2" if kind == "cut" else "1")
    options = fresh_args(args, action, changed_args)
    faults({"action": f"ec2:{action}", "kind": kind, "count": 1 if kind == "cut" else 2})
    result = run_module(ec2_security_group, options)
    faults()
    assert result["changed"] and "failed" not in result, result
    assert not run_module(ec2_security_group, options)["changed"]
    names = [group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]]
    assert names.count(options["name"]) == 1


@pytest.mark.parametrize("action", WRITES)
def test_a_run_after_one_that_failed_converges(
    args: dict[str, Any], changed_args: dict[str, Any], faults: Any, ec2: Any, action: str
) -> None:
    options = fresh_args(args, action, changed_args)
    faults({"action": f"ec2:{action}", "kind": "denied"})
    failed = run_module(ec2_security_group, options)
    faults()
    assert f"allow ec2:{action}" in failed["msg"]
    result = run_module(ec2_security_group, options)
    assert result["changed"]
    assert result["group_id"] == described(ec2, options["name"])["GroupId"]
    assert not run_module(ec2_security_group, options)["changed"]


@pytest.mark.parametrize("kind", ["throttling", "unavailable", "cut"])
def test_a_fault_while_deleting_is_outlasted(
    args: dict[str, Any], faults: Any, ec2: Any, kind: str
) -> None:
    run_module(ec2_security_group, args)
    absent = {"name": "servers", "vpc_id": args["vpc_id"], "state": "absent"}
    faults({"action": "ec2:DeleteSecurityGroup", "kind": kind, "count": 1})
    gone = run_module(ec2_security_group, absent)
    assert gone["changed"] and "failed" not in gone, gone
    assert not run_module(ec2_security_group, absent)["changed"]


# The published module


def test_it_stands_for_the_published_module(ec2: Any, args: dict[str, Any]) -> None:
    """What that one made is found unchanged, and returned with the same keys."""
    made = run_module(published, args)
    found = run_module(ec2_security_group, args)
    assert found["changed"] is False, found["diff"]
    assert found["group_id"] == made["group_id"]
    ignored = {"diff", "invocation", "warnings", "deprecations"}
    assert found.keys() - ignored == made.keys() - ignored
    assert sources(found) == sources(made)
    keys = {key for permission in made["ip_permissions"] for key in permission}
    assert keys == {key for permission in found["ip_permissions"] for key in permission}
    # And the other way round.
    ours = run_module(ec2_security_group, args | {"name": "ours", "rules": args["rules"][:4]})
    theirs = run_module(published, args | {"name": "ours", "rules": args["rules"][:4]})
    assert theirs["changed"] is False, theirs["diff"]
    assert theirs["group_id"] == ours["group_id"]
