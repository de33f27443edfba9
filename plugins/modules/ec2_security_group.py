#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_security_group
version_added: 1.0.0
short_description: Manage a security group and its rules
description:
  - Creates, changes and deletes a security group.
  - It takes the options of M(amazon.aws.ec2_security_group) and returns what that returns, so that
    one can stand for the other. It exists for the time of a first deployment. The published module
    sleeps three seconds for every group it creates, and ten between looks at changed rules; this
    one waits no longer than AWS takes. Its predictions and differences are those of the real run,
    and a deletion outlasts network interfaces that AWS is still removing.
  - New rules are added before old ones are removed, so that no request is refused in between.
author:
  - The multicompute.spin authors (@multicompute)
options:
  name:
    description:
      - Name of the group, unique in its VPC. Required if O(state=present).
    type: str
  group_id:
    description: ID of the group, for deleting one whose name is not known.
    type: str
  description:
    description:
      - What the group is for. AWS cannot change it later, a difference is a warning. Required if
        O(state=present).
    type: str
  vpc_id:
    description:
      - The VPC of the group. Without it a new group comes into the default VPC, and a name that
        several VPCs have is refused.
    type: str
  rules:
    description:
      - What may come in. Without it nothing may, unless O(purge_rules=false).
    type: list
    elements: dict
    suboptions: &rule
      cidr_ip:
        description: IPv4 networks of the other side. A network with host bits set stands for its
          whole network, an address for itself.
        type: list
        elements: raw
      cidr_ipv6:
        description: IPv6 networks of the other side.
        type: list
        elements: raw
      ip_prefix:
        description: IDs of prefix lists with the networks of the other side.
        type: list
        elements: str
      group_id:
        description:
          - Security groups of the other side, by ID. V(account/ID/name) is a group of another
            account in a peered VPC.
        type: list
        elements: str
      group_name:
        description: Security groups of the other side, by name. The own name is the group itself.
        type: list
        elements: str
      group_desc:
        description: A group of group_name that does not exist is created with this description.
        type: str
      proto:
        description:
          - V(tcp), V(udp), V(icmp), V(icmpv6) or the number of a protocol. V(all) and V(-1) are
            every protocol. Only the four that have names have ports or types.
        type: str
        default: tcp
      from_port:
        description: First port of a range, or the type of ICMP. Goes with to_port.
        type: int
      to_port:
        description: Last port of a range, or the code of ICMP.
        type: int
      ports:
        description: Ports, V(8080), and ranges of them, V(8080-8089).
        type: list
        elements: str
      icmp_type:
        description: Type of ICMP, V(-1) for all.
        type: int
      icmp_code:
        description: Code of ICMP, V(-1) for all, which it is if not set. Requires icmp_type.
        type: int
      rule_desc:
        description: What the rule is for. Not set, the rule has no description.
        type: str
  rules_egress:
    description:
      - What may go out. Not set, what there is stays, and a new group lets everything out. An empty
        list lets nothing out.
    type: list
    elements: dict
    aliases: [egress_rules]
    suboptions: *rule
  state:
    description:
      - V(present) creates the group or brings it into the described form.
      - V(absent) deletes it.
    type: str
    choices: [present, absent]
    default: present
  purge_rules:
    description: Whether rules that are not in O(rules) are removed.
    type: bool
    default: true
  purge_rules_egress:
    description: Whether rules that are not in O(rules_egress) are removed, if that is set.
    type: bool
    default: true
    aliases: [purge_egress_rules]
  wait_timeout:
    description:
      - Longest time, in seconds, to wait for a new group to be visible, and to try to delete a
        group that is in use. The network interfaces of functions and load balancers go some minutes
        after these, and hold the group until then.
    type: int
    default: 300
attributes:
  check_mode:
    description:
      - Predicts exactly what a run would do, and makes no change. Groups that rules refer to need
        not exist yet; group_id of a group that does not exist is null.
    support: full
  diff_mode:
    description: Shows every rule by itself, before and after.
    support: full
  idempotent:
    description:
      - A second run changes nothing. Order and grouping of rules, and how a port, protocol or
        network is written, play no role.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.tags
  - amazon.aws.boto3
