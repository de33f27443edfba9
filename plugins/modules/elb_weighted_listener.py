#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: elb_weighted_listener
short_description: Manage a listener that shares requests among target groups by weight
version_added: 1.0.0
author:
  - The multicompute.spin authors (@multicompute)
description:
  - Manages one listener of an Application Load Balancer whose default action forwards to target
    groups by weight.
  - Unlike M(amazon.aws.elb_application_lb) it leaves the other listeners alone, and is unchanged
    when the weights are those wanted, however AWS writes them.
  - A listener without target groups answers every request with 503.
attributes:
  check_mode:
    support: full
    description:
      - Predicts what a run does. A load balancer or target group that does not exist yet is taken
        for one that the same play would have created.
  diff_mode:
    support: full
    description: Shows the listener before and after in the form of RV(listener).
  idempotent:
    support: full
    description: Order, defaults that AWS fills in and numbers as strings make no difference.
options:
  load_balancer_arn:
    description: The load balancer, by ARN.
    type: str
  load_balancer_name:
    description: The load balancer, by name.
    type: str
  port:
    description: Port that the listener listens on. A load balancer has one listener per port.
    type: int
    required: true
  protocol:
    description: Protocol of the listener. A new listener listens for V(HTTP) if this is not set.
    type: str
    choices: [HTTP, HTTPS]
  ssl_policy:
    description:
      - Security policy of an HTTPS listener.
      - A new one has V(ELBSecurityPolicy-TLS13-1-2-2021-06) if this is not set.
    type: str
  certificates:
    description:
      - ARNs of the certificates of an HTTPS listener. The first is the default one, the others are
        chosen by the name that a client asks for.
    type: list
    elements: str
  target_groups:
    description:
      - The target groups. AWS allows five in one action.
      - An empty list with O(purge_target_groups=false) only makes sure that there is a listener.
    type: list
    elements: dict
    default: []
    suboptions:
      target_group_arn:
        description: The target group, by ARN.
        type: str
      target_group_name:
        description: The target group, by name.
        type: str
      weight:
        description:
          - Share of the requests, from 0 to 999, in relation to the other weights.
          - If not set, a target group keeps its weight, and a new one gets 0, so that its targets
            can be registered and become healthy first. An ECS service, for example, needs a target
            group that is attached to a listener.
          - If no target group would get a request, those without a weight in the task get 1
            each. It fails if the task sets 0 for all of them.
        type: int
      state:
        description: Whether the target group is attached to the listener.
        type: str
        choices: [present, absent]
        default: present
  purge_target_groups:
    description:
      - Whether target groups that O(target_groups) does not name are taken off the listener.
      - With V(false) the module reads the listener, changes what O(target_groups) names and writes
        it back. Tasks that do so for several hosts need C(throttle=1).
    type: bool
    default: true
  redirect:
    description:
      - Sends every client elsewhere instead, for example from HTTP to HTTPS. Contradicts
        O(target_groups). What is not set is as in the request.
      - A listener that redirects goes on to do so until it has O(target_groups).
    type: dict
    suboptions:
      protocol:
        description: Protocol of the new address.
        type: str
        choices: [HTTP, HTTPS]
      host:
        description: Host of the new address.
        type: str
      port:
        description: Port of the new address. Give it with another O(redirect.protocol).
        type: str
      path:
        description: Path of the new address, beginning with V(/).
        type: str
      query:
        description: Query of the new address, without the question mark.
        type: str
      status_code:
        description: Whether clients may keep it in mind (V(HTTP_301)) or not (V(HTTP_302)).
        type: str
        choices: [HTTP_301, HTTP_302]
        default: HTTP_301
  rules:
    description:
      - Rules for requests that do not go by the weights of O(target_groups), such as those of
        testers to a canary. Not set, the listener's rules are left as they are, and not read.
      - An empty list removes all rules.
    type: list
    elements: dict
    suboptions:
      priority:
        description:
          - The rule of the lowest number that fits a request is taken, from 1 to 50000.
          - A rule without one is known by its conditions. If a rule with the same headers, hosts
            and paths is there, it keeps its priority; a new one gets the lowest that is free.
        type: int
      headers:
        description:
          - Patterns by name of header, one or a list of which one has to fit. C(*) and C(?) are
            wildcards. If there are several headers, each has to fit.
        type: dict
      hosts:
        description: Patterns of which the name of the host has to fit one.
        type: list
        elements: str
      paths:
        description: Patterns of which the path has to fit one.
        type: list
        elements: str
      target_groups:
        description: Where such requests go. Needed unless O(rules[].state=absent).
        type: list
        elements: dict
        suboptions:
          target_group_arn:
            description: The target group, by ARN.
            type: str
          target_group_name:
            description: The target group, by name.
            type: str
          weight:
            description: Share of these requests, from 0 to 999.
            type: int
            default: 1
      state:
        description:
          - Whether the rule exists. With O(purge_rules=false), V(absent) removes single rules, by
            O(rules[].priority), or by their conditions where that is not given.
        type: str
        choices: [present, absent]
        default: present
  purge_rules:
    description: Whether rules that O(rules) does not name are removed, if it is set.
    type: bool
    default: true
  stickiness_duration:
    description:
      - For how many seconds a client stays with the target group that served it first, from 1 to
        604800. With V(0), each request is shared out anew.
      - If not set, it stays as it is. New listeners are not sticky.
    type: int
  state:
    description: Whether the listener exists.
    type: str
    choices: [present, absent]
    default: present
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.tags
  - amazon.aws.boto3
