# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Route tables against the local cloud, which knows IPv6, gateways and EC2's refusals."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.amazon.aws.plugins.modules import ec2_vpc_route_table as published
from ansible_collections.multicompute.spin.plugins.modules import ec2_vpc_route_table
from ansible_collections.multicompute.spin.tests.local_cloud import conftest as local
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

ENI = "eni-0123456789abcdef0"
WRITES = (
    "CreateRouteTable",
    "CreateRoute",
    "ReplaceRoute",
    "DeleteRoute",
    "CreateTags",
    "EnableVgwRoutePropagation",
    "AssociateRouteTable",
    "ReplaceRouteTableAssociation",
    "DisassociateRouteTable",
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
def subnets(ec2: Any, vpc_id: str) -> list[str]:
    """Three subnets, tagged a, b and c."""
    ids = []
    for number, name in enumerate("abc"):
        tags = [{"ResourceType": "subnet", "Tags": [{"Key": "Name", "Value": name}]}]
        cidr = f"10.0.{number}.0/24"
        made = ec2.create_subnet(VpcId=vpc_id, CidrBlock=cidr, TagSpecifications=tags)
        ids.append(made["Subnet"]["SubnetId"])
    return ids


@pytest.fixture
def gateway(ec2: Any, vpc_id: str) -> str:
    """The VPC's internet gateway."""
    id_ = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(VpcId=vpc_id, InternetGatewayId=id_)
    return id_


@pytest.fixture
def args(vpc_id: str, subnets: list[str], gateway: str) -> dict[str, Any]:
    return {
        "vpc_id": vpc_id,
        "subnets": subnets[:2],
        "routes": [
            {"dest": "0.0.0.0/0", "gateway_id": gateway},
            {"dest": "10.1.0.0/16", "network_interface_id": ENI},
        ],
        "tags": {"Name": "public", "number": 1},
    }


def named(ec2: Any, name: str = "public") -> dict[str, Any]:
    filters = [{"Name": "tag:Name", "Values": [name]}]
    (table,) = ec2.describe_route_tables(Filters=filters)["RouteTables"]
    return table


def subnets_of(table: dict[str, Any]) -> list[str]:
    return sorted(association["SubnetId"] for association in table["Associations"])


def destinations(result: dict[str, Any]) -> list[str]:
    """Those of the routes that were made."""
    return sorted(
        route.get("destination_cidr_block") or route["destination_ipv6_cidr_block"]
        for route in result["route_table"]["routes"]
        if route["origin"] == "CreateRoute"
    )


def test_missing_parameters(cloud: Any) -> None:
    def message(**options: Any) -> str:
        return run_module(ec2_vpc_route_table, options)["msg"]

    assert "lookup is tag but all of the following are missing: vpc_id" in message()
    assert "missing: route_table_id" in message(lookup="id", vpc_id="vpc-1")
    assert "missing: vpc_id" in message(lookup="id", route_table_id="rtb-1")
    assert "one of the following is required: gateway_id" in message(
        vpc_id="vpc-1", routes=[{"dest": "0.0.0.0/0"}]
    )
    two = {"dest": "0.0.0.0/0", "gateway_id": "igw-1", "instance_id": "i-1"}
    assert "mutually exclusive" in message(vpc_id="vpc-1", routes=[two])


@pytest.mark.parametrize("check", [True, False])
def test_routes_that_make_no_sense_are_refused_before_anything_is_made(
    ec2: Any, args: dict[str, Any], check: bool
) -> None:
    before = ec2.describe_route_tables()["RouteTables"]
    everywhere = {"dest": "0.0.0.0/0", "gateway_id": "igw-1"}
    for routes, text in (
        ([{"dest": "everywhere", "gateway_id": "igw"}], "dest everywhere is no network"),
        ([everywhere, everywhere | {"gateway_id": "tgw-1"}], "0.0.0.0/0 has two targets"),
    ):
        refused = run_module(ec2_vpc_route_table, args | {"routes": routes}, check=check)
        assert text in refused["msg"]
    assert ec2.describe_route_tables()["RouteTables"] == before


def test_life(ec2: Any, args: dict[str, Any], converge: Any, subnets: list[str]) -> None:
    created = converge(ec2_vpc_route_table, args)
    table = created["route_table"]
    assert created["changed"] and created["diff"]["before"] == {}
    assert table["id"] == table["route_table_id"] == named(ec2)["RouteTableId"]
    assert table["tags"] == {"Name": "public", "number": "1"}
    assert destinations(created) == ["0.0.0.0/0", "10.1.0.0/16"]
    assert subnets_of(named(ec2)) == sorted(subnets[:2])

    # Written in another way, it is the same.
    same = args | {
        "subnets": ["10.0.1.0/24", "a", subnets[0]],
        "routes": [
            {"dest": "10.1.2.3/16", "network_interface_id": ENI},
            {"dest": "0.0.0.0/0", "gateway_id": "IGW"},
            {"dest": "10.0.0.0/16", "gateway_id": "local"},
        ],
    }
    again = converge(ec2_vpc_route_table, same)
    assert again["changed"] is False and again["route_table"]["id"] == table["id"]

    absent = {"vpc_id": args["vpc_id"], "tags": {"Name": "public"}, "state": "absent"}
    assert converge(ec2_vpc_route_table, absent)["changed"]
    assert table["id"] not in str(ec2.describe_route_tables())
    assert not converge(ec2_vpc_route_table, absent)["changed"]


def test_routes_are_changed_purged_or_kept(
    ec2: Any, args: dict[str, Any], converge: Any, gateway: str
) -> None:
    def routes(purge: bool, **targets: str) -> dict[str, Any]:
        dests = {"all": "0.0.0.0/0", "all_v6": "::/0", "peer": "10.1.0.0/16"}
        given = [{"dest": dests[name], "gateway_id": id_} for name, id_ in targets.items()]
        return converge(ec2_vpc_route_table, args | {"routes": given, "purge_routes": purge})

    assert destinations(routes(True, all=gateway, all_v6=gateway)) == ["0.0.0.0/0", "::/0"]
    kept = routes(False, peer="tgw-0123456789abcdef0")
    assert destinations(kept) == ["0.0.0.0/0", "10.1.0.0/16", "::/0"]
    # A gateway is named after what it is.
    peer = {"dest": "10.1.0.0/16", "transit_gateway_id": "tgw-0123456789abcdef0"}
    assert peer in kept["diff"]["after"]["routes"]
    replaced = routes(True, all_v6=gateway, peer="nat-0123456789abcdef0")
    assert destinations(replaced) == ["10.1.0.0/16", "::/0"]
    (route,) = [r for r in named(ec2)["Routes"] if r.get("DestinationCidrBlock") == "10.1.0.0/16"]
    assert route["NatGatewayId"] == "nat-0123456789abcdef0" and "TransitGatewayId" not in route
    # Not given, there are none, but the local one.
    bare = {key: args[key] for key in ("vpc_id", "tags")}
    assert destinations(converge(ec2_vpc_route_table, bare)) == []


def test_the_local_route_goes_elsewhere_and_back(
    ec2: Any, args: dict[str, Any], converge: Any
) -> None:
    def local_to(**target: str) -> dict[str, str]:
        routes = [{"dest": "10.0.0.0/16", **target}]
        converge(ec2_vpc_route_table, args | {"routes": routes})
        (route,) = named(ec2)["Routes"]
        return route

    assert local_to(network_interface_id=ENI)["NetworkInterfaceId"] == ENI
    assert local_to(gateway_id="local")["GatewayId"] == "local"


def test_subnets_are_purged_or_kept(
    ec2: Any, args: dict[str, Any], converge: Any, subnets: list[str]
) -> None:
    def use(purge: bool, *given: str) -> list[str]:
        options = args | {"subnets": [*given], "purge_subnets": purge}
        converge(ec2_vpc_route_table, options)
        return subnets_of(named(ec2))

    a, b, c = subnets
    assert use(True, "a", "b") == sorted([a, b])
    assert use(False, "c") == sorted(subnets)
    assert use(True, c) == [c]
    bare = {key: args[key] for key in ("vpc_id", "tags", "routes")}
    assert converge(ec2_vpc_route_table, bare)["changed"] is False
    assert use(True) == []
    # A table with subnets stays if they are to stay.
    use(True, a)
    absent = {"vpc_id": args["vpc_id"], "tags": args["tags"], "state": "absent"}
    kept = run_module(ec2_vpc_route_table, absent | {"purge_subnets": False})
    assert "take its subnets out, or let purge_subnets do so" in kept["msg"]


def test_a_subnet_changes_over(
    ec2: Any, args: dict[str, Any], converge: Any, subnets: list[str]
) -> None:
    converge(ec2_vpc_route_table, args)
    converge(ec2_vpc_route_table, args | {"tags": {"Name": "other"}, "subnets": ["b"]})
    assert subnets_of(named(ec2)) == [subnets[0]]
    assert subnets_of(named(ec2, "other")) == [subnets[1]]


def test_unknown_names_of_subnets(ec2: Any, args: dict[str, Any], subnets: list[str]) -> None:
    unknown = run_module(ec2_vpc_route_table, args | {"subnets": ["d"]})
    assert f"0 subnets of {args['vpc_id']} are named d" in unknown["msg"]
    ec2.create_tags(Resources=[subnets[2]], Tags=[{"Key": "Name", "Value": "a"}])
    for check in (True, False):
        two = run_module(ec2_vpc_route_table, args | {"subnets": ["a"]}, check=check)
        assert "2 subnets" in two["msg"] and "give the ID of one" in two["msg"]


def test_gateways_and_propagation(
    ec2: Any, args: dict[str, Any], converge: Any, gateway: str
) -> None:
    def gateways() -> list[str]:
        return [a["GatewayId"] for a in named(ec2)["Associations"] if a.get("GatewayId")]

    vgw = ec2.create_vpn_gateway(Type="ipsec.1")["VpnGateway"]["VpnGatewayId"]
    converge(ec2_vpc_route_table, args | {"gateway_id": gateway})
    assert gateways() == [gateway]
    assert converge(ec2_vpc_route_table, args)["changed"] is False
    converge(ec2_vpc_route_table, args | {"propagating_vgw_ids": [vgw]})
    assert named(ec2)["PropagatingVgws"] == [{"GatewayId": vgw}]
    assert converge(ec2_vpc_route_table, args | {"propagating_vgw_ids": []})["changed"] is False
    for nothing in ("None", ""):
        converge(ec2_vpc_route_table, args | {"gateway_id": nothing})
        assert gateways() == []
        converge(ec2_vpc_route_table, args | {"gateway_id": gateway})
    absent = {"vpc_id": args["vpc_id"], "tags": args["tags"], "state": "absent"}
    assert converge(ec2_vpc_route_table, absent)["changed"]


def test_tags_and_lookup(ec2: Any, args: dict[str, Any], converge: Any) -> None:
    id_ = converge(ec2_vpc_route_table, args)["route_table"]["id"]
    by_id = args | {"lookup": "id", "route_table_id": id_}
    more = converge(ec2_vpc_route_table, by_id | {"tags": {"more": "x"}, "purge_tags": False})
    assert more["route_table"]["tags"] == {"Name": "public", "number": "1", "more": "x"}
    only = converge(ec2_vpc_route_table, by_id | {"tags": {"Name": "public"}})
    assert only["route_table"]["tags"] == {"Name": "public"}
    # Those that were not asked for go.
    ec2.create_tags(Resources=[id_], Tags=[{"Key": "theirs", "Value": "x"}])
    found = converge(ec2_vpc_route_table, args | {"tags": {"Name": "public"}})
    assert found["changed"] and found["route_table"]["id"] == id_
    unknown = run_module(ec2_vpc_route_table, by_id | {"route_table_id": "rtb-0123456789abcdef0"})
    assert "has no route table rtb-0123456789abcdef0" in unknown["msg"]
    # Without tags there is always a new one.
    untagged = {"vpc_id": args["vpc_id"]}
    first, second = (run_module(ec2_vpc_route_table, untagged) for _ in range(2))
    assert first["changed"] and second["changed"]
    assert first["route_table"]["id"] != second["route_table"]["id"]
    by_id = {"lookup": "id", "route_table_id": first["route_table"]["id"], "state": "absent"}
    assert converge(ec2_vpc_route_table, by_id)["changed"]
    assert not converge(ec2_vpc_route_table, by_id)["changed"]


def test_tags_that_two_tables_have(args: dict[str, Any]) -> None:
    for number in range(2):
        tags = {"Name": "public", "n": number}
        assert run_module(ec2_vpc_route_table, args | {"tags": tags})["changed"]
    refused = run_module(ec2_vpc_route_table, args | {"tags": {"Name": "public"}})
    assert "all have these tags" in refused["msg"]


def test_a_change_from_outside_is_put_right(
    ec2: Any, args: dict[str, Any], converge: Any, subnets: list[str], gateway: str
) -> None:
    id_ = converge(ec2_vpc_route_table, args)["route_table"]["id"]
    ec2.delete_route(RouteTableId=id_, DestinationCidrBlock="10.1.0.0/16")
    ec2.create_route(RouteTableId=id_, DestinationCidrBlock="10.9.0.0/16", GatewayId=gateway)
    ec2.associate_route_table(RouteTableId=id_, SubnetId=subnets[2])
    association = named(ec2)["Associations"][0]["RouteTableAssociationId"]
    ec2.disassociate_route_table(AssociationId=association)
    corrected = converge(ec2_vpc_route_table, args)
    before = [route["dest"] for route in corrected["diff"]["before"]["routes"]]
    assert before == ["0.0.0.0/0", "10.9.0.0/16"]
    assert destinations(corrected) == ["0.0.0.0/0", "10.1.0.0/16"]
    assert subnets_of(named(ec2)) == sorted(subnets[:2])


def test_check_mode_with_parents_that_do_not_exist_yet(ec2: Any, args: dict[str, Any]) -> None:
    before = ec2.describe_route_tables()["RouteTables"]
    later = {
        "vpc_id": "vpc-00000000000000000",
        "subnets": ["subnet-00000000000000001", "later"],
        "routes": [{"dest": "0.0.0.0/0", "gateway_id": "igw"}],
    }
    predicted = run_module(ec2_vpc_route_table, args | later, check=True)
    assert predicted["changed"]
    assert predicted["route_table"]["id"] == "rtb-00000000000000000"
    found = [association["subnet_id"] for association in predicted["route_table"]["associations"]]
    assert found == ["later", "subnet-00000000000000001"]
    assert predicted["route_table"]["routes"][0]["gateway_id"] == "igw-00000000000000000"
    by_id = {"lookup": "id", "route_table_id": "rtb-00000000000000000"}
    assert run_module(ec2_vpc_route_table, args | by_id, check=True)["changed"]
    assert ec2.describe_route_tables()["RouteTables"] == before


# Faults


@pytest.fixture
def changed_args(
    ec2: Any, args: dict[str, Any], gateway: str, subnets: list[str]
) -> dict[str, Any]:
    """For a table that exists, every kind of change is left to do."""
    run_module(ec2_vpc_route_table, args | {"tags": {"Name": "other"}, "subnets": ["c"]})
    run_module(ec2_vpc_route_table, args | {"tags": {"Name": "public"}})
    return args | {
        "lookup": "id",
        "route_table_id": named(ec2)["RouteTableId"],
        "subnets": ["b", "c"],
        "gateway_id": gateway,
        "routes": [
            {"dest": "10.1.0.0/16", "gateway_id": gateway},
            {"dest": "10.2.0.0/16", "gateway_id": gateway},
        ],
        "propagating_vgw_ids": ["vgw-0123456789abcdef0"],
    }


def fresh_args(args: dict[str, Any], action: str, changed: dict[str, Any]) -> dict[str, Any]:
    new = args | {"tags": {"Name": "new"}}
    return new if action == "CreateRouteTable" else changed


@pytest.mark.parametrize("action", ("DescribeRouteTables", "DescribeSubnets", *WRITES))
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
    before = len(ec2.describe_route_tables()["RouteTables"])
    faults({"action": f"ec2:{action}", "kind": kind, "count": 1 if kind == "cut" else 2})
    result = run_module(ec2_vpc_route_table, options)
    faults()
    assert result["changed"] and "failed" not in result, result
    assert not run_module(ec2_vpc_route_table, options)["changed"]
    after = ec2.describe_route_tables()["RouteTables"]
    assert len(after) == before + (action == "CreateRouteTable")
    used = [a["SubnetId"] for table in after for a in table["Associations"] if a.get("SubnetId")]
    assert len(used) == len({*used})


@pytest.mark.parametrize("action", WRITES)
def test_a_run_after_one_that_failed_converges(
    args: dict[str, Any], changed_args: dict[str, Any], faults: Any, ec2: Any, action: str
) -> None:
    options = fresh_args(args, action, changed_args)
    faults({"action": f"ec2:{action}", "kind": "denied"})
    failed = run_module(ec2_vpc_route_table, options)
    faults()
    assert f"allow ec2:{action}" in failed["msg"]
    result = run_module(ec2_vpc_route_table, options)
    assert result["changed"]
    assert result["route_table"]["id"] == named(ec2, options["tags"]["Name"])["RouteTableId"]
    assert not run_module(ec2_vpc_route_table, options)["changed"]


@pytest.mark.parametrize("action", ["DisassociateRouteTable", "DeleteRouteTable"])
@pytest.mark.parametrize("kind", ["throttling", "unavailable", "cut"])
def test_a_fault_while_deleting_is_outlasted(
    args: dict[str, Any], faults: Any, ec2: Any, action: str, kind: str
) -> None:
    run_module(ec2_vpc_route_table, args)
    absent = {"vpc_id": args["vpc_id"], "tags": args["tags"], "state": "absent"}
    faults({"action": f"ec2:{action}", "kind": kind, "count": 1})
    gone = run_module(ec2_vpc_route_table, absent)
    assert gone["changed"] and "failed" not in gone, gone
    assert not run_module(ec2_vpc_route_table, absent)["changed"]


# The published module


def test_it_stands_for_the_published_module(ec2: Any, args: dict[str, Any]) -> None:
    """What that one made is found unchanged, and returned with the same keys."""
    made = run_module(published, args)
    found = run_module(ec2_vpc_route_table, args)
    assert found["changed"] is False, found["diff"]
    assert found.keys() - {"diff"} == made.keys()
    assert found["route_table"] == made["route_table"]
    # And the other way round.
    tags = {"Name": "ours"}
    ours = run_module(ec2_vpc_route_table, args | {"tags": tags, "subnets": ["c"]})
    theirs = run_module(published, args | {"tags": tags, "subnets": ["c"]})
    assert theirs["changed"] is False
    assert theirs["route_table"] == ours["route_table"]
