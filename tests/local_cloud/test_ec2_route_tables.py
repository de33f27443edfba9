"""EC2: route tables with IPv6, gateways, and what EC2 refuses."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import Api, LocalCloud


def new_table(api: Api) -> tuple[Any, str, str]:
    """A client, a VPC and a route table of it."""
    ec2 = api.client("ec2")
    vpc_id = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    table = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]
    return ec2, vpc_id, table["RouteTableId"]


def new_gateway(ec2: Any) -> str:
    return ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]


def table_of(ec2: Any, id_: str) -> dict[str, Any]:
    return ec2.describe_route_tables(RouteTableIds=[id_])["RouteTables"][0]


def made(ec2: Any, id_: str) -> list[dict[str, Any]]:
    return [r for r in table_of(ec2, id_)["Routes"] if r["Origin"] == "CreateRoute"]


def ipv6_destinations(api: Api) -> list[str | None]:
    ec2, _vpc, id_ = new_table(api)
    gateway = new_gateway(ec2)
    ec2.create_route(RouteTableId=id_, DestinationIpv6CidrBlock="::/0", GatewayId=gateway)
    return [route.get("DestinationIpv6CidrBlock") for route in made(ec2, id_)]


def test_ipv6_routes(local_cloud: LocalCloud) -> None:
    assert ipv6_destinations(local_cloud) == ["::/0"]


def test_upstream_loses_ipv6_destinations(plain_ministack: Api) -> None:
    assert ipv6_destinations(plain_ministack) == [None]


def same_route_twice(api: Api) -> None:
    ec2, _vpc, id_ = new_table(api)
    gateway = new_gateway(ec2)
    for _ in range(2):
        route = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway}
        ec2.create_route(RouteTableId=id_, **route)


def test_a_route_that_exists_is_refused(local_cloud: LocalCloud) -> None:
    with pytest.raises(ClientError, match="RouteAlreadyExists"):
        same_route_twice(local_cloud)


def test_upstream_makes_a_route_twice(plain_ministack: Api) -> None:
    same_route_twice(plain_ministack)


def replaced(api: Api) -> dict[str, str]:
    ec2, _vpc, id_ = new_table(api)
    route = {"RouteTableId": id_, "DestinationCidrBlock": "10.1.0.0/16"}
    ec2.create_route(**route, TransitGatewayId="tgw-0123456789abcdef0")
    ec2.replace_route(**route, NetworkInterfaceId="eni-0123456789abcdef0")
    (found,) = made(ec2, id_)
    return {name: value for name, value in found.items() if name.endswith(("wayId", "faceId"))}


def test_a_replaced_route_has_the_new_target_alone(local_cloud: LocalCloud) -> None:
    assert replaced(local_cloud) == {"NetworkInterfaceId": "eni-0123456789abcdef0"}


def test_upstream_keeps_the_former_target(plain_ministack: Api) -> None:
    assert "TransitGatewayId" in replaced(plain_ministack)


def test_what_does_not_exist_is_refused(local_cloud: LocalCloud) -> None:
    ec2, _vpc, id_ = new_table(local_cloud)
    nowhere = {"RouteTableId": id_, "DestinationCidrBlock": "0.0.0.0/0"}
    for code, call in (
        ("InvalidRoute.NotFound", lambda: ec2.delete_route(**nowhere)),
        ("InvalidRoute.NotFound", lambda: ec2.replace_route(**nowhere, LocalTarget=True)),
        ("InvalidGatewayID.NotFound", lambda: ec2.create_route(**nowhere, GatewayId="igw-1")),
        ("InvalidVpcID.NotFound", lambda: ec2.create_route_table(VpcId="vpc-1")),
        (
            "InvalidSubnetID.NotFound",
            lambda: ec2.associate_route_table(RouteTableId=id_, SubnetId="subnet-1"),
        ),
        (
            "InvalidAssociationID.NotFound",
            lambda: ec2.disassociate_route_table(AssociationId="rtbassoc-1"),
        ),
        (
            "InvalidRouteTableID.NotFound",
            lambda: ec2.describe_route_tables(RouteTableIds=["rtb-1"]),
        ),
    ):
        with pytest.raises(ClientError, match=code):
            call()


def tables_of_one_token(api: Api) -> int:
    ec2, vpc_id, _id = new_table(api)
    ids = [
        ec2.create_route_table(VpcId=vpc_id, ClientToken="once")["RouteTable"]["RouteTableId"]
        for _ in range(2)
    ]
    return len({*ids})


def test_a_repeated_request_makes_one_table(local_cloud: LocalCloud) -> None:
    assert tables_of_one_token(local_cloud) == 1


def test_upstream_makes_two(plain_ministack: Api) -> None:
    assert tables_of_one_token(plain_ministack) == 2


def gateways(api: Api) -> list[str | None]:
    ec2, vpc_id, id_ = new_table(api)
    gateway = new_gateway(ec2)
    ec2.attach_internet_gateway(VpcId=vpc_id, InternetGatewayId=gateway)
    ec2.associate_route_table(RouteTableId=id_, GatewayId=gateway)
    found = [a.get("GatewayId") == gateway for a in table_of(ec2, id_)["Associations"]]
    other = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    (association,) = table_of(ec2, id_)["Associations"]
    ec2.replace_route_table_association(
        AssociationId=association["RouteTableAssociationId"], RouteTableId=other
    )
    return found + [a.get("GatewayId") == gateway for a in table_of(ec2, other)["Associations"]]


def test_gateways_are_associated(local_cloud: LocalCloud) -> None:
    assert gateways(local_cloud) == [True, True]


def test_upstream_loses_gateways(plain_ministack: Api) -> None:
    assert gateways(plain_ministack) == [False, False]


def two_tables_for_a_subnet(api: Api) -> tuple[Any, str]:
    ec2, vpc_id, id_ = new_table(api)
    subnet = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    ec2.associate_route_table(RouteTableId=id_, SubnetId=subnet)
    other = ec2.create_route_table(VpcId=vpc_id)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=other, SubnetId=subnet)
    return ec2, id_


def test_a_subnet_has_one_table(local_cloud: LocalCloud) -> None:
    with pytest.raises(ClientError, match="Resource.AlreadyAssociated"):
        two_tables_for_a_subnet(local_cloud)


def test_upstream_deletes_a_table_in_use_and_gives_a_subnet_two(plain_ministack: Api) -> None:
    ec2, id_ = two_tables_for_a_subnet(plain_ministack)
    ec2.delete_route_table(RouteTableId=id_)


def test_a_table_in_use_stays(local_cloud: LocalCloud) -> None:
    ec2, vpc_id, id_ = new_table(local_cloud)
    subnet = ec2.create_subnet(VpcId=vpc_id, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    association = ec2.associate_route_table(RouteTableId=id_, SubnetId=subnet)["AssociationId"]
    with pytest.raises(ClientError, match="DependencyViolation"):
        ec2.delete_route_table(RouteTableId=id_)
    ec2.disassociate_route_table(AssociationId=association)
    ec2.delete_route_table(RouteTableId=id_)
