# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random
from ipaddress import ip_network
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.module_utils import (
    _security_group_rules as rules_of,
)
from hypothesis import given
from hypothesis import strategies as st

Options = dict[str, Any]
GROUPS = {"servers": "sg-0123456789abcdef0", "clients": "sg-0123456789abcdef1"}
DEFAULTS: Options = dict.fromkeys(
    (*rules_of.SOURCES, "group_name", "ports", "from_port", "to_port", "icmp_type", "icmp_code")
) | {"proto": "tcp", "rule_desc": None, "group_desc": None}


def rule(**options: Any) -> Options:
    return DEFAULTS | options


def wanted(*options: Options) -> rules_of.Rules:
    return rules_of.wanted_rules([*options], GROUPS)


def keys(*options: Options) -> set[rules_of.Rule]:
    return {*wanted(*options)}


def in_any_order(values: list[Any], chance: random.Random) -> list[Any]:
    return chance.sample(values, len(values))


# What the options can say, in every spelling.

v4 = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)).map(
    lambda pair: str(ip_network(pair, strict=False))
)
v6 = st.tuples(st.integers(2**32, 2**128 - 1), st.integers(16, 128)).map(
    lambda pair: str(ip_network(pair, strict=False))
)
ports = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(sorted)
sources = st.fixed_dictionaries(
    {},
    optional={
        "cidr_ip": st.lists(v4, min_size=1, max_size=3),
        "cidr_ipv6": st.lists(v6, min_size=1, max_size=3),
        "ip_prefix": st.lists(st.sampled_from(["pl-1", "pl-2"]), min_size=1),
        "group_id": st.lists(st.sampled_from(["sg-1", "sg-2"]), min_size=1),
        "group_name": st.lists(st.sampled_from([*GROUPS]), min_size=1),
    },
).filter(bool)
descriptions = st.none() | st.sampled_from(["clients", "health checks"])


@st.composite
def options(draw: st.DrawFn) -> Options:
    proto = draw(st.sampled_from(["tcp", "udp", "icmp", "icmpv6", "all", "50"]))
    given_ports = {}
    if proto in ("tcp", "udp"):
        low, high = draw(ports)
        given_ports = {"ports": [f"{low}-{high}"]}
    elif proto.startswith("icmp"):
        given_ports = {"icmp_type": draw(st.integers(-1, 40)), "icmp_code": -1}
    return rule(proto=proto, rule_desc=draw(descriptions), **given_ports, **draw(sources))


@given(st.lists(options(), max_size=5), st.randoms(use_true_random=False))
def test_what_aws_answers_is_what_was_asked_for(many: list[Options], chance: random.Random) -> None:
    """However AWS orders and splits permissions, they are the same rules."""
    asked = wanted(*many)
    permissions = rules_of.request(asked)
    answered = []
    for permission in permissions:
        for kind, _field in rules_of.SOURCES.values():
            for entry in permission[kind]:
                one = {sources: [] for sources, _field in rules_of.SOURCES.values()}
                answered.append(permission | one | {kind: [entry]})
    for answer in (permissions, answered):
        found = rules_of.described_rules(in_any_order(answer, chance))
        assert found.keys() == asked.keys()
        assert rules_of.merged(found, asked, True) == found
        for verb in ("authorize", "revoke"):
            assert rules_of.difference(found, asked, verb) == {}


@given(st.lists(options(), max_size=5), st.randoms(use_true_random=False))
def test_the_diff_does_not_depend_on_order(many: list[Options], chance: random.Random) -> None:
    asked = wanted(*many)
    shuffled = dict(in_any_order([*asked.items()], chance))
    assert rules_of.shown(asked, {}) == rules_of.shown(shuffled, {})


