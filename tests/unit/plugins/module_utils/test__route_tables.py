# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random
from ipaddress import ip_network
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.module_utils import _route_tables as tables
from hypothesis import given
from hypothesis import strategies as st

Options = dict[str, Any]
LOCAL = {
    "DestinationCidrBlock": "10.0.0.0/16",
    "GatewayId": "local",
    "Origin": "CreateRouteTable",
    "State": "active",
}
TABLE: Options = {
    "RouteTableId": "rtb-1",
    "VpcId": "vpc-1",
    "Routes": [LOCAL],
    "Associations": [],
    "PropagatingVgws": [],
}
PARAMS: Options = {
    "vpc_id": "vpc-1",
    "purge_routes": True,
    "subnets": None,
    "purge_subnets": True,
    "gateway_id": None,
    "propagating_vgw_ids": None,
    "tags": None,
    "purge_tags": True,
}


def route(dest: str, **target: str) -> dict[str, str]:
    """As AWS answers one that somebody made."""
    return tables.in_api(dest, target) | {"Origin": "CreateRoute", "State": "active"}


def association(subnet: str, state: str = "associated", table: str = "rtb-1") -> Options:
    return {
        "RouteTableAssociationId": f"rtbassoc-{subnet}",
        "RouteTableId": table,
        "SubnetId": subnet,
        "Main": False,
        "AssociationState": {"State": state},
    }


networks = st.one_of(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)),
    st.tuples(st.integers(2**96, 2**128 - 1), st.integers(0, 128)),
).map(lambda pair: str(ip_network(pair, strict=False)))
# Not one of those that gateway_id renames.
targets = st.tuples(
    st.sampled_from([name for name in tables.TARGETS if name != "vpc_endpoint_id"]),
    st.sampled_from(["x-1", "x-2"]),
)
routes = st.dictionaries(networks, targets, max_size=5)


def options(wanted: dict[str, tuple[str, str]]) -> list[Options]:
    unset = dict.fromkeys(tables.TARGETS)
    return [{"dest": dest, **unset, kind: id_} for dest, (kind, id_) in wanted.items()]


@given(routes, st.randoms(use_true_random=False))
def test_what_aws_answers_is_what_was_asked_for(
    wanted: dict[str, tuple[str, str]], chance: random.Random
) -> None:
    asked = tables.wanted_routes(options(wanted))
    answered = [route(dest, **{kind: id_}) for dest, (kind, id_) in wanted.items()]
    chance.shuffle(answered)
    current = tables.described(TABLE | {"Routes": answered}, asked)["routes"]
    assert current == asked
    assert tables.merged_routes(current, asked, True) == current


@given(routes, routes, st.booleans())
def test_a_run_leaves_nothing_for_a_second_one(
    before: dict[str, tuple[str, str]], after: dict[str, tuple[str, str]], purge: bool
) -> None:
    current, asked = (tables.wanted_routes(options(some)) for some in (before, after))
    first = tables.merged_routes(current, asked, purge)
    assert tables.merged_routes(first, asked, purge) == first
    assert asked.items() <= first.items()
    assert first.keys() == (asked.keys() if purge else asked.keys() | current.keys())


@given(routes, routes)
def test_the_predicted_table_is_what_it_is_predicted_from(
    before: dict[str, tuple[str, str]], after: dict[str, tuple[str, str]]
) -> None:
    table = TABLE | {
        "Routes": [LOCAL] + [route(dest, **{kind: id_}) for dest, (kind, id_) in before.items()],
        "Associations": [association("subnet-a")],
    }
    asked = tables.wanted_routes(options(after))
    current = tables.described(table, asked)
    params = PARAMS | {"subnets": ["subnet-b"], "tags": {"number": 1}}
    state = tables.after_run(params, current, asked, ["subnet-b"])
    predicted = tables.predicted(table, current, state)
    assert tables.described(predicted, asked) == state
    assert state["subnets"] == ["subnet-b"] and state["tags"] == {"number": "1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10.1.2.3/16", "10.1.0.0/16"),
        (" 0.0.0.0/0 ", "0.0.0.0/0"),
        ("10.0.0.1", "10.0.0.1/32"),
        ("2001:DB8::1/32", "2001:db8::/32"),
        ("0::0/0", "::/0"),
    ],
)
def test_destinations_in_every_spelling(text: str, expected: str) -> None:
    assert [*tables.wanted_routes(options({text: ("gateway_id", "igw-1")}))] == [expected]


@pytest.mark.parametrize(
    ("gateway", "option"),
    [
        ("igw-1", "gateway_id"),
        ("vgw-1", "gateway_id"),
        ("local", "gateway_id"),
        ("nat-1", "nat_gateway_id"),
        ("tgw-1", "transit_gateway_id"),
        ("cagw-1", "carrier_gateway_id"),
        ("vpce-1", "vpc_endpoint_id"),
    ],
)
def test_a_gateway_is_named_after_what_it_is(gateway: str, option: str) -> None:
    by_gateway = tables.wanted_routes(options({"0.0.0.0/0": ("gateway_id", gateway)}))
    assert by_gateway == {"0.0.0.0/0": {option: gateway}}
    assert by_gateway == tables.wanted_routes(options({"0.0.0.0/0": (option, gateway)}))


