#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: elb_target_group
version_added: 1.0.0
short_description: Manage a target group of an Application Load Balancer and its targets
description:
  - Creates, changes and deletes a target group, and registers its targets.
  - With O(wait=true) targets are exchanged without a failed request - the new ones are registered
    and have to be healthy before the others are taken out, and the module ends when those have
    answered their last requests. If the new ones do not become healthy, the others stay.
author:
  - The multicompute.spin authors (@multicompute)
options:
  name:
    description:
      - Name of the target group, at most 32 letters, digits and hyphens. It is unique in its
        account and region.
    type: str
    required: true
  state:
    description:
      - V(present) creates the target group or brings it into the described form.
      - V(absent) deletes it. While a listener that was just deleted still holds it, this is tried
        again for up to 90 seconds.
    type: str
    choices: [present, absent]
    default: present
  target_type:
    description: What the targets are. It cannot be changed later.
    type: str
    choices: [instance, ip, lambda]
    default: instance
  protocol:
    description:
      - How targets are reached. It cannot be changed later. Required unless
        O(target_type=lambda), which has none.
    type: str
    choices: [HTTP, HTTPS]
  protocol_version:
    description: It cannot be changed later. AWS takes V(HTTP1) if it is not set.
    type: str
    choices: [HTTP1, HTTP2, GRPC]
  port:
    description:
      - The port of targets that are registered without one. It cannot be changed later. Required
        unless O(target_type=lambda), which has none.
    type: int
  vpc_id:
    description:
      - The VPC of the targets. It cannot be changed later. Required unless O(target_type=lambda),
        which has none.
    type: str
  health_check:
    description: How the health of targets is checked. What is not set is left as it is.
    type: dict
    suboptions:
      enabled:
        description:
          - Whether it is checked at all. Only a function can do without, and does by default; each
            check of a function is an invocation that is paid.
        type: bool
      protocol:
        description: The protocol of checks.
        type: str
        choices: [HTTP, HTTPS]
      port:
        description: A port number, or V(traffic-port) for the port of the target itself.
        type: str
      path:
        description: The path of checks.
        type: str
      interval:
        description: Seconds from one check to the next, 5 to 300.
        type: int
      timeout:
        description: Seconds without an answer that are a failure, 2 to 120, less than the interval.
        type: int
      healthy_threshold:
        description: Successes in a row that make a target healthy, 2 to 10.
        type: int
      unhealthy_threshold:
        description: Failures in a row that make a target unhealthy, 2 to 10.
        type: int
      matcher:
        description: Status codes of success, for example V(200), V(200,204) or V(200-299).
        type: str
  deregistration_delay:
    description:
      - Seconds that a target which was taken out has for its last requests, 0 to 3600. AWS takes
        300 if it is not set. Not for O(target_type=lambda).
    type: int
  slow_start:
    description:
      - Seconds over which a new target gets more and more requests, 30 to 900, or V(0) for all of
        its share at once. Not for O(target_type=lambda).
    type: int
  load_balancing_algorithm_type:
    description: How requests are spread over the targets. Not for O(target_type=lambda).
    type: str
    choices: [round_robin, least_outstanding_requests, weighted_random]
  targets:
    description:
      - All targets. Those that are missing are registered, others are taken out. Not set, targets
        are left alone, as is right where ECS registers them.
      - Not for O(target_type=lambda), see M(multicompute.spin.elb_lambda_target).
    type: list
    elements: dict
    suboptions:
      id:
        description: ID of an instance, or an IP address.
        type: str
        required: true
      port:
        description: The port of this target. O(port) if it is not set.
        type: int
  wait:
    description:
      - Whether to wait until O(targets) are healthy, and those taken out have answered their last
        requests. Targets become healthy only when a listener uses the target group.
      - It ends early, and with RV(unfit), when a target answers its health checks with another
        status code than those wanted. Of a target that was there before, what was found out before
        does not count - the verdict has to last for as long as a target needs to become healthy.
    type: bool
    default: false
  wait_timeout:
    description: Longest time for each of the two waits, in seconds.
    type: int
    default: 300
