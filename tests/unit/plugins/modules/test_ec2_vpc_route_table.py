# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the local cloud does not show: AWS being slow, pages, and two runs at once."""

from __future__ import annotations

import inspect
import time
from typing import Any

import pytest
import yaml
from ansible_collections.amazon.aws.plugins.modules import ec2_vpc_route_table as published
from ansible_collections.multicompute.spin.plugins.modules import ec2_vpc_route_table
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)

ID = "rtb-0123456789abcdef0"
OTHER = "rtb-0123456789abcdef1"
VPC = "vpc-0123456789abcdef0"
SUBNET = "subnet-0123456789abcdef0"
IGW = "igw-0123456789abcdef0"
ROUTE = {"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": IGW, "Origin": "CreateRoute"}
ARGS: dict[str, Any] = {
    "vpc_id": VPC,
    "subnets": [SUBNET],
    "routes": [{"dest": "0.0.0.0/0", "gateway_id": IGW}],
    "tags": {"Name": "public"},
}
NONE: dict[str, Any] = {"RouteTables": []}
NOT_FOUND = AwsError("InvalidRouteTableID.NotFound", "not there yet")


def table(id_: str = ID, state: str = "", **changes: Any) -> dict[str, Any]:
    """A table as AWS answers it; with a `state`, the subnet is associated with it."""
    association = {
        "RouteTableAssociationId": f"rtbassoc-{id_[4:]}",
        "RouteTableId": id_,
        "SubnetId": SUBNET,
        "Main": False,
        "AssociationState": {"State": state},
    }
    return {
        "RouteTableId": id_,
        "VpcId": VPC,
        "OwnerId": "123456789012",
        "Routes": [ROUTE],
        "Associations": [association] if state else [],
        "PropagatingVgws": [],
        "Tags": [{"Key": "Name", "Value": "public"}],
    } | changes


def tables(*found: dict[str, Any]) -> dict[str, Any]:
    return {"RouteTables": [*found]}


@pytest.fixture
def ec2(aws: FakeAws) -> FakeAws:
    aws.on("ec2.CreateRouteTable", {"RouteTable": table(Routes=[])})
    aws.on("ec2.AssociateRouteTable", {"AssociationId": "rtbassoc-1"})
    aws.on("ec2.ReplaceRouteTableAssociation", {"NewAssociationId": "rtbassoc-2"})
    aws.on("ec2.CreateRoute", {"Return": True})
    for operation in ("ReplaceRoute", "DeleteRoute", "DisassociateRouteTable", "DeleteRouteTable"):
        aws.on(f"ec2.{operation}", {})
    return aws


def operations(aws: FakeAws) -> list[str]:
    return [call.operation for call in aws.writes()]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def test_nothing_sleeps_when_aws_is_there_at_once(ec2: FakeAws, pauses: list[float]) -> None:
    ec2.on("ec2.DescribeRouteTables", [NONE, tables(table(state="associated"))])
    assert run_module(ec2_vpc_route_table, ARGS)["changed"]
    assert pauses == []
    assert ec2.operations() == [
        "DescribeRouteTables",
        "CreateRouteTable",
        "DescribeRouteTables",
        "CreateRoute",
        "AssociateRouteTable",
        "DescribeRouteTables",
        "DescribeRouteTables",
    ]


def test_a_new_table_and_its_subnets_are_waited_for(ec2: FakeAws, pauses: list[float]) -> None:
    associating, done = table(state="associating"), table(state="associated")
    answers = [NONE, NOT_FOUND, tables(table()), tables(associating), tables(done)]
    ec2.on("ec2.DescribeRouteTables", answers)
    result = run_module(ec2_vpc_route_table, ARGS)
    assert len(pauses) == 2
    (association,) = result["route_table"]["associations"]
    assert association["association_state"] == {"state": "associated"}


def test_a_subnet_that_cannot_be_associated(ec2: FakeAws) -> None:
    ec2.on("ec2.DescribeRouteTables", [tables(table()), tables(table(state="failed"))])
    failed = run_module(ec2_vpc_route_table, ARGS)
    assert f"Could not see the route table {ID} complete" in failed["msg"]


def test_nothing_is_asked_to_change_when_all_is_right(ec2: FakeAws) -> None:
    ec2.on("ec2.DescribeRouteTables", tables(table(state="associating")))
    assert not run_module(ec2_vpc_route_table, ARGS)["changed"]
    assert ec2.operations() == ["DescribeRouteTables"]


def test_creation_is_repeated_with_the_same_token(ec2: FakeAws) -> None:
    busy = AwsError("RequestLimitExceeded", status=503)
    ec2.on("ec2.CreateRouteTable", [busy, busy, {"RouteTable": table()}])
    ec2.on("ec2.DescribeRouteTables", [NONE, tables(table(state="associated"))])
    assert run_module(ec2_vpc_route_table, ARGS)["changed"]
    assert len({request["ClientToken"] for request in ec2.params("CreateRouteTable")}) == 1
    tags = ec2.params("CreateRouteTable")[0]["TagSpecifications"][0]["Tags"]
    assert tags == [{"Key": "Name", "Value": "public"}]