seealso:
  - module: multicompute.spin.elb_lambda_target
  - module: amazon.aws.elb_application_lb
"""

EXAMPLES = r"""
- name: Share the requests among three target groups
  multicompute.spin.elb_weighted_listener:
    load_balancer_name: demo
    port: 80
    target_groups:
      - target_group_name: demo-ec2
        weight: 90
      - target_group_name: demo-ecs
        weight: 10
      - target_group_name: demo-lambda
        weight: 0

- name: Attach one more, which gets no requests yet
  multicompute.spin.elb_weighted_listener:
    load_balancer_name: demo
    port: 80
    target_groups:
      - target_group_name: demo-ec2-arm64
    purge_target_groups: false

- name: Take one off
  multicompute.spin.elb_weighted_listener:
    load_balancer_name: demo
    port: 80
    target_groups:
      - target_group_name: demo-ec2-arm64
        state: absent
    purge_target_groups: false

- name: Listen for HTTPS
  multicompute.spin.elb_weighted_listener:
    load_balancer_name: demo
    port: 443
    protocol: HTTPS
    certificates:
      - arn:aws:acm:eu-central-1:123456789012:certificate/5d3b7f0a-3a0e-4a5e-9a55-3f1d3a5c2b10
    target_groups:
      - target_group_name: demo-ec2

- name: Send everybody from HTTP to HTTPS
  multicompute.spin.elb_weighted_listener:
    load_balancer_name: demo
    port: 80
    redirect:
      protocol: HTTPS
      port: "443"

- name: Testers get the canary, all others do not
  multicompute.spin.elb_weighted_listener:
    load_balancer_name: demo
    port: 443
    target_groups:
      - target_group_name: demo-ec2
    rules:
      - priority: 10
        headers:
          x-canary: always
        target_groups:
          - target_group_name: demo-ec2-arm64

- name: One more rule, of whatever priority is free; the others stay
  multicompute.spin.elb_weighted_listener:
    load_balancer_name: demo
    port: 443
    purge_target_groups: false
    rules:
      - headers:
          x-tester: ann
        target_groups:
          - target_group_name: demo-ecs
    purge_rules: false

- name: Take that one away again
  multicompute.spin.elb_weighted_listener:
    load_balancer_name: demo
    port: 443
    purge_target_groups: false
    rules:
      - headers:
          x-tester: ann
        state: absent
    purge_rules: false

- name: Remove the listener
  multicompute.spin.elb_weighted_listener:
    load_balancer_name: demo
    port: 80
    state: absent