attributes:
  check_mode:
    description: Predicts exactly what a run would do, and makes no change.
    support: full
  diff_mode:
    description: Shows the options that were given, before and after.
    support: full
  idempotent:
    description: A second run changes nothing. The order of targets and status codes plays no role.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.tags
  - amazon.aws.boto3
seealso:
  - module: multicompute.spin.elb_lambda_target
  - module: multicompute.spin.elb_weighted_listener
  - module: community.aws.elb_target_group
  - module: community.aws.elb_target
"""

EXAMPLES = r"""
- name: A target group whose targets ECS registers
  multicompute.spin.elb_target_group:
    name: demo-ecs
    target_type: ip
    protocol: HTTP
    port: 8000
    vpc_id: "{{ vpc_id }}"
    health_check:
      path: /health
      interval: 10
      healthy_threshold: 2
    deregistration_delay: 20
    tags:
      project: demo
  register: ecs

- name: The new instance takes the place of the others without a failed request
  multicompute.spin.elb_target_group:
    name: demo-ec2
    protocol: HTTP
    port: 8000
    vpc_id: "{{ vpc_id }}"
    targets:
      - id: "{{ instance_id }}"
    wait: true

- name: The target group is gone
  multicompute.spin.elb_target_group:
    name: demo-ecs
    state: absent
"""

RETURN = r"""
target_group:
  description:
    - The target group. In check mode a new one has placeholders, or null, for what AWS assigns.
  returned: O(state=present)
  type: dict
  contains:
    target_group_arn:
      description: Its ARN.
      type: str
      sample: "arn:aws:elasticloadbalancing:eu-central-1:123456789012:\
        targetgroup/demo-ecs/50dc6c495c0c9188"
    target_group_name:
      description: Its name.
      type: str
      sample: demo-ecs
    load_balancer_arns:
      description: The load balancers that use it.
      type: list
      elements: str
      sample: []
    target_type:
      description: What its targets are.
      type: str
      sample: ip
    protocol:
      description: How targets are reached; null for functions.
      type: str
      sample: HTTP
    protocol_version:
      description: Version of the protocol; null for functions.
      type: str
      sample: HTTP1
    port:
      description: The port of targets registered without one; null for functions.
      type: int
      sample: 8000
    vpc_id:
      description: The VPC of the targets; null for functions.
      type: str
      sample: vpc-0123456789abcdef0
    health_check:
      description: How the health of targets is checked, as in the option.
      type: dict
      sample:
        enabled: true
        protocol: HTTP
        port: traffic-port
        path: /health
        interval: 10
        timeout: 5
        healthy_threshold: 2
        unhealthy_threshold: 2
        matcher: "200"
    deregistration_delay:
      description: Seconds that a target has for its last requests; null for functions.
      type: int
      sample: 20
    slow_start:
      description: Seconds over which a new target gets more and more requests; null for functions.
      type: int
      sample: 0
    load_balancing_algorithm_type:
      description: How requests are spread over the targets; null for functions.
      type: str
      sample: round_robin
    tags:
      description: Its tags.
      type: dict
      sample: {project: demo}
targets:
  description: All targets but those that are being taken out.
  returned: O(state=present)
  type: list
  elements: dict
  contains:
    id:
      description: ID of an instance, IP address, or ARN of a function.
      type: str
      sample: i-0123456789abcdef0
    port:
      description: Its port; null for functions.
      type: int
      sample: 8000
    state:
      description: Its health.
      type: str
      sample: unhealthy
    reason:
      description: Code of the reason why it is not healthy, or null.
      type: str
      sample: Target.ResponseCodeMismatch
    description:
      description: The reason in words, or null.
      type: str
      sample: "Health checks failed with these codes: [502]"
unfit:
  description:
    - Whether a target answers, but not with a status code that its health check wants. So it is up,
      and to wait longer would not help.
  returned: when O(wait=true) failed for that
  type: bool
  sample: true