def test_a_destination_has_one_target() -> None:
    both = options({"10.0.0.0/16": ("gateway_id", "igw-1")}) * 2
    assert len(tables.wanted_routes(both)) == 1
    both += options({"10.0.0.1/16": ("gateway_id", "igw-2")})
    with pytest.raises(ValueError, match="10.0.0.0/16 has two targets"):
        tables.wanted_routes(both)


def test_an_instance_has_a_network_interface_as_well() -> None:
    shown = {"instance_id": "i-1", "network_interface_id": "eni-1"}
    current = tables.described_routes([route("0.0.0.0/0", **shown)], set())
    assert current == {"0.0.0.0/0": shown}
    for kind, id_ in shown.items():
        asked = tables.wanted_routes(options({"0.0.0.0/0": (kind, id_)}))
        assert tables.merged_routes(current, asked, True) == current
    other = tables.wanted_routes(options({"0.0.0.0/0": ("instance_id", "i-2")}))
    assert tables.merged_routes(current, other, True) == other


def test_routes_of_aws_are_left_alone() -> None:
    propagated = route("10.9.0.0/16", gateway_id="vgw-1") | {"Origin": "EnableVgwRoutePropagation"}
    endpoint = {"DestinationPrefixListId": "pl-1", "GatewayId": "vpce-1", "Origin": "CreateRoute"}
    answered = [LOCAL, propagated, endpoint]
    assert tables.described_routes(answered, set()) == {}
    # A local route can have another target: then it is meant.
    asked = {"10.0.0.0/16", "10.9.0.0/16"}
    assert tables.described_routes(answered, asked) == {"10.0.0.0/16": {"gateway_id": "local"}}


def test_an_association_that_goes_is_gone() -> None:
    states = ("associated", "associating", "disassociating", "disassociated", "failed")
    found = [association(f"subnet-{state}", state) for state in states]
    main = {"RouteTableAssociationId": "rtbassoc-0", "RouteTableId": "rtb-1", "Main": True}
    table = TABLE | {"Associations": [main, *found]}
    assert [*tables.associations([table], "subnets")] == ["subnet-associated", "subnet-associating"]
    assert tables.described(table, [])["gateways"] == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ["subnet-a", "subnet-b"]),
        ({"subnets": ["subnet-c"]}, ["subnet-c"]),
        ({"subnets": ["subnet-c"], "purge_subnets": False}, ["subnet-a", "subnet-b", "subnet-c"]),
        ({"subnets": []}, []),
    ],
)
def test_subnets(change: Options, expected: list[str]) -> None:
    table = TABLE | {"Associations": [association("subnet-b"), association("subnet-a")]}
    params = PARAMS | change
    current = tables.described(table, [])
    assert tables.after_run(params, current, {}, params["subnets"] or [])["subnets"] == expected


def test_gateways_and_propagation_are_added_to() -> None:
    gateway = {"RouteTableAssociationId": "rtbassoc-1", "GatewayId": "igw-1", "Main": False}
    table = TABLE | {"Associations": [gateway], "PropagatingVgws": [{"GatewayId": "vgw-1"}]}
    current = tables.described(table, [])

    def after(**params: Any) -> Options:
        return tables.after_run(PARAMS | params, current, {}, [])

    assert after()["gateways"] == ["igw-1"]
    assert after(gateway_id="vgw-2")["gateways"] == ["igw-1", "vgw-2"]
    assert after(gateway_id="None")["gateways"] == after(gateway_id="")["gateways"] == []
    assert after(propagating_vgw_ids=["vgw-2"])["propagating_vgw_ids"] == ["vgw-1", "vgw-2"]


@given(st.dictionaries(st.sampled_from("abc"), st.integers(1, 2)))
def test_a_table_matches_that_has_all_tags(tags: dict[str, int]) -> None:
    has = {"a": "1", "b": "2"}
    table = TABLE | {"Tags": [{"Key": key, "Value": value} for key, value in has.items()]}
    matches = all(has.get(key) == str(value) for key, value in tags.items())
    assert tables.matching([table], tags) == ([table] if matches else [])


def test_subnets_by_id_name_and_network() -> None:
    subnet = {
        "SubnetId": "subnet-1",
        "CidrBlock": "10.0.0.0/24",
        "Ipv6CidrBlockAssociationSet": [{"Ipv6CidrBlock": "2001:db8::/64"}],
        "Tags": [{"Key": "Name", "Value": "public"}],
    }
    other = {"SubnetId": "subnet-2", "CidrBlock": "10.0.1.0/24"}
    texts = ["subnet-9", "public", "10.0.0.0/24", "2001:db8::/64", "subnet of nobody"]
    assert tables.ids_of(texts, [subnet, other]) == {
        "subnet-9": ["subnet-9"],
        "public": ["subnet-1"],
        "10.0.0.0/24": ["subnet-1"],
        "2001:db8::/64": ["subnet-1"],
        "subnet of nobody": [],
    }