"""

RETURN = r"""
listener:
  description: The listener, or an empty dictionary if there is none.
  returned: success
  type: dict
  contains:
    listener_arn:
      description: ARN of the listener.
      type: str
      sample: "arn:aws:elasticloadbalancing:eu-central-1:123456789012:\
        listener/app/demo/0123456789abcdef/fedcba9876543210"
    load_balancer_arn:
      description: ARN of the load balancer.
      type: str
      sample: "arn:aws:elasticloadbalancing:eu-central-1:123456789012:\
        loadbalancer/app/demo/0123456789abcdef"
    port:
      description: Port of the listener.
      type: int
      sample: 80
    protocol:
      description: Protocol of the listener.
      type: str
      sample: HTTP
    ssl_policy:
      description: Security policy, or null for HTTP.
      type: str
      sample: null
    certificates:
      description: ARNs of the certificates, the default one first, the others sorted.
      type: list
      elements: str
      sample: []
    default_action:
      description: What the listener does with a request for which it has no rule.
      type: str
      sample: forward
    redirect:
      description: Where clients are sent, or null.
      type: dict
      sample: null
    rules:
      description:
        - Its rules by priority. C(other) says that a rule has conditions or actions that O(rules)
          cannot express.
      returned: if O(rules) is set
      type: list
      elements: dict
      sample:
        - priority: 10
          headers: {x-canary: [always]}
          hosts: []
          paths: []
          target_groups:
            - target_group_arn: "arn:aws:elasticloadbalancing:eu-central-1:123456789012:\
                targetgroup/demo-ec2-arm64/0123456789abcdef"
              weight: 1
          other: false
    target_groups:
      description: Target groups of the default action, sorted by ARN.
      type: list
      elements: dict
      sample:
        - target_group_arn: "arn:aws:elasticloadbalancing:eu-central-1:123456789012:\
            targetgroup/demo-ec2/0123456789abcdef"
          weight: 90
    stickiness_duration:
      description: Seconds for which a client stays with a target group, or 0.
      type: int
      sample: 0
    tags:
      description: Tags of the listener.
      type: dict
      sample: {"multicompute:deployment": demo}
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
    compare_aws_tags,
)
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api, finish
from ansible_collections.multicompute.spin.plugins.module_utils._listeners import (
    OptionError,
    as_weights,
    check_options,
    default_action,
    described_rules,
    lowest_free,
    name_of,
    normalised,
    priorities_of,
    rule_request,
    wanted,
    wanted_rules,
)
from ansible_collections.multicompute.spin.plugins.module_utils._tags import TAG_OPTIONS

# What is asked of AWS.


def find_load_balancer(api: Api, params: dict[str, Any]) -> str | None:
    if params["load_balancer_arn"]:
        return params["load_balancer_arn"]
    name = params["load_balancer_name"]
    found = api.call(
        "describe_load_balancers",
        f"look for load balancer {name}",
        missing=["LoadBalancerNotFound"],
        Names=[name],
    )
    return next((one["LoadBalancerArn"] for one in found.get("LoadBalancers", [])), None)


def find_listener(api: Api, load_balancer: str, port: int) -> dict[str, Any] | None:
    # Check mode meets ARNs of what is yet to be created: AWS may find them malformed.
    check = ["ValidationError"] if api.module.check_mode else []
    listeners = api.pages(
        "describe_listeners",
        "Listeners",
        f"read the listeners of {load_balancer}",
        missing=["LoadBalancerNotFound", *check],
        LoadBalancerArn=load_balancer,
    )
    return next((listener for listener in listeners if listener["Port"] == port), None)


def read_listener(api: Api, listener: dict[str, Any]) -> dict[str, Any]:
    arn = listener["ListenerArn"]
    certificates = []
    if listener["Protocol"] == "HTTPS":
        certificates = api.pages(
            "describe_listener_certificates",
            "Certificates",
            f"read the certificates of {arn}",
            ListenerArn=arn,
        )
    tags = api.call("describe_tags", f"read the tags of {arn}", ResourceArns=[arn])
    own = [tag for entry in tags["TagDescriptions"] for tag in entry.get("Tags", [])]
    return normalised(listener, certificates, boto3_tag_list_to_ansible_dict(own))


