# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Route tables in one form, whether AWS answers them or options describe them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.multicompute.spin.plugins.module_utils._tags import wanted_tags

# Options of a route for its target, and what the API calls them.
TARGETS = {
    "gateway_id": "GatewayId",
    "nat_gateway_id": "NatGatewayId",
    "instance_id": "InstanceId",
    "network_interface_id": "NetworkInterfaceId",
    "transit_gateway_id": "TransitGatewayId",
    "vpc_peering_connection_id": "VpcPeeringConnectionId",
    "egress_only_internet_gateway_id": "EgressOnlyInternetGatewayId",
    "carrier_gateway_id": "CarrierGatewayId",
    "local_gateway_id": "LocalGatewayId",
    "core_network_arn": "CoreNetworkArn",
    "vpc_endpoint_id": "VpcEndpointId",
}
# What is no gateway, given or answered as one all the same.
PREFIXES = {
    "nat": "nat_gateway_id",
    "cagw": "carrier_gateway_id",
    "tgw": "transit_gateway_id",
    "vpce": "vpc_endpoint_id",
}
# Options, and the field of an association that holds what it is about.
ASSOCIATED = {"subnets": "SubnetId", "gateways": "GatewayId"}
# Stands for the part of an ID that AWS assigns, in check mode.
PLACEHOLDER = "00000000000000000"
Options = dict[str, Any]
Routes = dict[str, Options]
Table = dict[str, Any]


def described(table: Table, destinations: Iterable[str]) -> Options:
    """What a run may change of a table; a local route only if it is among `destinations`."""
    return {
        "routes": described_routes(table["Routes"], {*destinations}),
        **{option: sorted(associations([table], option)) for option in ASSOCIATED},
        "propagating_vgw_ids": sorted(vgw["GatewayId"] for vgw in table["PropagatingVgws"]),
        "tags": boto3_tag_list_to_ansible_dict(table.get("Tags", [])),
    }


def described_routes(routes: list[dict[str, str]], destinations: set[str]) -> Routes:
    found = {}
    for route in routes:
        dest = route.get("DestinationCidrBlock") or route.get("DestinationIpv6CidrBlock")
        origin = route.get("Origin")
        # Routes to prefix lists belong to their endpoints.
        if not dest or origin == "EnableVgwRoutePropagation":
            continue
        if origin == "CreateRoute" or dest in destinations:
            found[dest] = targets({option: route.get(field) for option, field in TARGETS.items()})
    return found


def associations(tables: list[Table], option: str) -> dict[str, dict[str, Any]]:
    """What is associated with any of the tables, with its association."""
    field = ASSOCIATED[option]
    return {
        association[field]: association
        for table in tables
        for association in table["Associations"]
        if association.get(field)
        and association.get("AssociationState", {}).get("State")
        not in ("disassociating", "disassociated", "failed")
    }


def targets(route: Mapping[str, str | None]) -> Options:
    """The targets of a route, each under its own name."""
    found = {option: route[option] for option in TARGETS if route.get(option)}
    kind = PREFIXES.get((found.get("gateway_id") or "").partition("-")[0])
    return {kind: found.pop("gateway_id"), **found} if kind else found


def wanted_routes(options: list[Options]) -> Routes:
    """Each destination, in AWS's spelling, with its target; ValueError if that is not clear."""
    routes: Routes = {}
    for option in options:
        try:
            dest = str(ip_network(option["dest"].strip(), strict=False))
        except ValueError:
            raise ValueError(
                f"dest {option['dest']} is no network: write it as address/bits"
            ) from None
        target = targets(option)
        if routes.setdefault(dest, target) != target:
            raise ValueError(f"{dest} has two targets: a destination has one route")
    return routes


def merged_routes(current: Routes, wanted: Routes, purge: bool) -> Routes:
    """The routes after a run. An instance has a network interface as well, which AWS shows."""
    kept = {} if purge else current
    return kept | {
        dest: current[dest] if target.items() <= current.get(dest, {}).items() else target
        for dest, target in wanted.items()
    }