@given(st.lists(options(), max_size=4), st.lists(options(), max_size=4), st.booleans())
def test_a_run_leaves_nothing_for_a_second_one(
    before: list[Options], after: list[Options], purge: bool
) -> None:
    current, asked = wanted(*before), wanted(*after)
    first = rules_of.merged(current, asked, purge)
    assert rules_of.merged(first, asked, purge) == first
    assert asked.keys() <= first.keys()
    assert first.keys() == (asked.keys() if purge else asked.keys() | current.keys())
    # The calls in between lead there.
    added = rules_of.difference(current, first, "authorize")
    removed = rules_of.difference(current, first, "revoke")
    assert {**current, **added}.keys() - removed.keys() == first.keys()


@given(ports)
def test_ports_in_every_spelling(pair: list[int]) -> None:
    low, high = pair
    same = [
        rule(cidr_ip=["10.0.0.0/8"], from_port=low, to_port=high),
        rule(cidr_ip=["10.0.0.0/8"], ports=[f"{low}-{high}"]),
        rule(cidr_ip=["10.0.0.0/8"], ports=[f" {high} - {low} "]),
        rule(cidr_ip=["10.0.0.0/8"], ports=[f"{low}-{high}"], proto="6"),
    ]
    assert keys(*same) == {rules_of.Rule("tcp", low, high, "cidr_ip", "10.0.0.0/8")}
    assert keys(*(rule(cidr_ip=["10.0.0.0/8"], ports=[str(p)]) for p in pair)) == {
        rules_of.Rule("tcp", port, port, "cidr_ip", "10.0.0.0/8") for port in pair
    }


@pytest.mark.parametrize("proto", ["-1", "all", "ALL"])
def test_every_protocol_has_no_ports(proto: str) -> None:
    found = keys(rule(proto=proto, from_port=10050, to_port=10050, cidr_ip=["0.0.0.0/0"]))
    assert found == {rules_of.Rule("-1", None, None, "cidr_ip", "0.0.0.0/0")}
    answer = {"IpProtocol": "-1", "FromPort": -1, "ToPort": -1, **permission()}
    assert {*rules_of.described_rules([answer])} == found


def permission() -> dict[str, Any]:
    return {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"proto": "icmp", "icmp_type": 8, "icmp_code": 0}, ("icmp", 8, 0)),
        ({"proto": "icmp", "icmp_type": 8}, ("icmp", 8, -1)),
        ({"proto": "icmp", "from_port": 8, "to_port": -1}, ("icmp", 8, -1)),
        ({"proto": "icmp", "from_port": 3, "to_port": 4}, ("icmp", 3, 4)),
        ({"proto": "1"}, ("icmp", -1, -1)),
        ({"proto": "icmpv6"}, ("icmpv6", -1, -1)),
        ({"proto": "58", "icmp_type": 128}, ("icmpv6", 128, -1)),
        ({"proto": "50", "ports": ["80"]}, ("50", None, None)),
        ({"proto": "UDP", "ports": ["53"]}, ("udp", 53, 53)),
    ],
)
def test_protocols(given_: Options, expected: tuple[Any, ...]) -> None:
    (found,) = keys(rule(cidr_ip=["10.0.0.0/8"], **given_))
    assert found[:3] == expected


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("cidr_ip", "10.1.2.3/8", "10.0.0.0/8"),
        ("cidr_ip", " 10.0.0.1 ", "10.0.0.1/32"),
        ("cidr_ip", [["10.0.0.0/8"]], "10.0.0.0/8"),
        ("cidr_ipv6", "2607:F8B0::/32", "2607:f8b0::/32"),
        ("cidr_ipv6", "2607:f8b0:0:0:0:0:0:1", "2607:f8b0::1/128"),
    ],
)
def test_networks_in_every_spelling(kind: str, text: Any, expected: str) -> None:
    (found,) = keys(rule(ports=["80"], **{kind: [text]}))
    assert found.source == expected


def test_one_rule_for_each_port_and_source() -> None:
    found = keys(
        rule(ports=["80", "443"], cidr_ip=["10.0.0.0/8"], cidr_ipv6=["::/0"], ip_prefix=["pl-1"])
    )
    assert {(r.from_port, r.kind, r.source) for r in found} == {
        (port, kind, source)
        for port in (80, 443)
        for kind, source in (
            ("cidr_ip", "10.0.0.0/8"),
            ("cidr_ipv6", "::/0"),
            ("ip_prefix", "pl-1"),
        )
    }


