#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: elb_lambda_target
short_description: Let a load balancer's target group invoke a Lambda function
version_added: 1.0.0
author:
  - The multicompute.spin authors (@multicompute)
description:
  - Does all that a target group of type C(lambda) needs to reach a function. It waits until the
    function is active, allows this target group alone to invoke it, and registers it.
  - A function that was registered before is deregistered and loses its permission. A target group
    holds one function only, so requests fail for a moment then. Give the ARN of an alias to avoid
    this, and move the alias instead.
attributes:
  check_mode:
    support: full
    description:
      - Predicts what a run does. A target group or function that does not exist yet is taken for
        one that the same play would have created.
  diff_mode:
    support: full
    description: Shows registered functions, permissions and the attribute.
  idempotent:
    support: full
    description: A statement that another tool wrote into the policy will do, if it says the same.
options:
  target_group_arn:
    description: ARN of a target group of type C(lambda).
    type: str
    required: true
  function_arn:
    description:
      - ARN of the function, best of an alias of it. Required with O(state=present).
      - With O(state=absent), the only function that is taken off. If not set, all are.
    type: str
  multi_value_headers:
    description:
      - Whether headers and query parameters that occur several times reach the function, and
        those that it returns reach the client, as lists. Without it the last one wins.
      - If not set, it stays as it is. AWS starts with V(false).
    type: bool
  state:
    description: Whether the function is the target.
    type: str
    choices: [present, absent]
    default: present
  wait:
    description:
      - Whether to wait until the function is healthy, if the target group has a health check.
      - Health checks of functions are off unless a target group asks for them, since each check
        is an invocation that AWS bills.
    type: bool
    default: true
  wait_timeout:
    description:
      - How many seconds to wait for the function to become active, and for it to become healthy.
    type: int
    default: 180
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
seealso:
  - module: multicompute.spin.lambda_container
  - module: multicompute.spin.elb_weighted_listener
"""

EXAMPLES = r"""
- name: Send the requests of a target group to an alias
  multicompute.spin.elb_lambda_target:
    target_group_arn: "{{ target_group.target_group_arn }}"
    function_arn: "{{ function.alias_arn }}"
    multi_value_headers: true

- name: Take the function off, and its permission with it
  multicompute.spin.elb_lambda_target:
    target_group_arn: "{{ target_group.target_group_arn }}"
    state: absent
"""

RETURN = r"""
target_group_arn:
  description: ARN of the target group.
  returned: success
  type: str
  sample: "arn:aws:elasticloadbalancing:eu-central-1:123456789012:\
    targetgroup/demo-lambda/0123456789abcdef"
targets:
  description: ARNs of the registered functions.
  returned: success
  type: list
  elements: str
  sample: ["arn:aws:lambda:eu-central-1:123456789012:function:demo-lambda:live"]
permissions:
  description: ARNs of the functions that this target group may invoke.
  returned: success
  type: list
  elements: str
  sample: ["arn:aws:lambda:eu-central-1:123456789012:function:demo-lambda:live"]
multi_value_headers:
  description: Whether repeated headers are passed on as lists.
  returned: success
  type: bool
  sample: true
statement_id:
  description: Name of the statement in the function's policy.
  returned: success
  type: str
  sample: elb-demo-lambda-0123456789abcdef