seealso:
  - module: amazon.aws.ec2_security_group
  - module: amazon.aws.ec2_security_group_info
"""

EXAMPLES = r"""
- name: Everybody may call the load balancer
  multicompute.spin.ec2_security_group:
    name: demo-load-balancer
    description: Clients to the load balancer
    vpc_id: "{{ vpc_id }}"
    rules:
      - ports: [80, 443]
        cidr_ip: 0.0.0.0/0
        cidr_ipv6: "::/0"
        rule_desc: clients
    tags:
      project: demo
  register: load_balancer

- name: The load balancer and the group's own members may call the servers
  multicompute.spin.ec2_security_group:
    name: demo-servers
    description: Load balancer to the servers
    vpc_id: "{{ vpc_id }}"
    rules:
      - ports: 8000-8001
        group_id: "{{ load_balancer.group_id }}"
      - proto: all
        group_name: demo-servers
      - proto: icmp
        icmp_type: 8
        cidr_ip: 10.0.0.0/8
    rules_egress:
      - proto: all
        cidr_ip: 0.0.0.0/0

- name: The group is gone, as soon as no network interface holds it any more
  multicompute.spin.ec2_security_group:
    name: demo-servers
    vpc_id: "{{ vpc_id }}"
    state: absent
    wait_timeout: 900
"""

RETURN = r"""
group_id:
  description: ID of the group. Null if it is gone, or does not exist yet in check mode.
  returned: always
  type: str
  sample: sg-0123456789abcdef0
group_name:
  description: Its name.
  returned: O(state=present)
  type: str
  sample: demo-servers
description:
  description: Its description.
  returned: O(state=present)
  type: str
  sample: Load balancer to the servers
vpc_id:
  description: Its VPC.
  returned: O(state=present)
  type: str
  sample: vpc-0123456789abcdef0
owner_id:
  description: The account that owns it.
  returned: O(state=present)
  type: str
  sample: "123456789012"
security_group_arn:
  description: Its ARN.
  returned: O(state=present)
  type: str
  sample: arn:aws:ec2:eu-central-1:123456789012:security-group/sg-0123456789abcdef0
tags:
  description: Its tags.
  returned: O(state=present)
  type: dict
  sample: {project: demo}
ip_permissions:
  description: What may come in.
  returned: O(state=present)
  type: list
  elements: dict
  contains: &permission
    ip_protocol:
      description: V(tcp), V(udp), V(icmp), V(icmpv6), a number, or V(-1) for every protocol.
      type: str
      sample: tcp
    from_port:
      description: First port, or type of ICMP. Missing where the protocol has none.
      type: int
      sample: 8000
    to_port:
      description: Last port, or code of ICMP. Missing where the protocol has none.
      type: int
      sample: 8001
    ip_ranges:
      description: IPv4 networks of the other side.
      type: list
      elements: dict
      sample: [{cidr_ip: 10.0.0.0/8, description: clients}]
    ipv6_ranges:
      description: IPv6 networks of the other side.
      type: list
      elements: dict
      sample: [{cidr_ipv6: "::/0"}]
    prefix_list_ids:
      description: Prefix lists of the other side.
      type: list
      elements: dict
      sample: [{prefix_list_id: pl-0123456789abcdef0}]
    user_id_group_pairs:
      description: Security groups of the other side.
      type: list
      elements: dict
      sample: [{group_id: sg-0123456789abcdef0, user_id: "123456789012"}]
ip_permissions_egress:
  description: What may go out.
  returned: O(state=present)
  type: list
  elements: dict
  contains: *permission
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.common.dict_transformations import camel_dict_to_snake_dict
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api, finish
from ansible_collections.multicompute.spin.plugins.module_utils._ec2 import (
    filters,
    set_tags,
    tagged,
)
from ansible_collections.multicompute.spin.plugins.module_utils._security_group_rules import (
    EVERYTHING,
    Options,
    Rule,
    Rules,
    described,
    described_rules,
    difference,
    merged,
    names_in,
    permissions,
    request,
    shown,
    wanted_rules,
    without_description,
)
from ansible_collections.multicompute.spin.plugins.module_utils._tags import (
    TAG_OPTIONS,
    wanted_tags,
)