def test_a_subnet_changes_over_in_one_call(ec2: FakeAws) -> None:
    other = table(OTHER, "associated", Tags=[])
    ec2.on("ec2.DescribeRouteTables", [tables(table(), other), tables(table(state="associated"))])
    run_module(ec2_vpc_route_table, ARGS)
    assert operations(ec2) == ["ReplaceRouteTableAssociation"]
    assert ec2.params("ReplaceRouteTableAssociation") == [
        {"AssociationId": "rtbassoc-0123456789abcdef1", "RouteTableId": ID}
    ]


def test_a_subnet_that_another_run_moved_meanwhile(ec2: FakeAws) -> None:
    taken = AwsError("Resource.AlreadyAssociated", "conflicts with an existing association")
    ec2.on("ec2.AssociateRouteTable", taken)
    other = tables(table(), table(OTHER, "associated", Tags=[]))
    done = tables(table(state="associated"))
    ec2.on("ec2.DescribeRouteTables", [tables(table()), other, done])
    assert run_module(ec2_vpc_route_table, ARGS)["changed"]
    assert operations(ec2) == ["AssociateRouteTable", "ReplaceRouteTableAssociation"]
    # Or moved here, by an attempt whose answer was lost.
    ec2.calls.clear()
    ec2.on("ec2.DescribeRouteTables", [tables(table()), done])
    assert run_module(ec2_vpc_route_table, ARGS)["changed"]
    assert operations(ec2) == ["AssociateRouteTable"]


def test_a_route_that_another_run_added_meanwhile(ec2: FakeAws) -> None:
    ec2.on("ec2.CreateRoute", AwsError("RouteAlreadyExists", "already exists"))
    without = table(state="associated", Routes=[])
    ec2.on("ec2.DescribeRouteTables", [tables(without), tables(table(state="associated"))])
    assert run_module(ec2_vpc_route_table, ARGS)["changed"]
    assert operations(ec2) == ["CreateRoute", "ReplaceRoute"]
    assert ec2.params("ReplaceRoute")[0]["GatewayId"] == IGW


def test_a_table_on_a_later_page(ec2: FakeAws) -> None:
    pages = [NONE | {"NextToken": "1"}, tables(table(state="associated"))]
    ec2.on("ec2.DescribeRouteTables", pages)
    assert not run_module(ec2_vpc_route_table, ARGS)["changed"]
    assert [call.get("NextToken") for call in ec2.params("DescribeRouteTables")] == [None, "1"]


def test_deletion_waits_for_its_subnets(ec2: FakeAws, pauses: list[float]) -> None:
    leaving, free = tables(table(state="disassociating")), tables(table())
    ec2.on("ec2.DescribeRouteTables", [tables(table(state="associated")), leaving, free])
    absent = {"vpc_id": VPC, "tags": {"Name": "public"}, "state": "absent"}
    assert run_module(ec2_vpc_route_table, absent)["changed"]
    assert operations(ec2) == ["DisassociateRouteTable", "DeleteRouteTable"]
    assert len(pauses) == 1


def test_a_subnet_that_ec2_still_counts_is_outlasted(ec2: FakeAws) -> None:
    used = AwsError("DependencyViolation", "has dependencies and cannot be deleted")
    ec2.on("ec2.DescribeRouteTables", [tables(table(state="associated")), tables(table())])
    ec2.on("ec2.DeleteRouteTable", [used, used, {}])
    absent = {"vpc_id": VPC, "tags": {"Name": "public"}, "state": "absent"}
    assert run_module(ec2_vpc_route_table, absent)["changed"]
    # Where nothing was taken out, there is nothing to wait for.
    ec2.calls.clear()
    ec2.on("ec2.DescribeRouteTables", tables(table(state="associated")))
    ec2.on("ec2.DeleteRouteTable", used)
    kept = run_module(ec2_vpc_route_table, absent | {"purge_subnets": False})
    assert "take its subnets out" in kept["msg"] and operations(ec2) == ["DeleteRouteTable"]


def test_a_table_without_subnets_is_deleted_at_once(ec2: FakeAws) -> None:
    ec2.on("ec2.DescribeRouteTables", tables(table()))
    absent = {"vpc_id": VPC, "tags": {"Name": "public"}, "state": "absent"}
    assert run_module(ec2_vpc_route_table, absent)["changed"]
    assert ec2.operations() == ["DescribeRouteTables", "DeleteRouteTable"]


def test_a_vpc_without_internet_gateway(ec2: FakeAws) -> None:
    ec2.on("ec2.DescribeRouteTables", NONE)
    ec2.on("ec2.DescribeInternetGateways", {"InternetGateways": []})
    routes = [{"dest": "0.0.0.0/0", "gateway_id": "igw"}]
    failed = run_module(ec2_vpc_route_table, ARGS | {"routes": routes})
    assert f"{VPC} has no internet gateway: attach one first" in failed["msg"]
    assert ec2.writes() == []


def spec_of(documentation: str) -> dict[str, Any]:
    """What a user may write: names, types and defaults."""
    options = yaml.safe_load(documentation)["options"]
    fields = ("type", "elements", "choices", "default")
    return {
        name: {field: option.get(field) for field in fields} for name, option in options.items()
    }


def test_the_options_are_those_of_the_published_module() -> None:
    assert spec_of(ec2_vpc_route_table.DOCUMENTATION) == spec_of(published.DOCUMENTATION)
    assert "sleep(5)" in inspect.getsource(published), "the reason to have this module is gone"