"""

import re
import time
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
    compare_aws_tags,
)
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api, finish
from ansible_collections.multicompute.spin.plugins.module_utils._tags import (
    TAG_OPTIONS,
    wanted_tags,
)

NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,30}[A-Za-z0-9])?")
IMMUTABLE = {
    "target_type": "TargetType",
    "protocol": "Protocol",
    "protocol_version": "ProtocolVersion",
    "port": "Port",
    "vpc_id": "VpcId",
}
HEALTH_CHECK = {
    "enabled": "HealthCheckEnabled",
    "protocol": "HealthCheckProtocol",
    "port": "HealthCheckPort",
    "path": "HealthCheckPath",
    "interval": "HealthCheckIntervalSeconds",
    "timeout": "HealthCheckTimeoutSeconds",
    "healthy_threshold": "HealthyThresholdCount",
    "unhealthy_threshold": "UnhealthyThresholdCount",
    "matcher": "Matcher",
}
ATTRIBUTES = {
    "deregistration_delay": "deregistration_delay.timeout_seconds",
    "slow_start": "slow_start.duration_seconds",
    "load_balancing_algorithm_type": "load_balancing.algorithm.type",
}
# What AWS would refuse; check mode has to know.
REQUIRED = ("protocol", "port", "vpc_id")
NOT_FOR_LAMBDA = (*REQUIRED, "protocol_version", *ATTRIBUTES, "targets")
LIMITS = {
    "port": (1, 65535),
    "deregistration_delay": (0, 3600),
    "slow_start": (0, 900),
    "interval": (5, 300),
    "timeout": (2, 120),
    "healthy_threshold": (2, 10),
    "unhealthy_threshold": (2, 10),
}
MISMATCH = "Target.ResponseCodeMismatch"
Options = dict[str, Any]


# What AWS answers, in the terms of the options.


def described(
    group: dict[str, Any],
    attributes: list[dict[str, str]],
    health: list[dict[str, Any]],
    tags: list[dict[str, str]],
) -> Options:
    values = {attribute["Key"]: attribute["Value"] for attribute in attributes}
    options = {option: group.get(name) for option, name in IMMUTABLE.items()}
    if group["TargetType"] == "lambda":
        # Some answers hold meaningless defaults.
        options |= dict.fromkeys((*REQUIRED, "protocol_version"))
    else:
        options["protocol_version"] = group.get("ProtocolVersion", "HTTP1")
    return {
        "name": group["TargetGroupName"],
        **options,
        "health_check": described_check(group),
        **{option: attribute_value(values.get(key)) for option, key in ATTRIBUTES.items()},
        "targets": sorted_targets({"id": t["id"], "port": t["port"]} for t in registered(health)),
        "tags": boto3_tag_list_to_ansible_dict(tags),
    }


def described_check(group: dict[str, Any]) -> Options:
    check = {option: group.get(name) for option, name in HEALTH_CHECK.items()}
    matcher = check["matcher"] or {}
    return check | {"matcher": codes(matcher.get("HttpCode") or matcher.get("GrpcCode"))}


def attribute_value(text: str | None) -> int | str | None:
    return int(text) if text and text.isdigit() else text


def codes(matcher: str | None) -> str | None:
    """Status codes in one spelling."""
    return matcher and ",".join(sorted(code.strip() for code in matcher.split(",")))


def registered(health: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Targets with their health, without those that only answer their last requests."""
    targets = []
    for description in health:
        target, state = description["Target"], description["TargetHealth"]
        if state["State"] != "draining":
            targets.append(
                {
                    "id": target["Id"],
                    "port": target.get("Port"),
                    "state": state["State"],
                    "reason": state.get("Reason"),
                    "description": state.get("Description"),
                }
            )
    return sorted_targets(targets)


def sorted_targets(targets: Any) -> list[Options]:
    return sorted(targets, key=lambda target: (target["id"], target["port"] or 0))


# What the user wants.


def wanted(params: Options, current: Options) -> Options:
    """The given options in the form of `current`."""
    names = ("name", *IMMUTABLE, *ATTRIBUTES)
    options = {name: params[name] for name in names if params[name] is not None}
    check = params["health_check"] or {}
    if given := {option: value for option, value in check.items() if value is not None}:
        if "matcher" in given:
            given["matcher"] = codes(given["matcher"])
        options["health_check"] = given
    if params["targets"] is not None:
        pairs = {(target["id"], target["port"] or params["port"]) for target in params["targets"]}
        options["targets"] = sorted_targets({"id": id_, "port": port} for id_, port in pairs)
    if params["tags"] is not None:
        options["tags"] = wanted_tags(current.get("tags", {}), params["tags"], params["purge_tags"])
    return options