# What the API calls a direction, and the field of a group that holds its rules.
DIRECTIONS = {
    "rules": ("ingress", "IpPermissions"),
    "rules_egress": ("egress", "IpPermissionsEgress"),
}


# What AWS is asked.


class SecurityGroup:
    def __init__(self, api: Api) -> None:
        self.api = api
        self.params = api.module.params
        self.name: str = self.params["name"] or self.params["group_id"]
        self.group: dict[str, Any] = {}
        # Groups of the names in rules, and their IDs
        self.named: list[dict[str, Any]] = []
        self.groups: dict[str, str] = {}

    def ask(self, operation: str, doing: str, **params: Any) -> dict[str, Any]:
        return self.api.call(operation, f"{doing} the security group {self.name}", **params)

    def read(self, **by: Any) -> list[dict[str, Any]]:
        return self.api.pages(
            "describe_security_groups",
            "SecurityGroups",
            f"read the security group {self.name}",
            missing=["InvalidGroup.NotFound"],
            **by,
        )

    def by(self, *names: str | None) -> list[dict[str, Any]]:
        return filters(group_name=[name for name in names if name], vpc_id=self.params["vpc_id"])

    def find(self) -> bool:
        """The group itself; by the way, those that its rules name."""
        names = names_in(self.params)
        if id_ := self.params["group_id"]:
            found = self.read(GroupIds=[id_], Filters=self.by(self.params["name"]))
            self.named = self.read(Filters=self.by(*names)) if names else []
        else:
            self.named = self.read(Filters=self.by(*dict.fromkeys((self.name, *names))))
            found = [group for group in self.named if group["GroupName"] == self.name]
        if len(found) > 1:
            vpcs = ", ".join(sorted(group["VpcId"] for group in found))
            self.api.module.fail_json(
                msg=f"The VPCs {vpcs} each have a security group {self.name}: give vpc_id."
            )
        self.group = found[0] if found else {}
        return bool(self.group)

    def predict(self) -> None:
        """What creation would give; AWS fills in the rest."""
        self.group = {
            "GroupId": None,
            "GroupName": self.name,
            "Description": self.params["description"],
            "VpcId": self.params["vpc_id"],
            "OwnerId": None,
            "SecurityGroupArn": None,
            "IpPermissions": [],
            "IpPermissionsEgress": [EVERYTHING],
        }

    def create(self, name: str, description: str, tags: dict[str, str]) -> dict[str, Any]:
        vpc = {"VpcId": self.params["vpc_id"]} if self.params["vpc_id"] else {}
        created = self.api.call(
            "create_security_group",
            f"create the security group {name}",
            # An earlier attempt, or another run, got through: what differs is changed afterwards.
            missing=["InvalidGroup.Duplicate"],
            GroupName=name,
            Description=description,
            **vpc,
            **tagged("security-group", tags),
        )
        by = {"GroupIds": [created["GroupId"]]} if created else {"Filters": self.by(name)}
        doing = f"see the new security group {name}"
        self.api.wait("security_group_complete", doing, self.params["wait_timeout"], **by)
        return self.read(**by)[0]

    def complete_names(self, tags: dict[str, str]) -> None:
        """Every other group that a rule names has an ID; check mode takes the name for one."""
        self.groups = {
            group["GroupName"]: group["GroupId"]
            for group in self.named
            if self.group["VpcId"] in (None, group["VpcId"])
        }
        for name, description in names_in(self.params).items():
            if name in (self.name, *self.groups):
                continue
            if self.api.module.check_mode:
                self.groups[name] = name
            elif description:
                self.groups[name] = self.create(name, description, tags)["GroupId"]
            else:
                self.api.module.fail_json(
                    msg=f"A rule of {self.name} names the security group {name}, which does not "
                    "exist: create it first, or give group_desc to have it created."
                )

    def rules(self, option: str) -> Rules:
        return described_rules(self.group[DIRECTIONS[option][1]])

    def tags(self) -> dict[str, str]:
        return boto3_tag_list_to_ansible_dict(self.group.get("Tags", []))

    def set_rules(self, option: str, wanted: Rules) -> None:
        self.exchange("authorize", option, wanted)
        changed = {
            rule: without_description(entry) | described(wanted[rule])
            for rule, entry in self.rules(option).items()
            if rule in wanted and described(entry) != described(wanted[rule])
        }
        if changed:
            direction, _field = DIRECTIONS[option]
            self.ask(
                f"update_security_group_rule_descriptions_{direction}",
                f"describe {direction} rules of",
                GroupId=self.group["GroupId"],
                IpPermissions=request(changed),
            )
        self.exchange("revoke", option, wanted)

    def exchange(self, verb: str, option: str, wanted: Rules) -> None:
        """AWS takes all of the rules or none, so what an earlier attempt, or another run, has done
        meanwhile is left out of a second one."""
        direction, field = DIRECTIONS[option]
        for collisions in (("InvalidPermission.Duplicate", "InvalidPermission.NotFound"), ()):
            part = difference(self.rules(option), wanted, verb)
            if not part:
                return
            answer = self.ask(
                f"{verb}_security_group_{direction}",
                f"{verb} {direction} rules of",
                missing=collisions,
                GroupId=self.group["GroupId"],
                IpPermissions=request(part),
            )
            if answer:
                return
            self.group[field] = self.read(GroupIds=[self.group["GroupId"]])[0][field]

    def delete(self) -> None:
        answer = self.ask(
            "delete_security_group",
            "delete",
            missing=["InvalidGroup.NotFound", "DependencyViolation"],
            retry_on=["DependencyViolation"],
            retry_for=self.params["wait_timeout"],
            GroupId=self.group["GroupId"],
        )
        if not answer and self.find():
            self.api.module.fail_json(
                msg=f"Could not delete the security group {self.name} within "
                f"{self.params['wait_timeout']} s: it is used by {self.users()}. Remove them, or "
                "give a longer wait_timeout if AWS is doing that."
            )

    def users(self) -> str:
        """What holds the group, in words."""
        id_ = self.group["GroupId"]
        interfaces = self.api.pages(
            "describe_network_interfaces",
            "NetworkInterfaces",
            f"look for the network interfaces of {id_}",
            Filters=filters(group_id=id_),
        )
        groups = self.read(Filters=filters(vpc_id=self.group["VpcId"]))
        return ", ".join(
            [f"{eni['NetworkInterfaceId']} ({eni.get('Description')})" for eni in interfaces]
            + [f"rules of {group['GroupName']}" for group in groups if refers(group, id_)]
        )