def after_run(params: Options, current: Options, routes: Routes, subnets: list[str]) -> Options:
    """`current` as the options want it; `subnets` by their IDs."""
    kept = [] if params["purge_subnets"] else current["subnets"]
    gateways = {*current["gateways"], *([params["gateway_id"]] if params["gateway_id"] else [])}
    taken_out = params["gateway_id"] in ("", "None")
    return {
        "routes": merged_routes(current["routes"], routes, params["purge_routes"]),
        "subnets": current["subnets"] if params["subnets"] is None else sorted({*kept, *subnets}),
        "gateways": [] if taken_out else sorted(gateways),
        "propagating_vgw_ids": sorted(
            {*current["propagating_vgw_ids"], *(params["propagating_vgw_ids"] or [])}
        ),
        "tags": wanted_tags(current["tags"], params["tags"], params["purge_tags"]),
    }


def shown(params: Options, state: Options) -> Options:
    """The part of a state that the options are about."""
    given = {
        "subnets": params["subnets"],
        "gateways": params["gateway_id"],
        "propagating_vgw_ids": params["propagating_vgw_ids"],
        "tags": params["tags"],
    }
    routes = [{"dest": dest, **target} for dest, target in sorted(state["routes"].items())]
    part = {option: state[option] for option, value in given.items() if value is not None}
    return {"vpc_id": params["vpc_id"], "routes": routes, **part}


def matching(tables: list[Table], tags: Mapping[str, Any]) -> list[Table]:
    wanted = {key: str(value) for key, value in tags.items()}.items()
    return [
        table
        for table in tables
        if wanted <= boto3_tag_list_to_ansible_dict(table.get("Tags", [])).items()
    ]


def ids_of(texts: list[str], subnets: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The IDs of the subnets that each text means: by ID, tag Name or network."""
    return {
        text: [text]
        if is_subnet_id(text)
        else [subnet["SubnetId"] for subnet in subnets if text in names_of(subnet)]
        for text in texts
    }


def is_subnet_id(text: str) -> bool:
    return bool(re.fullmatch(r"subnet-[0-9a-z]+", text))


def names_of(subnet: dict[str, Any]) -> set[str | None]:
    blocks = subnet.get("Ipv6CidrBlockAssociationSet", [])
    tags = boto3_tag_list_to_ansible_dict(subnet.get("Tags", []))
    return {tags.get("Name"), subnet["CidrBlock"], *(block["Ipv6CidrBlock"] for block in blocks)}


def destination(dest: str) -> dict[str, str]:
    return {"DestinationIpv6CidrBlock" if ":" in dest else "DestinationCidrBlock": dest}


def in_api(dest: str, target: Options) -> dict[str, str]:
    return destination(dest) | {TARGETS[option]: value for option, value in target.items()}


def predicted(table: Table, before: Options, after: Options) -> Table:
    """The table as AWS would describe it after the run."""
    old, new = before["routes"], after["routes"]
    changed = {dest for dest in old.keys() | new.keys() if old.get(dest) != new.get(dest)}
    kept = [
        route
        for route in table["Routes"]
        if not any(destination(dest).items() <= route.items() for dest in changed)
    ]
    made = [
        in_api(dest, new[dest]) | {"Origin": "CreateRoute", "State": "active"}
        for dest in sorted(changed & new.keys())
    ]
    present = {option: associations([table], option) for option in ASSOCIATED}
    unborn = {
        "RouteTableAssociationId": f"rtbassoc-{PLACEHOLDER}",
        "RouteTableId": table["RouteTableId"],
        "Main": False,
        "AssociationState": {"State": "associated"},
    }
    return table | {
        "Routes": kept + made,
        "Associations": [main for main in table["Associations"] if main["Main"]]
        + [
            present[option].get(id_, unborn | {field: id_})
            for option, field in ASSOCIATED.items()
            for id_ in after[option]
        ],
        "PropagatingVgws": [{"GatewayId": id_} for id_ in after["propagating_vgw_ids"]],
        "Tags": ansible_dict_to_boto3_tag_list(after["tags"]),
    }