def identify(
    api: Api, groups: list[dict[str, Any]], attached: list[str]
) -> tuple[dict[str, int | None], set[str]]:
    """The wanted weight per ARN, and the ARNs to take off."""
    by_name = {name_of(arn): arn for arn in attached}
    named: dict[str, int | None] = {}
    removed: set[str] = set()
    for group in groups:
        name = group["target_group_name"]
        arn = group["target_group_arn"] or by_name.get(name)
        if group["state"] == "absent":
            removed.update([arn] if arn else [])
            continue
        arn = arn or find_target_group(api, name)
        if arn in named:
            raise OptionError(f"target_groups names {name or arn} twice")
        named[arn] = group["weight"]
    if both := sorted(removed & named.keys()):
        raise OptionError(f"target_groups names {', '.join(both)} as present and as absent")
    return named, removed


def find_target_group(api: Api, name: str) -> str:
    found = api.call(
        "describe_target_groups",
        f"look for target group {name}",
        missing=["TargetGroupNotFound"],
        Names=[name],
    )
    for group in found.get("TargetGroups", []):
        return group["TargetGroupArn"]
    if api.module.check_mode:
        return api.placeholder_arn(f"targetgroup/{name}/0000000000000000")
    raise OptionError(f"target group {name} does not exist in {api.client.meta.region_name}")


def require_target_groups(api: Api, arns: list[str]) -> None:
    """AWS's own error does not say which of the target groups is unknown."""
    for arn in arns:
        found = api.call(
            "describe_target_groups",
            f"look for target group {arn}",
            missing=["TargetGroupNotFound", "ValidationError"],
            TargetGroupArns=[arn],
        )
        if not found.get("TargetGroups"):
            region = api.client.meta.region_name
            raise OptionError(f"target group {arn} does not exist in {region}")


def create(api: Api, load_balancer: str, after: dict[str, Any]) -> str:
    secure_options = {}
    if after["protocol"] == "HTTPS":
        secure_options = {
            "SslPolicy": after["ssl_policy"],
            "Certificates": [{"CertificateArn": after["certificates"][0]}],
        }
    tags = {"Tags": ansible_dict_to_boto3_tag_list(after["tags"])} if after["tags"] else {}
    created = api.call(
        "create_listener",
        f"create the listener for port {after['port']} of {load_balancer}",
        LoadBalancerArn=load_balancer,
        Port=after["port"],
        Protocol=after["protocol"],
        DefaultActions=[default_action(after)],
        **secure_options,
        **tags,
    )
    arn: str = created["Listeners"][0]["ListenerArn"]
    change_certificates(api, arn, after["certificates"][:1], after["certificates"])
    return arn


