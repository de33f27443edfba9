#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_run_task
short_description: Run a one-shot Fargate task to its end
version_added: 1.0.0
description:
  - Starts one task of a task definition, waits until it has stopped, and fails unless every
    container ended with exit code 0. The error shows the last lines that the container logged.
  - C(community.aws.ecs_task) returns when the task runs, does not look at its exit code, and takes
    a running task of the same family for its own.
author:
  - The multicompute.spin authors (@multicompute)
options:
  cluster:
    description: Name or ARN of the cluster.
    type: str
    required: true
  task_definition:
    description: Family, family:revision or ARN of the task definition.
    type: str
    required: true
  container:
    description:
      - Name of the container whose command is set and whose exit code and log are returned.
    type: str
    required: true
  command:
    description: Arguments for that container, instead of those in the task definition.
    type: list
    elements: str
  subnets:
    description: Subnets of the task.
    type: list
    elements: str
    required: true
  security_groups:
    description: Security groups of the task.
    type: list
    elements: str
    default: []
  assign_public_ip:
    description:
      - Whether the task gets a public address.
      - In a public subnet without NAT gateway it needs one to pull images.
    type: bool
    default: false
  tags:
    description: Tags of the task.
    type: dict
    aliases: [resource_tags]
  log_lines:
    description: How many of the container's last log lines to return.
    type: int
    default: 20
  wait_timeout:
    description: Seconds that the task may take from start to end.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
    description: Predicts that the task would run; starts nothing.
  diff_mode:
    support: none
    description: What a task changes is its own matter.
  idempotent:
    support: none
    description: Every call runs the task.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
"""

EXAMPLES = r"""
- name: Publish a release
  multicompute.spin.ecs_run_task:
    cluster: multicompute
    task_definition: multicompute-publisher
    container: publisher
    command: [publish, --bucket, multicompute-123456789012-eu-west-1, --key, bundles/1.0.0.tar]
    subnets: [subnet-0a1b2c3d4e5f60718]
    security_groups: [sg-0a1b2c3d4e5f60718]
    assign_public_ip: true
"""

RETURN = r"""
task_arn:
  description: The task that ran.
  returned: when a task ran
  type: str
  sample: arn:aws:ecs:eu-west-1:123456789012:task/multicompute/1dc5c17a422b4dc4b493371970c6c4d6
exit_code:
  description: How the container ended.
  returned: when a task ran
  type: int
  sample: 0
log:
  description: The container's last log lines, if it logs to CloudWatch Logs.
  returned: when a task ran
  type: list
  elements: str
  sample: ['{"changed": true, "active": "1.0.0"}']
"""

import uuid
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
)
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api


def run_request(params: dict[str, Any]) -> dict[str, Any]:
    """The RunTask request that the options ask for."""
    request: dict[str, Any] = {
        "cluster": params["cluster"],
        "taskDefinition": params["task_definition"],
        "launchType": "FARGATE",
        # Tried again after a lost answer, the request starts nothing twice.
        "clientToken": str(uuid.uuid4()),
        "count": 1,
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": params["subnets"],
                "securityGroups": params["security_groups"],
                "assignPublicIp": "ENABLED" if params["assign_public_ip"] else "DISABLED",
            }
        },
    }
    if params["command"] is not None:
        override = {"name": params["container"], "command": params["command"]}
        request["overrides"] = {"containerOverrides": [override]}
    if params["tags"]:
        request["tags"] = ansible_dict_to_boto3_tag_list(params["tags"], "key", "value")
    return request


def log_stream(
    task_definition: dict[str, Any], container: str, task_arn: str
) -> tuple[str, str] | None:
    """Group and stream that the container of the task logs to, None without CloudWatch Logs."""
    for definition in task_definition.get("containerDefinitions", []):
        log = definition.get("logConfiguration", {})
        if definition["name"] == container and log.get("logDriver") == "awslogs":
            options = log["options"]
            prefix = options.get("awslogs-stream-prefix", "ecs")
            task_id = task_arn.rpartition("/")[2]
            return options["awslogs-group"], f"{prefix}/{container}/{task_id}"
    return None


def read_log(module: AnsibleAWSModule, ecs: Api, task: dict[str, Any]) -> list[str]:
    """The container's last log lines."""
    container = module.params["container"]
    definition = ecs.call(
        "describe_task_definition",
        f"read task definition {task['taskDefinitionArn']}",
        taskDefinition=task["taskDefinitionArn"],
    )
    stream = log_stream(definition["taskDefinition"], container, task["taskArn"])
    if not stream:
        return []
    events = Api(module, "logs").call(
        "get_log_events",
        f"read log stream {stream[1]} of {stream[0]}",
        # A task that never started has no stream.
        missing=("ResourceNotFoundException",),
        logGroupName=stream[0],
        logStreamName=stream[1],
        limit=module.params["log_lines"],
        startFromHead=False,
    )
    return [event["message"].rstrip() for event in events.get("events", [])]


def failure(task: dict[str, Any], container: str) -> str | None:
    """Why the stopped task counts as failed, None if every container ended well."""
    for state in task.get("containers", []):
        if state.get("exitCode") != 0:
            reason = state.get("reason") or task.get("stoppedReason") or "no reason given"
            return f"container {state['name']} ended with {state.get('exitCode')}: {reason}"
    if not any(state["name"] == container for state in task.get("containers", [])):
        return f"it has no container {container}: {task.get('stoppedReason', 'no reason given')}"
    return None


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "cluster": {"required": True},
            "task_definition": {"required": True},
            "container": {"required": True},
            "command": {"type": "list", "elements": "str"},
            "subnets": {"type": "list", "elements": "str", "required": True},
            "security_groups": {"type": "list", "elements": "str", "default": []},
            "assign_public_ip": {"type": "bool", "default": False},
            "tags": {"type": "dict", "aliases": ["resource_tags"]},
            "log_lines": {"type": "int", "default": 20},
            "wait_timeout": {"type": "int", "default": 300},
        },
        supports_check_mode=True,
    )
    if module.check_mode:
        module.exit_json(changed=True)
    params = module.params
    ecs = Api(module, "ecs")
    doing = f"run task {params['task_definition']} on cluster {params['cluster']}"
    started = ecs.call("run_task", doing, **run_request(params))
    if not started["tasks"]:
        reasons = "; ".join(item.get("reason", "") for item in started.get("failures", []))
        module.fail_json(msg=f"Could not {doing}: {reasons}")
    arn = started["tasks"][0]["taskArn"]
    ecs.wait(
        "tasks_stopped",
        f"see task {arn} end",
        params["wait_timeout"],
        cluster=params["cluster"],
        tasks=[arn],
    )
    described = ecs.call(
        "describe_tasks", f"read task {arn}", cluster=params["cluster"], tasks=[arn]
    )
    task = described["tasks"][0]
    log = read_log(module, ecs, task)
    exit_code = next(
        (c.get("exitCode") for c in task.get("containers", []) if c["name"] == params["container"]),
        None,
    )
    why = failure(task, params["container"])
    if why:
        said = "\n".join(log) or "nothing"
        module.fail_json(
            msg=f"Task {arn} failed: {why}. Its last words:\n{said}",
            task_arn=arn,
            exit_code=exit_code,
            log=log,
        )
    module.exit_json(changed=True, task_arn=arn, exit_code=exit_code, log=log)


if __name__ == "__main__":
    main()
