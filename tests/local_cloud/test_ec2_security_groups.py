"""EC2: rules of security groups one by one, and groups that are in use."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import Api, LocalCloud

HTTP = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80}


def new_group(api: Api, name: str, vpc_id: str = "") -> tuple[Any, str]:
    ec2 = api.client("ec2")
    vpc_id = vpc_id or ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    made = ec2.create_security_group(GroupName=name, Description="test", VpcId=vpc_id)
    return ec2, made["GroupId"]


def networks(*cidrs: str) -> list[dict[str, Any]]:
    return [HTTP | {"IpRanges": [{"CidrIp": cidr} for cidr in cidrs]}]


def group_of(ec2: Any, id_: str) -> dict[str, Any]:
    return ec2.describe_security_groups(GroupIds=[id_])["SecurityGroups"][0]


def one_of_two_removed(api: Api) -> list[str]:
    ec2, id_ = new_group(api, "two")
    rules = networks("10.0.0.0/8", "172.16.0.0/12")
    ec2.authorize_security_group_ingress(GroupId=id_, IpPermissions=rules)
    removed = networks("10.0.0.0/8")
    ec2.revoke_security_group_ingress(GroupId=id_, IpPermissions=removed)
    permissions = group_of(ec2, id_)["IpPermissions"]
    return [entry["CidrIp"] for permission in permissions for entry in permission["IpRanges"]]


def test_one_network_of_several_can_be_removed(local_cloud: LocalCloud) -> None:
    assert one_of_two_removed(local_cloud) == ["172.16.0.0/12"]


def test_upstream_removes_none(plain_ministack: Api) -> None:
    assert one_of_two_removed(plain_ministack) == ["10.0.0.0/8", "172.16.0.0/12"]


def test_rules_of_the_same_ports_are_one_permission(local_cloud: LocalCloud) -> None:
    ec2, id_ = new_group(local_cloud, "grouped")
    for cidr in ("10.0.0.1/8", "192.168.0.0/16"):
        ec2.authorize_security_group_ingress(GroupId=id_, IpPermissions=networks(cidr))
    group = group_of(ec2, id_)
    (permission,) = group["IpPermissions"]
    assert [entry["CidrIp"] for entry in permission["IpRanges"]] == ["10.0.0.0/8", "192.168.0.0/16"]
    assert group["SecurityGroupArn"].endswith(f":security-group/{id_}")


def same_rule_twice(api: Api) -> None:
    ec2, id_ = new_group(api, "twice")
    for _ in range(2):
        rules = networks("10.0.0.0/8")
        ec2.authorize_security_group_ingress(GroupId=id_, IpPermissions=rules)


def test_a_rule_that_exists_is_refused(local_cloud: LocalCloud) -> None:
    with pytest.raises(ClientError, match="InvalidPermission.Duplicate"):
        same_rule_twice(local_cloud)


def test_upstream_takes_a_rule_twice(plain_ministack: Api) -> None:
    same_rule_twice(plain_ministack)


def test_what_does_not_exist_is_refused(local_cloud: LocalCloud) -> None:
    ec2, id_ = new_group(local_cloud, "refusals")
    with pytest.raises(ClientError, match="InvalidPermission.NotFound"):
        ec2.revoke_security_group_ingress(GroupId=id_, IpPermissions=networks("10.0.0.0/8"))
    stranger = [HTTP | {"UserIdGroupPairs": [{"GroupId": "sg-0123456789abcdef0"}]}]
    with pytest.raises(ClientError, match="InvalidGroup.NotFound"):
        ec2.authorize_security_group_ingress(GroupId=id_, IpPermissions=stranger)
    with pytest.raises(ClientError, match="InvalidVpcID.NotFound"):
        new_group(local_cloud, "nowhere", "vpc-0123456789abcdef0")


def prefix_lists(api: Api) -> list[dict[str, str]]:
    ec2, id_ = new_group(api, "prefix-lists")
    entry = {"PrefixListId": "pl-0123456789abcdef0", "Description": "S3"}
    rules = [HTTP | {"PrefixListIds": [entry]}]
    ec2.authorize_security_group_egress(GroupId=id_, IpPermissions=rules)
    permissions = group_of(ec2, id_)["IpPermissionsEgress"]
    return [entry for permission in permissions for entry in permission["PrefixListIds"]]


def test_prefix_lists(local_cloud: LocalCloud) -> None:
    found = prefix_lists(local_cloud)
    assert found == [{"PrefixListId": "pl-0123456789abcdef0", "Description": "S3"}]


def test_upstream_loses_prefix_lists(plain_ministack: Api) -> None:
    assert prefix_lists(plain_ministack) == []


def redescribed(api: Api) -> str:
    ec2, id_ = new_group(api, "described")
    pair = {"GroupId": id_, "Description": "old"}
    rules = [HTTP | {"UserIdGroupPairs": [pair]}]
    ec2.authorize_security_group_ingress(GroupId=id_, IpPermissions=rules)
    rules = [HTTP | {"UserIdGroupPairs": [pair | {"Description": "new"}]}]
    ec2.update_security_group_rule_descriptions_ingress(GroupId=id_, IpPermissions=rules)
    return group_of(ec2, id_)["IpPermissions"][0]["UserIdGroupPairs"][0]["Description"]


def test_descriptions_change(local_cloud: LocalCloud) -> None:
    assert redescribed(local_cloud) == "new"


def test_upstream_changes_no_descriptions(plain_ministack: Api) -> None:
    with pytest.raises(ClientError, match="InvalidAction"):
        redescribed(plain_ministack)


def deleted_while_used(api: Api) -> tuple[Any, str, str]:
    ec2, id_ = new_group(api, "used")
    vpc_id = group_of(ec2, id_)["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.0.0.0/24")["Subnet"]
    interface = ec2.create_network_interface(SubnetId=subnet["SubnetId"], Groups=[id_])
    ec2.delete_security_group(GroupId=id_)
    return ec2, id_, interface["NetworkInterface"]["NetworkInterfaceId"]


def test_a_group_in_use_stays(local_cloud: LocalCloud) -> None:
    with pytest.raises(ClientError, match="DependencyViolation"):
        deleted_while_used(local_cloud)
    ec2, id_ = new_group(local_cloud, "referred-to")
    vpc_id = group_of(ec2, id_)["VpcId"]
    _ec2, other = new_group(local_cloud, "referring", vpc_id)
    rules = [HTTP | {"UserIdGroupPairs": [{"GroupId": id_}]}]
    ec2.authorize_security_group_ingress(GroupId=other, IpPermissions=rules)
    with pytest.raises(ClientError, match="DependencyViolation"):
        ec2.delete_security_group(GroupId=id_)
    ec2.delete_security_group(GroupId=other)
    ec2.delete_security_group(GroupId=id_)


def test_upstream_deletes_a_group_in_use(plain_ministack: Api) -> None:
    deleted_while_used(plain_ministack)


def interfaces_of_a_group(api: Api) -> int:
    ec2, id_ = new_group(api, "interfaces")
    _ec2, other = new_group(api, "others", vpc_id := group_of(ec2, id_)["VpcId"])
    subnet = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.0.0.0/24")["Subnet"]
    for group in (id_, other):
        ec2.create_network_interface(SubnetId=subnet["SubnetId"], Groups=[group])
    filters = [{"Name": "group-id", "Values": [id_]}]
    return len(ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"])


def test_interfaces_are_found_by_group(local_cloud: LocalCloud) -> None:
    assert interfaces_of_a_group(local_cloud) == 1


def test_upstream_finds_those_of_all_groups(plain_ministack: Api) -> None:
    assert interfaces_of_a_group(plain_ministack) > 1
