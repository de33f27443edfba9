"""EC2: route tables with every kind of target, IPv6, gateways, and EC2's refusals.

MiniStack knows IPv4 destinations only, associates no gateways, keeps the former target of a
replaced route, makes a second table for a repeated request, and takes whatever does not fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

from ministack.services import ec2

from ..settings import Cloud

Params = dict[str, Any]
Record = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]
Handler = Callable[[Params], Response]

DESTINATIONS = ("DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId")
TARGETS = tuple(field for field, _element in ec2._ROUTE_MEMBERS if field not in DESTINATIONS)


class Refused(Exception):
    """An error of the API, by its code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def apply(cloud: Cloud) -> None:
    actions = ec2._ACTION_MAP
    ec2._rtb_fields_xml = _with_gateways(ec2._rtb_fields_xml)
    for action, handler in {
        "CreateRouteTable": _create(actions["CreateRouteTable"]),
        "DeleteRouteTable": _delete(actions["DeleteRouteTable"]),
        "DescribeRouteTables": _describe(actions["DescribeRouteTables"]),
        "CreateRoute": _create_route,
        "ReplaceRoute": _replace_route,
        "DeleteRoute": _delete_route,
        "AssociateRouteTable": _associate(actions["AssociateRouteTable"]),
        "DisassociateRouteTable": _disassociate(actions["DisassociateRouteTable"]),
        "ReplaceRouteTableAssociation": _reassociate(actions["ReplaceRouteTableAssociation"]),
    }.items():
        actions[action] = _refusing(handler)


def _refusing(handler: Handler) -> Handler:
    def wrapped(p: Params) -> Response:
        try:
            return handler(p)
        except Refused as refused:
            return ec2._error(refused.code, str(refused), 400)

    return wrapped


def _done(action: str) -> Response:
    return ec2._xml(200, f"{action}Response", "<return>true</return>")


def _table(id_: str) -> Record:
    if id_ not in ec2._route_tables:
        message = f"The routeTable ID '{id_}' does not exist"
        raise Refused("InvalidRouteTableID.NotFound", message)
    return ec2._route_tables[id_]


# --- Tables -------------------------------------------------------------------------------------


def _create(handler: Handler) -> Handler:
    def wrapped(p: Params) -> Response:
        vpc_id, token = ec2._p(p, "VpcId"), ec2._p(p, "ClientToken")
        if vpc_id not in ec2._vpcs:
            raise Refused("InvalidVpcID.NotFound", f"The vpc ID '{vpc_id}' does not exist")
        known = {*ec2._route_tables}
        for table in ec2._route_tables.values():
            if token and table.get("ClientToken") == token:
                xml = ec2._rtb_fields_xml(table, tag="routeTable")
                return ec2._xml(200, "CreateRouteTableResponse", xml)
        response = handler(p)
        for id_ in {*ec2._route_tables} - known:
            ec2._route_tables[id_]["ClientToken"] = token
        return response

    return wrapped


def _delete(handler: Handler) -> Handler:
    def wrapped(p: Params) -> Response:
        table = _table(ec2._p(p, "RouteTableId"))
        if any(a.get("SubnetId") in ec2._subnets or a.get("GatewayId") for a in _used_by(table)):
            message = f"The routeTable '{table['RouteTableId']}' has dependencies"
            raise Refused("DependencyViolation", f"{message} and cannot be deleted.")
        return handler(p)

    return wrapped


def _used_by(table: Record) -> list[Record]:
    return [association for association in table["Associations"] if not association.get("Main")]


def _describe(handler: Handler) -> Handler:
    def wrapped(p: Params) -> Response:
        for id_ in ec2._parse_member_list(p, "RouteTableId"):
            _table(id_)
        return handler(p)

    return wrapped


def _with_gateways(xml_of: Callable[..., str]) -> Callable[..., str]:
    def wrapped(table: Record, tag: str = "item") -> str:
        xml = xml_of(table, tag=tag)
        for association in table["Associations"]:
            if gateway := association.get("GatewayId"):
                id_ = re.escape(association["RouteTableAssociationId"])
                start = f"<routeTableAssociationId>{id_}</routeTableAssociationId>"
                xml = re.sub(start, rf"\g<0><gatewayId>{gateway}</gatewayId>", xml)
        return xml

    return wrapped


