# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules of security groups in one form, whether AWS answers them or options describe them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Any, NamedTuple

# Option: the list in a permission, and the field of its entries, that it stands in.
SOURCES = {
    "cidr_ip": ("IpRanges", "CidrIp"),
    "cidr_ipv6": ("Ipv6Ranges", "CidrIpv6"),
    "ip_prefix": ("PrefixListIds", "PrefixListId"),
    "group_id": ("UserIdGroupPairs", "GroupId"),
}
# AWS gives these numbers back as names.
PROTOCOLS = {"all": "-1", "1": "icmp", "6": "tcp", "17": "udp", "58": "icmpv6"}
WITH_PORTS = ("tcp", "udp")
WITH_TYPES = ("icmp", "icmpv6")
EVERYTHING = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
Options = dict[str, Any]


class Rule(NamedTuple):
    """One source of one permission: what AWS adds and removes by itself."""

    protocol: str
    from_port: int | None
    to_port: int | None
    kind: str
    source: str


# Each rule with its entry in the API, which holds its description as well.
Rules = dict[Rule, dict[str, str]]


def described_rules(permissions: list[dict[str, Any]]) -> Rules:
    rules = {}
    for permission in permissions:
        protocol = permission["IpProtocol"]
        ports = (permission.get("FromPort"), permission.get("ToPort"))
        if protocol not in (*WITH_PORTS, *WITH_TYPES):
            ports = (None, None)
        for kind, (entries, field) in SOURCES.items():
            for entry in permission.get(entries, []):
                rules[Rule(protocol, *ports, kind, entry[field])] = entry
    return rules


def wanted_rules(options: list[Options], groups: Mapping[str, str]) -> Rules:
    """The given rules in the form of `described_rules`; `groups` are the IDs of names.

    Raises ValueError for what AWS would refuse.
    """
    rules = {}
    for option in options:
        protocol = protocol_of(option["proto"])
        description = described({"Description": option["rule_desc"]})
        sources = [*entries(option, groups)]
        if not sources:
            raise ValueError(f"the rule {given(option)} has no source: give cidr_ip or group_id")
        for ports in port_ranges(protocol, option):
            for kind, entry in sources:
                rules[Rule(protocol, *ports, kind, entry[SOURCES[kind][1]])] = entry | description
    return rules


def protocol_of(name: str) -> str:
    protocol = PROTOCOLS.get(name.lower(), name.lower())
    if protocol not in ("-1", *WITH_PORTS, *WITH_TYPES) and not protocol.isdecimal():
        raise ValueError(f"{name} is no protocol: proto is tcp, udp, icmp, icmpv6, all or a number")
    return protocol


def given(option: Options) -> str:
    return str({name: value for name, value in option.items() if value is not None})