def shown(current: Options, options: Options) -> Options:
    """The part of `current` that the options are about."""
    part = {option: current[option] for option in options}
    if "health_check" in options:
        check = current["health_check"]
        part["health_check"] = {option: check[option] for option in options["health_check"]}
    return part


def mistake(params: Options) -> str | None:
    """What is wrong with the options of `state=present`, if anything."""
    if params["target_type"] == "lambda":
        if unfit := [name for name in NOT_FOR_LAMBDA if params[name] is not None]:
            return f"target_type=lambda does not go with {', '.join(unfit)}."
    elif lacking := [name for name in REQUIRED if params[name] is None]:
        return f"target_type={params['target_type']} needs {', '.join(lacking)}."
    check = params["health_check"] or {}
    for option, (low, high) in LIMITS.items():
        # The port of the health check is a text.
        value = params[option] if option in params else check.get(option)
        if value is not None and not low <= value <= high:
            return f"{option} is {value}: it has to be from {low} to {high}."
    if 0 < (params["slow_start"] or 0) < 30:
        return f"slow_start is {params['slow_start']}: it has to be 0, or from 30 to 900."
    if (check.get("timeout") or 0) >= (check.get("interval") or 301):
        return "health_check.timeout has to be less than health_check.interval."
    return None


def check_params(options: Options) -> dict[str, Any]:
    """The health check as CreateTargetGroup and ModifyTargetGroup take it."""
    params = {HEALTH_CHECK[name]: value for name, value in options.get("health_check", {}).items()}
    if "Matcher" in params:
        kind = "GrpcCode" if options.get("protocol_version") == "GRPC" else "HttpCode"
        params["Matcher"] = {kind: params["Matcher"]}
    return params


def api_targets(targets: list[Options]) -> list[dict[str, Any]]:
    return [{"Id": target["id"], "Port": target["port"]} for target in targets]


def named(target: Options) -> str:
    return f"{target['id']}:{target['port']}"


def complaints(targets: list[Options]) -> str:
    """Why the wait for healthy targets was in vain."""
    return "; ".join(
        f"{named(target)} is {target['state']}, {target['reason']}: {target['description']}"
        for target in targets
    )


def misfit(name: str, check: Options, target: Options) -> str:
    """What a target's answer is, and should be."""
    description = target["description"] or ""
    code = re.search(r"\[([\d, ]+)\]", description)
    answer = code[1] if code else "another status code"
    return (
        f"{name}: GET {check['path']} of {named(target)} was answered with {answer}, and "
        f"{check['matcher']} is wanted ({target['reason']}: {description})"
    )


# What AWS is asked.