# --- Routes -------------------------------------------------------------------------------------


def _destination(p: Params) -> dict[str, str]:
    field = next(field for field in DESTINATIONS if ec2._p(p, field))
    value = ec2._p(p, field)
    return {field: value if value.startswith("pl-") else str(ip_network(value, strict=False))}


def _target(p: Params) -> dict[str, str]:
    target = {field: value for field in TARGETS if (value := ec2._p(p, field))}
    gateway = target.get("GatewayId", "")
    if gateway.startswith("igw-") and gateway not in ec2._internet_gateways:
        message = f"The gateway ID '{gateway}' does not exist"
        raise Refused("InvalidGatewayID.NotFound", message)
    return target


def _route(table: Record, destination: dict[str, str]) -> Record | None:
    found = (route for route in table["Routes"] if destination.items() <= route.items())
    return next(found, None)


def _existing(table: Record, destination: dict[str, str]) -> Record:
    route = _route(table, destination)
    if not route:
        (value,) = destination.values()
        raise Refused("InvalidRoute.NotFound", f"no route with destination-cidr-block {value}")
    return route


def _create_route(p: Params) -> Response:
    table, destination = _table(ec2._p(p, "RouteTableId")), _destination(p)
    if _route(table, destination):
        (value,) = destination.values()
        raise Refused("RouteAlreadyExists", f"The route identified by {value} already exists.")
    made = {"State": "active", "Origin": "CreateRoute"}
    table["Routes"].append(destination | _target(p) | made)
    return _done("CreateRoute")


def _replace_route(p: Params) -> Response:
    route = _existing(_table(ec2._p(p, "RouteTableId")), _destination(p))
    local = ec2._p(p, "LocalTarget") == "true"
    target = {"GatewayId": "local"} if local else _target(p)
    for field in TARGETS:
        route.pop(field, None)
    route.update(target)
    return _done("ReplaceRoute")


def _delete_route(p: Params) -> Response:
    table = _table(ec2._p(p, "RouteTableId"))
    table["Routes"].remove(_existing(table, _destination(p)))
    return _done("DeleteRoute")


# --- Associations -------------------------------------------------------------------------------


def _associate(handler: Handler) -> Handler:
    def wrapped(p: Params) -> Response:
        subnet, gateway = ec2._p(p, "SubnetId"), ec2._p(p, "GatewayId")
        table = _table(ec2._p(p, "RouteTableId"))
        if subnet and subnet not in ec2._subnets:
            raise Refused("InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist")
        for other in ec2._route_tables.values():
            for association in _used_by(other):
                used = (association.get("SubnetId"), association.get("GatewayId"))
                if (subnet or gateway) in used:
                    message = f"the specified association for route table {table['RouteTableId']}"
                    message += " conflicts with an existing association"
                    raise Refused("Resource.AlreadyAssociated", message)
        response = handler(p)
        table["Associations"][-1]["GatewayId"] = gateway
        return response

    return wrapped


def _association(id_: str) -> Record:
    for table in ec2._route_tables.values():
        for association in table["Associations"]:
            if association["RouteTableAssociationId"] == id_:
                return association
    message = f"The association ID '{id_}' does not exist"
    raise Refused("InvalidAssociationID.NotFound", message)


def _disassociate(handler: Handler) -> Handler:
    def wrapped(p: Params) -> Response:
        _association(ec2._p(p, "AssociationId"))
        return handler(p)

    return wrapped


def _reassociate(handler: Handler) -> Handler:
    def wrapped(p: Params) -> Response:
        gateway = _association(ec2._p(p, "AssociationId")).get("GatewayId")
        table = _table(ec2._p(p, "RouteTableId"))
        response = handler(p)
        table["Associations"][-1]["GatewayId"] = gateway
        return response

    return wrapped