def refers(group: dict[str, Any], group_id: str) -> bool:
    return group["GroupId"] != group_id and any(
        rule.source == group_id
        for _direction, field in DIRECTIONS.values()
        for rule in described_rules(group[field])
    )


# The two states.


def mistake(params: Options) -> str | None:
    """What is wrong with the rules, if anything, before anything is made."""
    names = {name: name for name in names_in(params)}
    try:
        for option in DIRECTIONS:
            wanted_rules(params[option] or [], names)
    except ValueError as error:
        return str(error)
    return None


def present(group: SecurityGroup, params: Options) -> None:
    module = group.api.module
    if problem := mistake(params):
        module.fail_json(msg=f"{problem}.")
    exists = group.find()
    tags = wanted_tags(group.tags(), params["tags"], params["purge_tags"])
    if not exists:
        group.predict()
    group.complete_names(tags)
    if not exists and not module.check_mode:
        group.group = group.create(group.name, params["description"], tags)
    group.groups[group.name] = group.group["GroupId"] or group.name
    if group.group["Description"] != params["description"]:
        module.warn(
            f"The security group {group.name} is described as {group.group['Description']!r}, "
            "which AWS cannot change: delete it first with state=absent, or keep that description."
        )
    purged = {
        "rules": params["purge_rules"],
        "rules_egress": params["purge_rules_egress"] and params["rules_egress"] is not None,
    }
    current = {option: group.rules(option) for option in DIRECTIONS}
    rules = {
        option: merged(
            current[option], wanted_rules(params[option] or [], group.groups), purged[option]
        )
        for option in DIRECTIONS
    }
    names = {group.groups[name]: name for name in names_in(params)}
    before = shown_state(group, current, group.tags(), names) if exists else {}
    after = shown_state(group, rules, tags, names)
    if not module.check_mode:
        set_tags(group.api, group.group["GroupId"], group.tags(), tags)
        for option in DIRECTIONS:
            group.set_rules(option, rules[option])
    finish(module, before, after, **result(group.group, rules, tags))