class TargetGroup:
    def __init__(self, api: Api, name: str) -> None:
        self.api = api
        self.name = name
        self.group: dict[str, Any] = {}
        self.health: list[dict[str, Any]] = []

    @property
    def arn(self) -> dict[str, Any]:
        return {"TargetGroupArn": self.group["TargetGroupArn"]}

    def ask(self, operation: str, doing: str, **params: Any) -> dict[str, Any]:
        return self.api.call(operation, f"{doing} the target group {self.name}", **params)

    def find(self) -> bool:
        answer = self.ask(
            "describe_target_groups", "look for", missing=["TargetGroupNotFound"], Names=[self.name]
        )
        self.group = next(iter(answer.get("TargetGroups", [])), {})
        return bool(self.group)

    def read(self) -> Options:
        attributes = self.ask(
            "describe_target_group_attributes", "read the attributes of", **self.arn
        )
        tags = self.ask(
            "describe_tags", "read the tags of", ResourceArns=[self.group["TargetGroupArn"]]
        )
        self.read_health()
        return described(
            self.group,
            attributes["Attributes"],
            self.health,
            tags["TagDescriptions"][0].get("Tags", []),
        )

    def read_health(self) -> None:
        answer = self.ask("describe_target_health", "read the health of", **self.arn)
        self.health = answer["TargetHealthDescriptions"]

    def predict(self, options: Options) -> Options:
        """What creation would give; AWS fills in the rest."""
        self.group = {
            "TargetGroupName": self.name,
            "TargetGroupArn": self.api.placeholder_arn(f"targetgroup/{self.name}/{'0' * 16}"),
            **{api: options[option] for option, api in IMMUTABLE.items() if option in options},
        }
        return described(self.group, [], [], [])

    def create(self, options: Options) -> None:
        given = {api: options[option] for option, api in IMMUTABLE.items() if option in options}
        if options.get("tags"):
            given["Tags"] = ansible_dict_to_boto3_tag_list(options["tags"])
        answer = self.ask(
            "create_target_group",
            "create",
            # An earlier attempt, or another run, got through: what differs is changed afterwards.
            missing=["DuplicateTargetGroupName"],
            Name=self.name,
            **given,
            **check_params(options),
        )
        if answer:
            self.group = answer["TargetGroups"][0]
        else:
            self.find()

    def update(self, current: Options, options: Options) -> None:
        before = shown(current, options)
        if options.get("health_check") != before.get("health_check"):
            self.ask(
                "modify_target_group",
                "set the health check of",
                **self.arn,
                **check_params({"protocol_version": current["protocol_version"]} | options),
            )
        attributes = [
            {"Key": key, "Value": str(options[option])}
            for option, key in ATTRIBUTES.items()
            if option in options and options[option] != current[option]
        ]
        if attributes:
            self.ask(
                "modify_target_group_attributes",
                "set the attributes of",
                Attributes=attributes,
                **self.arn,
            )
        if "tags" in options:
            self.set_tags(current["tags"], options["tags"])
        if "targets" in options:
            check = current["health_check"] | options.get("health_check", {})
            self.set_targets(current["targets"], options["targets"], check)

    def set_tags(self, current: dict[str, str], tags: dict[str, str]) -> None:
        changed, removed = compare_aws_tags(current, tags)
        arns = {"ResourceArns": [self.group["TargetGroupArn"]]}
        if removed:
            self.ask("remove_tags", "remove tags of", TagKeys=removed, **arns)
        if changed:
            added = ansible_dict_to_boto3_tag_list(changed)
            self.ask("add_tags", "set tags of", Tags=added, **arns)

    def set_targets(self, current: list[Options], targets: list[Options], check: Options) -> None:
        """Nobody leaves before all the new ones can take over."""
        wait = self.api.module.params["wait"]
        if missing := [target for target in targets if target not in current]:
            names = ", ".join(map(named, missing))
            self.ask(
                "register_targets",
                f"register {names} in",
                # A new instance needs a moment before it can be registered.
                retry_on=["not in a running state"],
                Targets=api_targets(missing),
                **self.arn,
            )
        if wait and targets:
            self.wait_healthy(targets, missing, check)
        if leaving := [target for target in current if target not in targets]:
            names = ", ".join(map(named, leaving))
            self.ask(
                "deregister_targets",
                f"take {names} out of",
                Targets=api_targets(leaving),
                **self.arn,
            )
        if wait:
            self.wait_drained()
        if missing or leaving or wait:
            self.read_health()

    def wait_healthy(self, targets: list[Options], new: list[Options], check: Options) -> None:
        module = self.api.module
        timeout = module.params["wait_timeout"]
        start = time.monotonic()
        # How long a target may still be called what it was before the health check was changed.
        settling = check["interval"] * (check["healthy_threshold"] + 1)
        while True:
            answer = self.ask(
                "describe_target_health",
                "read the health of",
                Targets=api_targets(targets),
                **self.arn,
            )
            health = registered(answer["TargetHealthDescriptions"])
            sick = [target for target in health if target["state"] != "healthy"]
            if health and not sick:
                return
            waited = time.monotonic() - start
            for target in sick:
                is_new = {"id": target["id"], "port": target["port"]} in new
                if target["reason"] == MISMATCH and (is_new or waited >= settling):
                    module.fail_json(msg=misfit(self.name, check, target), unfit=True)
            if waited >= timeout:
                module.fail_json(
                    msg=f"Could not see the targets of {self.name} healthy within {timeout} s "
                    f"({complaints(sick)})"
                )
            time.sleep(0.5)

    def wait_drained(self) -> None:
        self.api.wait(
            "targets_drained",
            f"see the last requests to former targets of {self.name} answered",
            self.api.module.params["wait_timeout"],
            **self.arn,
        )

    def delete(self) -> None:
        self.ask(
            "delete_target_group",
            "delete",
            retry_on=["ResourceInUse"],
            advice={"ResourceInUse": "take it out of all listeners and rules first"},
            **self.arn,
        )