def modify(api: Api, arn: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    changes: dict[str, Any] = {}
    if any(
        before[key] != after[key] for key in ("redirect", "target_groups", "stickiness_duration")
    ):
        changes["DefaultActions"] = [default_action(after)]
    if before["protocol"] != after["protocol"]:
        changes["Protocol"] = after["protocol"]
    if before["ssl_policy"] != after["ssl_policy"] and after["ssl_policy"]:
        changes["SslPolicy"] = after["ssl_policy"]
    if before["certificates"][:1] != after["certificates"][:1] and after["certificates"]:
        changes["Certificates"] = [{"CertificateArn": after["certificates"][0]}]
    if changes:
        api.call("modify_listener", f"change the listener {arn}", ListenerArn=arn, **changes)
    if after["protocol"] == "HTTPS":
        change_certificates(api, arn, before["certificates"], after["certificates"])
    change_tags(api, arn, before["tags"], after["tags"])


def change_certificates(api: Api, arn: str, before: list[str], after: list[str]) -> None:
    """Those beside the default one."""
    for operation, certificates in (
        ("add_listener_certificates", set(after[1:]) - set(before[1:])),
        ("remove_listener_certificates", set(before[1:]) - set(after[1:])),
    ):
        if certificates:
            api.call(
                operation,
                f"change the certificates of {arn}",
                ListenerArn=arn,
                Certificates=[{"CertificateArn": one} for one in sorted(certificates)],
            )


def change_tags(api: Api, arn: str, before: dict[str, str], after: dict[str, str]) -> None:
    added, removed = compare_aws_tags(before, after)
    doing = f"change the tags of {arn}"
    if added:
        tags = ansible_dict_to_boto3_tag_list(added)
        api.call("add_tags", doing, ResourceArns=[arn], Tags=tags)
    if removed:
        api.call("remove_tags", doing, ResourceArns=[arn], TagKeys=removed)


def read_rules(api: Api, listener: dict[str, Any] | None) -> dict[int, dict[str, Any]]:
    """By priority; only asked for where the task speaks of rules."""
    if not listener or api.module.params["rules"] is None:
        return {}
    rules = described_rules(rules_of(api, listener["ListenerArn"]))
    return {priority: rules[priority] for priority in sorted(rules)}


def rules_of(api: Api, listener_arn: str) -> list[dict[str, Any]]:
    doing = f"read the rules of {listener_arn}"
    return api.pages("describe_rules", "Rules", doing, ListenerArn=listener_arn)


def identify_rules(api: Api, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules with the ARN of every target group."""
    return [
        rule
        | {
            "target_groups": [
                group
                | {
                    "target_group_arn": group["target_group_arn"]
                    or find_target_group(api, group["target_group_name"])
                }
                for group in rule["target_groups"]
            ]
        }
        if rule["state"] == "present"
        else rule
        for rule in rules
    ]


def set_rules(
    api: Api, listener_arn: str, before: dict[int, dict[str, Any]], after: dict[int, dict[str, Any]]
) -> None:
    """New rules first, so that no request that has one meets none."""
    changed = [priority for priority in after if before.get(priority) != after[priority]]
    gone = sorted(before.keys() - after.keys())
    if not changed and not gone:
        return
    existing = {
        rule["Priority"]: rule["RuleArn"]
        for rule in (rules_of(api, listener_arn) if before else [])
    }
    for priority in changed:
        set_rule(api, listener_arn, existing.get(str(priority)), after[priority])
    for priority in gone:
        api.call(
            "delete_rule",
            f"delete the rule of priority {priority} of {listener_arn}",
            missing=["RuleNotFound"],
            RuleArn=existing[str(priority)],
        )


def set_rule(api: Api, listener_arn: str, rule_arn: str | None, rule: dict[str, Any]) -> None:
    doing = f"set the rule of priority {rule['priority']} of {listener_arn}"
    request = rule_request(rule)
    if not rule_arn:
        answer = api.call(
            "create_rule",
            doing,
            missing=["PriorityInUse"],
            ListenerArn=listener_arn,
            Priority=rule["priority"],
            **request,
        )
        if answer:
            return
        # An earlier attempt, or another run, got through.
        there = rules_of(api, listener_arn)
        current = described_rules(there)
        given = [one["priority"] for one in api.module.params["rules"]]
        if rule["priority"] not in given and rule["priority"] not in priorities_of(rule, current):
            # Somebody else's rule: it stays.
            rule["priority"] = lowest_free(current)
            set_rule(api, listener_arn, None, rule)
            return
        rule_arn = next(r["RuleArn"] for r in there if r["Priority"] == str(rule["priority"]))
    api.call("modify_rule", doing, RuleArn=rule_arn, **request)


def present(
    api: Api, load_balancer: str | None, listener: dict[str, Any] | None, before: dict[str, Any]
) -> None:
    module = api.module
    params = module.params
    check_options(params)
    attached = list(as_weights(before.get("target_groups", [])))
    named, removed = identify(api, params["target_groups"], attached)
    states = {option["state"] for option in [*params["target_groups"], *(params["rules"] or [])]}
    if not listener and not params["redirect"] and states == {"absent"}:
        finish(module, {}, {}, listener={})  # only removals, from nothing
    after = wanted(params, before, named, removed)
    rules, new_rules = read_rules(api, listener), {}
    if params["rules"] is not None:
        new_rules = wanted_rules(identify_rules(api, params["rules"]), rules, params["purge_rules"])
        before = before and before | {"rules": list(rules.values())}
        after["rules"] = [new_rules[priority] for priority in sorted(new_rules)]
    if listener and len(listener["DefaultActions"]) > 1:
        raise OptionError("its default action authenticates users, which this module would undo")
    name = params["load_balancer_name"]
    arn = listener["ListenerArn"] if listener else ""
    if module.check_mode:
        load_balancer = load_balancer or api.placeholder_arn(f"loadbalancer/app/{name}/{'0' * 16}")
        arn = arn or load_balancer.replace(":loadbalancer/", ":listener/") + "/" + "0" * 16
    elif not load_balancer:
        raise OptionError(f"load balancer {name} does not exist: create it first")
    elif after != before:
        require_target_groups(api, sorted(set(as_weights(after["target_groups"])) - {*attached}))
        if listener:
            modify(api, arn, before, after)
        else:
            arn = create(api, load_balancer, after)
        if params["rules"] is not None:
            set_rules(api, arn, rules, new_rules)
    result = {"listener_arn": arn, "load_balancer_arn": load_balancer, **after}
    finish(module, before, after, listener=result)


def absent(api: Api, listener: dict[str, Any] | None, before: dict[str, Any]) -> None:
    if listener and not api.module.check_mode:
        arn = listener["ListenerArn"]
        api.call(
            "delete_listener",
            f"delete the listener {arn}",
            missing=["ListenerNotFound"],
            ListenerArn=arn,
        )
    finish(api.module, before, {}, listener={})


def main() -> None:
    names = ("target_group_arn", "target_group_name")
    named_group: dict[str, Any] = {name: {"type": "str"} for name in names}
    one_name: dict[str, Any] = {"required_one_of": [names], "mutually_exclusive": [names]}
    module = AnsibleAWSModule(
        argument_spec={
            "load_balancer_arn": {"type": "str"},
            "load_balancer_name": {"type": "str"},
            "port": {"type": "int", "required": True},
            "protocol": {"type": "str", "choices": ["HTTP", "HTTPS"]},
            "ssl_policy": {"type": "str"},
            "certificates": {"type": "list", "elements": "str"},
            "target_groups": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    **named_group,
                    "weight": {"type": "int"},
                    "state": {
                        "type": "str",
                        "choices": ["present", "absent"],
                        "default": "present",
                    },
                },
                **one_name,
            },
            "purge_target_groups": {"type": "bool", "default": True},
            "redirect": {
                "type": "dict",
                "options": {
                    "protocol": {"type": "str", "choices": ["HTTP", "HTTPS"]},
                    "host": {"type": "str"},
                    "port": {"type": "str"},
                    "path": {"type": "str"},
                    "query": {"type": "str"},
                    "status_code": {
                        "type": "str",
                        "choices": ["HTTP_301", "HTTP_302"],
                        "default": "HTTP_301",
                    },
                },
            },
            "rules": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "priority": {"type": "int"},
                    "headers": {"type": "dict"},
                    "hosts": {"type": "list", "elements": "str"},
                    "paths": {"type": "list", "elements": "str"},
                    "target_groups": {
                        "type": "list",
                        "elements": "dict",
                        "options": {**named_group, "weight": {"type": "int", "default": 1}},
                        **one_name,
                    },
                    "state": {
                        "type": "str",
                        "choices": ["present", "absent"],
                        "default": "present",
                    },
                },
                "required_if": [("state", "present", ["target_groups"])],
            },
            "purge_rules": {"type": "bool", "default": True},
            "stickiness_duration": {"type": "int"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            **TAG_OPTIONS,
        },
        required_one_of=[("load_balancer_arn", "load_balancer_name")],
        mutually_exclusive=[("load_balancer_arn", "load_balancer_name")],
        supports_check_mode=True,
    )
    api = Api(module, "elbv2")
    params = module.params
    load_balancer = find_load_balancer(api, params)
    listener = find_listener(api, load_balancer, params["port"]) if load_balancer else None
    before = read_listener(api, listener) if listener else {}
    try:
        if params["state"] == "present":
            present(api, load_balancer, listener, before)
        else:
            absent(api, listener, before)
    except OptionError as error:
        module.fail_json(msg=f"Listener on port {params['port']}: {error}")


if __name__ == "__main__":
    main()
