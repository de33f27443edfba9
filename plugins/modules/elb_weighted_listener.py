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

DEFAULT_SSL_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
MAX_WEIGHT = 999
MAX_STICKINESS = 604800
NEW_LISTENER: dict[str, Any] = {
    "protocol": "HTTP",
    "ssl_policy": None,
    "certificates": [],
    "default_action": "fixed-response",
    "target_groups": [],
    "stickiness_duration": 0,
    "tags": {},
}
NO_TARGET_GROUP = {
    "Type": "fixed-response",
    "FixedResponseConfig": {
        "StatusCode": "503",
        "ContentType": "text/plain",
        "MessageBody": "No target group is attached to this listener",
    },
}


class OptionError(Exception):
    """Options that contradict each other or what is there."""


# What is there and what is wanted, in the form that the module returns: pure functions.


def normalised(
    listener: dict[str, Any], certificates: list[dict[str, Any]], tags: dict[str, str]
) -> dict[str, Any]:
    """A listener as AWS describes it, in ours."""
    action = listener["DefaultActions"][-1]
    forward = action.get("ForwardConfig", {})
    groups = forward.get("TargetGroups", [])
    if action["Type"] == "forward" and not groups:
        groups = [{"TargetGroupArn": action["TargetGroupArn"]}]
    stickiness = forward.get("TargetGroupStickinessConfig", {})
    certificates = sorted(
        certificates, key=lambda entry: (not entry.get("IsDefault"), entry["CertificateArn"])
    )
    return {
        "port": listener["Port"],
        "protocol": listener["Protocol"],
        "ssl_policy": listener.get("SslPolicy"),
        "certificates": [entry["CertificateArn"] for entry in certificates],
        "default_action": action["Type"],
        "target_groups": as_list(
            {group["TargetGroupArn"]: group.get("Weight", 1) for group in groups}
        ),
        "stickiness_duration": stickiness.get("DurationSeconds", 0)
        if stickiness.get("Enabled")
        else 0,
        "tags": tags,
    }


def as_list(weights: dict[str, int]) -> list[dict[str, Any]]:
    return [{"target_group_arn": arn, "weight": weights[arn]} for arn in sorted(weights)]


def as_weights(target_groups: list[dict[str, Any]]) -> dict[str, int]:
    return {group["target_group_arn"]: group["weight"] for group in target_groups}


def weighted(
    current: dict[str, int], named: dict[str, int | None], removed: set[str], purge: bool
) -> dict[str, int]:
    """The weights that the named groups, and those kept beside them, shall have."""
    kept = {} if purge else current
    members = {*kept, *named} - removed
    weights = {}
    for arn in members:
        given = named.get(arn)
        weights[arn] = current.get(arn, 0) if given is None else given
    if weights and not any(weights.values()):
        free = [arn for arn in members if named.get(arn) is None]
        if not free:
            raise OptionError(
                "all weights of target_groups are 0, so nothing would answer: give one of them a "
                "weight of 1 or more"
            )
        weights.update(dict.fromkeys(free, 1))
    return weights


def wanted(
    params: dict[str, Any], current: dict[str, Any], named: dict[str, int | None], removed: set[str]
) -> dict[str, Any]:
    """The listener as it shall be; what the task does not say stays as it is."""
    after = {**NEW_LISTENER, **current, "port": params["port"]}
    for option in ("protocol", "ssl_policy", "stickiness_duration"):
        if params[option] is not None:
            after[option] = params[option]
    if params["certificates"] is not None:
        default, *others = params["certificates"] or [None]
        after["certificates"] = [default, *sorted(set(others) - {default})] if default else []
    secure(params, after)
    weights = weighted(
        as_weights(after["target_groups"]), named, removed, params["purge_target_groups"]
    )
    after["target_groups"] = as_list(weights)
    if weights:
        after["default_action"] = "forward"
    elif after["default_action"] == "forward":
        after["default_action"] = NEW_LISTENER["default_action"]
    if not weights:
        after["stickiness_duration"] = 0
    if params["tags"] is not None:
        aws_own = {key: value for key, value in after["tags"].items() if key.startswith("aws:")}
        kept = aws_own if params["purge_tags"] else after["tags"]
        after["tags"] = {**kept, **{key: str(value) for key, value in params["tags"].items()}}
    return after


def secure(params: dict[str, Any], after: dict[str, Any]) -> None:
    """Certificates and policy belong to HTTPS alone."""
    if after["protocol"] == "HTTPS":
        after["ssl_policy"] = after["ssl_policy"] or DEFAULT_SSL_POLICY
        if not after["certificates"]:
            raise OptionError("an HTTPS listener needs certificates")
        return
    if params["certificates"] or params["ssl_policy"]:
        raise OptionError("certificates and ssl_policy need protocol HTTPS")
    after.update(ssl_policy=None, certificates=[])


def check_options(params: dict[str, Any]) -> None:
    for group in params["target_groups"]:
        weight = group["weight"]
        if weight is not None and not 0 <= weight <= MAX_WEIGHT:
            name = group["target_group_arn"] or group["target_group_name"]
            raise OptionError(f"weight of {name} is {weight}, it must be 0 to {MAX_WEIGHT}")
    duration = params["stickiness_duration"]
    if duration is not None and not 0 <= duration <= MAX_STICKINESS:
        raise OptionError(f"stickiness_duration is {duration}, it must be 0 to {MAX_STICKINESS}")


def default_action(listener: dict[str, Any]) -> dict[str, Any]:
    if not listener["target_groups"]:
        return NO_TARGET_GROUP
    stickiness: dict[str, Any] = {"Enabled": bool(listener["stickiness_duration"])}
    if stickiness["Enabled"]:
        stickiness["DurationSeconds"] = listener["stickiness_duration"]
    return {
        "Type": "forward",
        "ForwardConfig": {
            "TargetGroups": [
                {"TargetGroupArn": group["target_group_arn"], "Weight": group["weight"]}
                for group in listener["target_groups"]
            ],
            "TargetGroupStickinessConfig": stickiness,
        },
    }


def name_of(target_group_arn: str) -> str:
    return target_group_arn.split("/")[1] if "/" in target_group_arn else ""


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
    if any(before[key] != after[key] for key in ("target_groups", "stickiness_duration")):
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


def present(
    api: Api, load_balancer: str | None, listener: dict[str, Any] | None, before: dict[str, Any]
) -> None:
    module = api.module
    params = module.params
    check_options(params)
    attached = list(as_weights(before.get("target_groups", [])))
    named, removed = identify(api, params["target_groups"], attached)
    if not listener and params["target_groups"] and not named:
        finish(module, {}, {}, listener={})  # only removals, from nothing
    after = wanted(params, before, named, removed)
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
                    "target_group_arn": {"type": "str"},
                    "target_group_name": {"type": "str"},
                    "weight": {"type": "int"},
                    "state": {
                        "type": "str",
                        "choices": ["present", "absent"],
                        "default": "present",
                    },
                },
                "required_one_of": [("target_group_arn", "target_group_name")],
                "mutually_exclusive": [("target_group_arn", "target_group_name")],
            },
            "purge_target_groups": {"type": "bool", "default": True},
            "stickiness_duration": {"type": "int"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "tags": {"type": "dict", "aliases": ["resource_tags"]},
            "purge_tags": {"type": "bool", "default": True},
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