def shown_state(
    group: SecurityGroup,
    rules: Mapping[str, Rules],
    tags: dict[str, str],
    names: Mapping[str, str],
) -> Options:
    """The part of a state that the options are about."""
    purged_or_given = [
        option for option in DIRECTIONS if option == "rules" or group.params[option] is not None
    ]
    return {
        "name": group.name,
        "description": group.group["Description"],
        **{option: shown(rules[option], names) for option in purged_or_given},
        **({"tags": tags} if group.params["tags"] is not None else {}),
    }


def result(group: dict[str, Any], rules: Mapping[str, Rules], tags: dict[str, str]) -> Options:
    owned = {
        field: permissions(
            {rule: owner(group, rule) | entry for rule, entry in rules[option].items()}
        )
        for option, (_direction, field) in DIRECTIONS.items()
    }
    return camel_dict_to_snake_dict(group | owned, ignore_list=["Tags"]) | {"tags": tags}


def owner(group: dict[str, Any], rule: Rule) -> dict[str, str]:
    return {"UserId": group["OwnerId"]} if rule.kind == "group_id" else {}


def absent(group: SecurityGroup, _params: Options) -> None:
    module = group.api.module
    if not group.find():
        finish(module, {}, {}, group_id=None)
    before = {"name": group.group["GroupName"]}
    if not module.check_mode:
        group.delete()
    finish(module, before, {}, group_id=None)


def main() -> None:
    lists = {kind: {"type": "list", "elements": "raw"} for kind in ("cidr_ip", "cidr_ipv6")}
    lists |= {
        kind: {"type": "list", "elements": "str"}
        for kind in ("ip_prefix", "group_id", "group_name", "ports")
    }
    numbers = ("from_port", "to_port", "icmp_type", "icmp_code")
    rules: dict[str, Any] = {
        "type": "list",
        "elements": "dict",
        "options": {
            **lists,
            **{number: {"type": "int"} for number in numbers},
            "group_desc": {"type": "str"},
            "proto": {"type": "str", "default": "tcp"},
            "rule_desc": {"type": "str"},
        },
        "mutually_exclusive": [
            *(("ports", number) for number in numbers),
            *((icmp, port) for icmp in numbers[2:] for port in numbers[:2]),
        ],
        "required_one_of": [("cidr_ip", "cidr_ipv6", "ip_prefix", "group_id", "group_name")],
        "required_by": {"icmp_code": "icmp_type"},
    }
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str"},
            "group_id": {"type": "str"},
            "description": {"type": "str"},
            "vpc_id": {"type": "str"},
            "rules": rules,
            "rules_egress": {**rules, "aliases": ["egress_rules"]},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "purge_rules": {"type": "bool", "default": True},
            "purge_rules_egress": {
                "type": "bool",
                "default": True,
                "aliases": ["purge_egress_rules"],
            },
            "wait_timeout": {"type": "int", "default": 300},
            **TAG_OPTIONS,
        },
        required_one_of=[("name", "group_id")],
        required_if=[("state", "present", ("name", "description"))],
        supports_check_mode=True,
    )
    group = SecurityGroup(Api(module, "ec2"))
    (present if module.params["state"] == "present" else absent)(group, module.params)


if __name__ == "__main__":
    main()