# The two states.


def present(target_group: TargetGroup, params: Options) -> None:
    module = target_group.api.module
    if problem := mistake(params):
        module.fail_json(msg=problem)
    exists = target_group.find()
    current = target_group.read() if exists else {}
    options = wanted(params, current)
    before = shown(current, options) if exists else {}
    if not exists and module.check_mode:
        current = target_group.predict(options)
    elif not exists:
        target_group.create(options)
        current = target_group.read()
    refuse_immutable(module, current, options)
    if not module.check_mode:
        target_group.update(current, options)
    finish(module, before, options, **result(target_group, current, options))


def refuse_immutable(module: AnsibleAWSModule, current: Options, options: Options) -> None:
    differing = [
        f"{option} {current[option]} instead of {options[option]}"
        for option in IMMUTABLE
        if option in options and options[option] != current[option]
    ]
    if differing:
        module.fail_json(
            msg=f"The target group {options['name']} has {' and '.join(differing)}, which AWS "
            "cannot change: take another name, or delete it first with state=absent."
        )


def result(target_group: TargetGroup, current: Options, options: Options) -> Options:
    state = current | options
    state["health_check"] = current["health_check"] | options.get("health_check", {})
    health = {(target["id"], target["port"]): target for target in registered(target_group.health)}
    unknown = {"state": "initial", "reason": None, "description": None}
    targets = [
        target | unknown | health.get((target["id"], target["port"]), {})
        for target in state.pop("targets")
    ]
    return {
        "target_group": {
            "target_group_arn": target_group.group["TargetGroupArn"],
            "target_group_name": state.pop("name"),
            "load_balancer_arns": target_group.group.get("LoadBalancerArns", []),
            **state,
        },
        "targets": targets,
    }


def absent(target_group: TargetGroup, _params: Options) -> None:
    module = target_group.api.module
    if not target_group.find():
        finish(module, {}, {})
    if not module.check_mode:
        target_group.delete()
    finish(module, {"name": target_group.name}, {})


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "target_type": {
                "type": "str",
                "choices": ["instance", "ip", "lambda"],
                "default": "instance",
            },
            "protocol": {"type": "str", "choices": ["HTTP", "HTTPS"]},
            "protocol_version": {"type": "str", "choices": ["HTTP1", "HTTP2", "GRPC"]},
            "port": {"type": "int"},
            "vpc_id": {"type": "str"},
            "health_check": {
                "type": "dict",
                "options": {
                    "enabled": {"type": "bool"},
                    "protocol": {"type": "str", "choices": ["HTTP", "HTTPS"]},
                    "port": {"type": "str"},
                    "path": {"type": "str"},
                    "interval": {"type": "int"},
                    "timeout": {"type": "int"},
                    "healthy_threshold": {"type": "int"},
                    "unhealthy_threshold": {"type": "int"},
                    "matcher": {"type": "str"},
                },
            },
            "deregistration_delay": {"type": "int"},
            "slow_start": {"type": "int"},
            "load_balancing_algorithm_type": {
                "type": "str",
                "choices": ["round_robin", "least_outstanding_requests", "weighted_random"],
            },
            "targets": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "id": {"type": "str", "required": True},
                    "port": {"type": "int"},
                },
            },
            "wait": {"type": "bool", "default": False},
            "wait_timeout": {"type": "int", "default": 300},
            **TAG_OPTIONS,
        },
        supports_check_mode=True,
    )
    name = module.params["name"]
    if not NAME.fullmatch(name):
        module.fail_json(
            msg=f"{name} is no name for a target group: name takes up to 32 letters, digits and "
            "hyphens, with no hyphen at either end."
        )
    target_group = TargetGroup(Api(module, "elbv2"), name)
    (present if module.params["state"] == "present" else absent)(target_group, module.params)


if __name__ == "__main__":
    main()
