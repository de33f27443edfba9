"""EC2: rules of security groups, one by one as EC2 keeps them, and what holds a group.

MiniStack keeps permissions as they were sent: it cannot remove one network of several, takes a
rule twice, loses prefix lists, knows no change of descriptions, and deletes a group in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_network
from typing import Any

from ministack.core.responses import get_account_id
from ministack.services import ec2

from ..settings import Cloud

Params = dict[str, Any]
Record = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]
Handler = Callable[[Params], Response]

SOURCES = {
    "IpRanges": "CidrIp",
    "Ipv6Ranges": "CidrIpv6",
    "PrefixListIds": "PrefixListId",
    "UserIdGroupPairs": "GroupId",
}
DIRECTIONS = {"Ingress": "IpPermissions", "Egress": "IpPermissionsEgress"}
PROTOCOLS = {"1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}


def apply(cloud: Cloud) -> None:
    ec2._parse_ip_permissions = _single_sources(ec2._parse_ip_permissions)
    ec2._rules_match = lambda one, other: _identity(one) == _identity(other)
    ec2._sg_xml = _grouped(ec2._sg_xml)
    ec2._eni_fields_xml = _filtered(ec2._eni_fields_xml)
    actions = ec2._ACTION_MAP
    actions["CreateSecurityGroup"] = _in_a_vpc(actions["CreateSecurityGroup"])
    actions["DeleteSecurityGroup"] = _unless_used(actions["DeleteSecurityGroup"])
    actions["DescribeNetworkInterfaces"] = _by_group(actions["DescribeNetworkInterfaces"])
    for direction, field in DIRECTIONS.items():
        for verb, check in (("Authorize", _check_new), ("Revoke", _check_known)):
            action = f"{verb}SecurityGroup{direction}"
            actions[action] = _checked(actions[action], field, check)
        action = f"UpdateSecurityGroupRuleDescriptions{direction}"
        actions[action] = _describer(action, field)


# --- Rules --------------------------------------------------------------------------------------


def _single_sources(parse: Callable[[Params, str], list[Record]]) -> Any:
    def wrapped(p: Params, prefix: str) -> list[Record]:
        permissions = parse(p, prefix)
        for number, permission in enumerate(permissions, 1):
            permission["PrefixListIds"] = _prefix_lists(p, f"{prefix}.{number}.PrefixListIds")
        return [rule for permission in permissions for rule in _split(permission)]

    return wrapped


def _prefix_lists(p: Params, prefix: str) -> list[dict[str, str]]:
    entries = []
    while id_ := ec2._p(p, f"{prefix}.{len(entries) + 1}.PrefixListId"):
        text = ec2._p(p, f"{prefix}.{len(entries) + 1}.Description")
        entries.append({"PrefixListId": id_} | ({"Description": text} if text else {}))
    return entries


def _split(permission: Record) -> Iterator[Record]:
    protocol = PROTOCOLS.get(permission["IpProtocol"], permission["IpProtocol"])
    with_ports = protocol in PROTOCOLS.values()
    ports = {k: v for k, v in permission.items() if k in ("FromPort", "ToPort") and with_ports}
    for kind, field in SOURCES.items():
        for entry in permission.get(kind, []):
            if field.startswith("Cidr"):
                entry[field] = str(ip_network(entry[field], strict=False))
            if kind == "UserIdGroupPairs":
                entry.setdefault("UserId", get_account_id())
                entry.setdefault("GroupId", _id_of(entry.get("GroupName", "")))
            empty: Record = {sources: [] for sources in SOURCES}
            yield {"IpProtocol": protocol, **ports, **empty, kind: [entry]}


def _id_of(name: str) -> str:
    groups = (g["GroupId"] for g in ec2._security_groups.values() if g["GroupName"] == name)
    return next(groups, name)


def _identity(rule: Record) -> tuple[Any, ...]:
    """A rule of one source without its description."""
    ports = (rule["IpProtocol"], rule.get("FromPort"), rule.get("ToPort"))
    return ports, [(k, entry[field]) for k, field in SOURCES.items() for entry in rule.get(k, [])]


def _grouped(xml_of: Callable[[Record], str]) -> Callable[[Record], str]:
    """Sources of the same protocol and ports are one permission."""

    def wrapped(group: Record) -> str:
        shown = dict(group)
        for field in DIRECTIONS.values():
            permissions: dict[tuple[Any, ...], Record] = {}
            for rule in group[field]:
                key = _identity(rule)[0]
                empty: Record = {kind: [] for kind in SOURCES}
                permission = permissions.setdefault(key, rule | empty)
                for kind in SOURCES:
                    permission[kind] = permission[kind] + rule.get(kind, [])
            shown[field] = list(permissions.values())
        xml = xml_of(shown).rstrip().removesuffix("</item>")
        arn = ec2._security_group_arn(group["GroupId"])
        return f"{xml}<securityGroupArn>{arn}</securityGroupArn></item>"

    return wrapped


Check = Callable[[Record, str, list[Record]], tuple[str, str] | None]


def _checked(handler: Handler, field: str, check: Check) -> Handler:
    def wrapped(p: Params) -> Response:
        group = ec2._security_groups.get(ec2._p(p, "GroupId"))
        refused = group and check(group, field, ec2._parse_ip_permissions(p, "IpPermissions"))
        return ec2._error(*refused, 400) if refused else handler(p)

    return wrapped


def _check_new(group: Record, field: str, rules: list[Record]) -> tuple[str, str] | None:
    for rule in rules:
        for pair in rule["UserIdGroupPairs"]:
            known = pair["GroupId"] in ec2._security_groups or pair["UserId"] != get_account_id()
            if not known:
                text = f"The security group '{pair['GroupId']}' does not exist"
                return "InvalidGroup.NotFound", text
        if any(ec2._rules_match(rule, present) for present in group[field]):
            return "InvalidPermission.Duplicate", "the specified rule already exists"
    return None


def _check_known(group: Record, field: str, rules: list[Record]) -> tuple[str, str] | None:
    for rule in rules:
        if not any(ec2._rules_match(rule, present) for present in group[field]):
            text = "The specified rule does not exist in this security group."
            return "InvalidPermission.NotFound", text
    return None


def _describer(action: str, field: str) -> Handler:
    def describe(p: Params) -> Response:
        group = ec2._security_groups.get(ec2._p(p, "GroupId"))
        rules = ec2._parse_ip_permissions(p, "IpPermissions")
        if not group:
            id_ = ec2._p(p, "GroupId")
            text = f"The security group '{id_}' does not exist"
            return ec2._error("InvalidGroup.NotFound", text, 400)
        if refused := _check_known(group, field, rules):
            return ec2._error(*refused, 400)
        for present in group[field]:
            for rule in rules:
                if ec2._rules_match(rule, present):
                    present.update({kind: rule[kind] for kind in SOURCES})
        return ec2._xml(200, f"{action}Response", "<return>true</return>")

    return describe


# --- Groups -------------------------------------------------------------------------------------


def _in_a_vpc(handler: Handler) -> Handler:
    def wrapped(p: Params) -> Response:
        vpc_id = ec2._p(p, "VpcId")
        if vpc_id and vpc_id not in ec2._vpcs:
            text = f"The vpc ID '{vpc_id}' does not exist"
            return ec2._error("InvalidVpcID.NotFound", text, 400)
        return handler(p)

    return wrapped


def _unless_used(handler: Handler) -> Handler:
    def wrapped(p: Params) -> Response:
        id_ = ec2._p(p, "GroupId")
        if any(_users(id_)):
            text = f"resource {id_} has a dependent object"
            return ec2._error("DependencyViolation", text, 400)
        return handler(p)

    return wrapped


def _users(id_: str) -> Iterator[bool]:
    for interface in ec2._network_interfaces.values():
        yield _has(interface.get("Groups", []), id_)
    for instance in ec2._instances.values():
        gone = instance["State"]["Name"] == "terminated"
        yield not gone and _has(instance.get("SecurityGroups", []), id_)
    for other in ec2._security_groups.values():
        rules = [rule for field in DIRECTIONS.values() for rule in other[field]]
        refers = any(_has(rule.get("UserIdGroupPairs", []), id_) for rule in rules)
        yield other["GroupId"] != id_ and refers


def _has(groups: list[dict[str, str]], id_: str) -> bool:
    return any(group.get("GroupId") == id_ for group in groups)


_interfaces_of: list[str] = []


def _by_group(handler: Handler) -> Handler:
    def wrapped(p: Params) -> Response:
        _interfaces_of[:] = ec2._parse_filters(p).get("group-id", [])
        try:
            return handler(p)
        finally:
            _interfaces_of.clear()

    return wrapped


def _filtered(xml_of: Callable[..., str]) -> Callable[..., str]:
    def wrapped(interface: Record, *tag: str, **options: str) -> str:
        groups = interface.get("Groups", [])
        if _interfaces_of and not any(_has(groups, id_) for id_ in _interfaces_of):
            return ""
        return xml_of(interface, *tag, **options)

    return wrapped