"""

import json
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api, finish

PRINCIPAL = "elasticloadbalancing.amazonaws.com"
ATTRIBUTE = "lambda.multi_value_headers.enabled"
# What AWS answers to an ARN that check mode made up.
MALFORMED = ("ValidationError", "ValidationException", "InvalidParameterValueException")


# Pure functions.


def statement_id(target_group: str) -> str:
    return "-".join(["elb", *target_group.split("/")[1:]])[:100]


def split_function_arn(arn: str) -> dict[str, Any]:
    """FunctionName and Qualifier as Lambda's API wants them; empty if it is no function's ARN."""
    parts = arn.split(":")
    if len(parts) not in (7, 8) or parts[2] != "lambda" or parts[5] != "function":
        return {}
    name = {"FunctionName": ":".join(parts[:7])}
    return name | ({"Qualifier": parts[7]} if len(parts) == 8 else {})


def conditions(statement: dict[str, Any]) -> dict[str, Any]:
    """Operator and value by key; keys of conditions have no case."""
    return {
        key.lower(): (operator, value)
        for operator, keys in statement.get("Condition", {}).items()
        for key, value in keys.items()
    }


def allows(statement: dict[str, Any], target_group: str) -> bool:
    """Whether the statement is what AddPermission writes for this target group."""
    principal = statement.get("Principal")
    if isinstance(principal, dict):
        principal = principal.get("Service")
    return (
        statement.get("Effect") == "Allow"
        and principal == PRINCIPAL
        and statement.get("Action") == "lambda:InvokeFunction"
        and conditions(statement)
        == {
            "aws:sourcearn": ("ArnLike", target_group),
            "aws:sourceaccount": ("StringEquals", target_group.split(":")[4]),
        }
    )


def own_statements(policy: dict[str, Any], target_group: str) -> dict[str, bool]:
    """Whether it allows what it should, for each statement about this target group."""
    own = {}
    for statement in policy.get("Statement", []):
        sid = statement.get("Sid", "")
        source = conditions(statement).get("aws:sourcearn", ("", ""))[1]
        if sid == statement_id(target_group) or source == target_group:
            own[sid] = allows(statement, target_group)
    return own


def wanted(params: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    function = params["function_arn"]
    if params["state"] == "absent":
        leaving = {function} if function else {*before["targets"], *before["permissions"]}
        targets = [arn for arn in before["targets"] if arn not in leaving]
        permissions = [arn for arn in before["permissions"] if arn not in leaving]
        return {**before, "targets": targets, "permissions": permissions}
    after = {**before, "targets": [function], "permissions": [function]}
    if params["multi_value_headers"] is not None:
        after["multi_value_headers"] = params["multi_value_headers"]
    return after


# What is asked of AWS.


class LambdaTarget:
    def __init__(self, module: AnsibleAWSModule) -> None:
        self.module = module
        self.params = module.params
        self.target_group: str = module.params["target_group_arn"]
        self.elb = Api(module, "elbv2")
        self.functions = Api(module, "lambda")
        self.malformed = MALFORMED if module.check_mode else ()
        # The names of this target group's statements in each function's policy.
        self.statements: dict[str, dict[str, bool]] = {}

    def read_target_group(self) -> dict[str, Any] | None:
        found = self.elb.call(
            "describe_target_groups",
            f"read target group {self.target_group}",
            missing=["TargetGroupNotFound", *self.malformed],
            TargetGroupArns=[self.target_group],
        )
        return next(iter(found.get("TargetGroups", [])), None)

    def read(self, exists: bool) -> dict[str, Any]:
        targets: list[str] = []
        attribute = "false"
        if exists:
            doing = f"read target group {self.target_group}"
            health = self.elb.call(
                "describe_target_health", doing, TargetGroupArn=self.target_group
            )
            targets = sorted(
                target["Target"]["Id"]
                for target in health["TargetHealthDescriptions"]
                if target["TargetHealth"]["State"] != "draining"
            )
            found = self.elb.call(
                "describe_target_group_attributes", doing, TargetGroupArn=self.target_group
            )
            attributes = {entry["Key"]: entry["Value"] for entry in found["Attributes"]}
            attribute = attributes.get(ATTRIBUTE, attribute)
        named = self.params["function_arn"]
        for function in {*targets, *([named] if named else [])}:
            self.statements[function] = self.read_statements(function)
        return {
            "targets": targets,
            "permissions": sorted(
                function for function, own in self.statements.items() if any(own.values())
            ),
            "multi_value_headers": attribute == "true",
        }

    def read_statements(self, function: str) -> dict[str, bool]:
        answer = self.functions.call(
            "get_policy",
            f"read the policy of {function}",
            missing=["ResourceNotFoundException", *self.malformed],
            **split_function_arn(function),
        )
        return own_statements(json.loads(answer.get("Policy", "{}")), self.target_group)

    def require_active(self, function: str) -> None:
        """A function that AWS put to sleep is fine: an invocation wakes it."""
        found = self.functions.call(
            "get_function_configuration",
            f"read function {function}",
            **split_function_arn(function),
        )
        if found.get("State") == "Failed":
            reason = found.get("StateReason", "no reason given")
            self.module.fail_json(msg=f"Function {function} failed to become active: {reason}")
        if found.get("State") == "Pending":
            self.functions.wait(
                "function_active",
                f"see function {function} active",
                self.params["wait_timeout"],
                explain=lambda answer: answer.get("StateReason", ""),
                **split_function_arn(function),
            )

    def permit(self, function: str) -> None:
        self.forbid(function)
        self.functions.call(
            "add_permission",
            f"allow {self.target_group} to invoke {function}",
            StatementId=statement_id(self.target_group),
            Action="lambda:InvokeFunction",
            Principal=PRINCIPAL,
            SourceArn=self.target_group,
            SourceAccount=self.target_group.split(":")[4],
            **split_function_arn(function),
        )

    def forbid(self, function: str) -> None:
        for sid in self.statements.get(function, {}):
            self.functions.call(
                "remove_permission",
                f"remove statement {sid} from the policy of {function}",
                missing=["ResourceNotFoundException"],
                StatementId=sid,
                **split_function_arn(function),
            )

    def register(self, function: str) -> None:
        self.elb.call(
            "register_targets",
            f"register {function} in {self.target_group}",
            # IAM takes a moment to spread a permission.
            retry_on=["does not have permission to invoke"],
            TargetGroupArn=self.target_group,
            Targets=[{"Id": function}],
        )

    def deregister(self, functions: list[str]) -> None:
        self.elb.call(
            "deregister_targets",
            f"deregister {', '.join(functions)} from {self.target_group}",
            missing=["TargetGroupNotFound"],
            TargetGroupArn=self.target_group,
            Targets=[{"Id": function} for function in functions],
        )

    def change(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """In an order that leaves nothing behind that a second run would not find."""
        for function in sorted({*after["permissions"]} - {*before["permissions"]}):
            self.require_active(function)
            self.permit(function)
        if before["multi_value_headers"] != after["multi_value_headers"]:
            value = str(after["multi_value_headers"]).lower()
            self.elb.call(
                "modify_target_group_attributes",
                f"set {ATTRIBUTE} of {self.target_group}",
                TargetGroupArn=self.target_group,
                Attributes=[{"Key": ATTRIBUTE, "Value": value}],
            )
        for function in sorted({*before["permissions"]} - {*after["permissions"]}):
            self.forbid(function)
        if stale := sorted({*before["targets"]} - {*after["targets"]}):
            self.deregister(stale)
        for function in sorted({*after["targets"]} - {*before["targets"]}):
            self.register(function)

    def wait_healthy(self) -> None:
        function = self.params["function_arn"]
        self.elb.wait(
            "target_in_service",
            f"see {function} healthy in {self.target_group}",
            self.params["wait_timeout"],
            explain=lambda answer: ", ".join(
                target["TargetHealth"].get("Description", target["TargetHealth"]["State"])
                for target in answer.get("TargetHealthDescriptions", [])
            ),
            TargetGroupArn=self.target_group,
            Targets=[{"Id": function}],
        )


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "target_group_arn": {"type": "str", "required": True},
            "function_arn": {"type": "str"},
            "multi_value_headers": {"type": "bool"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "int", "default": 180},
        },
        required_if=[("state", "present", ["function_arn"])],
        supports_check_mode=True,
    )
    params = module.params
    present = params["state"] == "present"
    function = params["function_arn"]
    if function and not split_function_arn(function):
        module.fail_json(msg=f"function_arn is {function!r}, which is no ARN of a Lambda function")
    target = LambdaTarget(module)
    group = target.read_target_group()
    if group and group["TargetType"] != "lambda":
        kind = group["TargetType"]
        module.fail_json(msg=f"{target.target_group} has target type {kind}, it must be lambda")
    if not group and present and not module.check_mode:
        module.fail_json(msg=f"Target group {target.target_group} does not exist: create it first")
    before = target.read(bool(group))
    after = wanted(params, before)
    if not module.check_mode:
        target.change(before, after)
        if present and params["wait"] and group and group.get("HealthCheckEnabled"):
            target.wait_healthy()
    finish(
        module,
        before,
        after,
        target_group_arn=target.target_group,
        statement_id=statement_id(target.target_group),
        **after,
    )


if __name__ == "__main__":
    main()