def test_a_group_is_its_id_however_it_is_given() -> None:
    by_name = wanted(rule(ports=["80"], group_name=["servers"]))
    assert by_name.keys() == keys(rule(ports=["80"], group_id=[GROUPS["servers"]]))
    # AWS tells the owner as well, which makes no difference.
    pair = {"GroupId": GROUPS["servers"], "UserId": "123456789012"}
    answer = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [pair]}
    assert rules_of.described_rules([answer]).keys() == by_name.keys()
    assert rules_of.shown(by_name, {GROUPS["servers"]: "servers"})[0]["group_name"] == "servers"
    assert rules_of.shown(by_name, {})[0]["group_id"] == GROUPS["servers"]


def test_a_group_of_another_account() -> None:
    for text in ("210987654321/sg-1/peer", "210987654321/sg-1"):
        found = wanted(rule(ports=["80"], group_id=[text]))
        assert rules_of.request(found)[0]["UserIdGroupPairs"] == [
            {"UserId": "210987654321", "GroupId": "sg-1"}
        ]
        assert [r.source for r in found] == ["sg-1"]


def test_what_aws_tells_of_a_peering_is_not_sent_back() -> None:
    pair = {
        "GroupId": "sg-1",
        "UserId": "210987654321",
        "VpcId": "vpc-1",
        "VpcPeeringConnectionId": "pcx-1",
        "PeeringStatus": "active",
    }
    answer = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "UserIdGroupPairs": [pair]}
    sent = rules_of.request(rules_of.described_rules([answer]))
    assert sent[0]["UserIdGroupPairs"] == [{"GroupId": "sg-1", "UserId": "210987654321"}]


def test_a_description_is_no_part_of_a_rule() -> None:
    current = wanted(rule(ports=["80"], cidr_ip=["10.0.0.0/8"], rule_desc="old"))
    for text in ("new", None, ""):
        after = wanted(rule(ports=["80"], cidr_ip=["10.0.0.0/8"], rule_desc=text))
        assert after.keys() == current.keys()
        (entry,) = rules_of.merged(current, after, True).values()
        assert entry == {"CidrIp": "10.0.0.0/8"} | ({"Description": text} if text else {})
    # A rule that nobody mentions keeps its own.
    assert rules_of.merged(current, {}, False) == current


@pytest.mark.parametrize(
    ("given_", "text"),
    [
        ({"ports": ["80"]}, "has no source"),
        ({"ports": ["80"], "cidr_ip": []}, "has no source"),
        ({"cidr_ip": ["10.0.0.0/8"]}, "needs ports, or from_port and to_port"),
        ({"cidr_ip": ["10.0.0.0/8"], "from_port": 80}, "needs ports, or from_port and to_port"),
        ({"cidr_ip": ["10.0.0.0/8"], "from_port": 90, "to_port": 80}, "90-80 is no range"),
        ({"cidr_ip": ["10.0.0.0/8"], "ports": ["65536"]}, "65536-65536 is no range"),
        ({"cidr_ip": ["10.0.0.0/8"], "ports": ["-1"]}, "is no range of ports"),
        ({"cidr_ip": ["10.0.0.0/8"], "ports": ["http"]}, "http is neither a port nor a range"),
        ({"cidr_ip": ["10.0.0.0/8"], "icmp_type": 8}, "not with tcp"),
        ({"cidr_ip": ["10.0.0.0/33"], "ports": ["80"]}, "10.0.0.0/33 is no IPv4 network"),
        ({"cidr_ip": ["::/0"], "ports": ["80"]}, "::/0 is no IPv4 network"),
        ({"cidr_ipv6": ["0.0.0.0/0"], "ports": ["80"]}, "0.0.0.0/0 is no IPv6 network"),
        ({"cidr_ip": ["10.0.0.0/8"], "proto": "tls"}, "tls is no protocol"),
    ],
)
def test_what_aws_would_refuse(given_: Options, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        wanted(rule(**given_))