def entries(option: Options, groups: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each source of a rule as the API has it."""
    for kind, version in (("cidr_ip", 4), ("cidr_ipv6", 6)):
        for network in flat(option[kind]):
            yield kind, {SOURCES[kind][1]: canonical(network, version)}
    for prefix_list in option["ip_prefix"] or []:
        yield "ip_prefix", {"PrefixListId": prefix_list}
    for group in option["group_id"] or []:
        yield "group_id", group_entry(group)
    for name in option["group_name"] or []:
        yield "group_id", {"GroupId": groups[name]}


def flat(values: Any) -> Iterator[str]:
    for value in values or []:
        if isinstance(value, list):
            yield from flat(value)
        else:
            yield str(value)


def canonical(network: str, version: int) -> str:
    """A network as AWS writes it."""
    try:
        found = ip_network(network.strip(), strict=False)
    except ValueError:
        found = None
    if not found or found.version != version:
        raise ValueError(f"{network} is no IPv{version} network: write it as address/bits")
    return str(found)


def group_entry(group: str) -> dict[str, str]:
    owner, foreign, rest = group.partition("/")
    return {"UserId": owner, "GroupId": rest.partition("/")[0]} if foreign else {"GroupId": group}


def port_ranges(protocol: str, option: Options) -> Sequence[tuple[int | None, int | None]]:
    first, last = option["from_port"], option["to_port"]
    if protocol in WITH_TYPES:
        kind = first if option["icmp_type"] is None else option["icmp_type"]
        code = last if option["icmp_code"] is None else option["icmp_code"]
        if option["ports"]:
            return [port_range(ports) for ports in option["ports"]]
        return [(-1 if kind is None else kind, -1 if code is None else code)]
    if option["icmp_type"] is not None:
        raise ValueError(f"icmp_type goes with proto icmp or icmpv6, not with {protocol}")
    if protocol not in WITH_PORTS:
        return [(None, None)]
    ranges = [port_range(ports) for ports in option["ports"] or []]
    if first is not None and last is not None:
        ranges = [(first, last)]
    if not ranges:
        raise ValueError(
            f"the {protocol} rule {given(option)} needs ports, or from_port and to_port"
        )
    for low, high in ranges:
        if not 0 <= low <= high <= 65535:
            raise ValueError(f"{low}-{high} is no range of ports from 0 to 65535")
    return ranges


def port_range(ports: str) -> tuple[int, int]:
    found = re.fullmatch(r"\s*(-1|\d+)\s*(?:-\s*(\d+)\s*)?", ports)
    if not found:
        raise ValueError(f"{ports} is neither a port nor a range like 8080-8089")
    low, high = sorted((int(found[1]), int(found[2] or found[1])))
    return low, high


def names_in(params: Options) -> dict[str, str | None]:
    """The groups that rules refer to by name, each with the description to create it with."""
    return {
        name: option["group_desc"]
        for direction in ("rules", "rules_egress")
        for option in params[direction] or []
        for name in option["group_name"] or []
    }


def merged(current: Rules, wanted: Rules, purge: bool) -> Rules:
    """The rules after a run. One that stays keeps its entry but for the description."""
    kept = {} if purge else {rule: entry for rule, entry in current.items() if rule not in wanted}
    return kept | {
        rule: without_description(current.get(rule, entry)) | described(entry)
        for rule, entry in wanted.items()
    }


def difference(current: Rules, wanted: Rules, verb: str) -> Rules:
    """The rules to `authorize` or to `revoke`."""
    if verb == "authorize":
        return {rule: entry for rule, entry in wanted.items() if rule not in current}
    return {
        rule: without_description(entry) for rule, entry in current.items() if rule not in wanted
    }


def without_description(entry: dict[str, str]) -> dict[str, str]:
    return {field: value for field, value in entry.items() if field != "Description"}


def described(entry: Mapping[str, str | None]) -> dict[str, str]:
    return {"Description": text} if (text := entry.get("Description")) else {}


def shown(rules: Rules, names: Mapping[str, str]) -> list[Options]:
    """Rules for the diff, in the terms of the options; `names` are the groups given by name."""
    named = {
        rule._replace(kind="group_name", source=names[rule.source])
        if rule.source in names
        else rule: entry
        for rule, entry in rules.items()
    }
    return [line(rule, named[rule]) for rule in sorted(named, key=sort_key)]


def line(rule: Rule, entry: dict[str, str]) -> Options:
    ports = {"from_port": rule.from_port, "to_port": rule.to_port}
    return {
        "proto": "all" if rule.protocol == "-1" else rule.protocol,
        **(ports if rule.from_port is not None else {}),
        rule.kind: rule.source,
        **({"rule_desc": entry["Description"]} if described(entry) else {}),
    }


def sort_key(rule: Rule) -> tuple[Any, ...]:
    return tuple((value is not None, value) for value in rule)


def request(rules: Rules) -> list[dict[str, Any]]:
    """Rules as the calls that change them take them."""
    taken = ("CidrIp", "CidrIpv6", "PrefixListId", "UserId", "GroupId", "Description")
    return permissions(
        {rule: {k: v for k, v in entry.items() if k in taken} for rule, entry in rules.items()}
    )


def permissions(rules: Rules) -> list[dict[str, Any]]:
    """Rules as AWS groups them: by protocol and ports."""
    grouped: dict[tuple[Any, ...], dict[str, Any]] = {}
    for rule in sorted(rules, key=sort_key):
        ports = {"FromPort": rule.from_port, "ToPort": rule.to_port}
        empty = {
            "IpProtocol": rule.protocol,
            **{field: port for field, port in ports.items() if port is not None},
            **{sources: [] for sources, _field in SOURCES.values()},
        }
        grouped.setdefault(rule[:3], empty)[SOURCES[rule.kind][0]].append(rules[rule])
    return list(grouped.values())
