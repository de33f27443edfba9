#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecs_task_definition
version_added: 1.0.0
short_description: Manage the revisions of an ECS task definition
description:
  - Registers a revision of an Amazon ECS task definition when, and only when, the task differs in
    anything from its newest active revision.
  - Options that are not set mean the default of AWS, not what the newest revision has - a revision
    is described as a whole.
  - Old revisions can be deregistered and deleted, so that they do not add up for years.
author:
  - The multicompute.spin authors (@multicompute)
options:
  family:
    description: The name of the task definition. Its revisions are numbered by AWS.
    type: str
    required: true
    aliases: [name]
  state:
    description:
      - V(present) makes the described task the newest revision.
      - V(absent) deregisters every revision. Tasks and services that run go on.
    type: str
    choices: [present, absent]
    default: present
  container_definitions:
    description:
      - The containers, in any order. Required with O(state=present).
      - Each is a dictionary of the fields of C(ContainerDefinition) in the ECS API, at every level
        in snake_case or as the API writes them, for example C(name), C(image), C(essential),
        C(command), C(entry_point), C(environment), C(secrets), C(port_mappings),
        C(mount_points), C(depends_on), C(health_check), C(linux_parameters),
        C(log_configuration), C(readonly_root_filesystem), C(stop_timeout), C(user).
      - C(environment) and C(secrets) may be a dictionary instead of a list of pairs.
      - Units are those of the API - C(cpu) in 1/1024 of a CPU, C(memory) in MiB, times in seconds.
    type: list
    elements: dict
    aliases: [containers]
  cpu:
    description: CPU of the task, in 1/1024 of a CPU, or like V(0.5 vCPU). Fargate needs it.
    type: str
  memory:
    description: Memory of the task, in MiB, or like V(1 GB). Fargate needs it.
    type: str
  network_mode:
    description: V(bridge) if not set. Fargate needs V(awsvpc).
    type: str
    choices: [awsvpc, bridge, host, none]
  requires_compatibilities:
    description: The launch types that the task is checked for.
    type: list
    elements: str
    choices: [EC2, EXTERNAL, FARGATE, MANAGED_INSTANCES]
    aliases: [launch_types]
  runtime_platform:
    description: What the task runs on. V(X86_64) and V(LINUX) on Fargate if not set.
    type: dict
    suboptions:
      cpu_architecture:
        description: The architecture of the image.
        type: str
        choices: [ARM64, X86_64]
      operating_system_family:
        description: The operating system, for example V(LINUX).
        type: str
  execution_role_arn:
    description: ARN of the role that ECS pulls images, reads secrets and writes logs with.
    type: str
  task_role_arn:
    description: ARN of the role that the containers have.
    type: str
  volumes:
    description:
      - The volumes that containers mount, in any order. Each is a dictionary of the fields of
        C(Volume) in the ECS API, like O(container_definitions), for example C(name), C(host),
        C(efs_volume_configuration), C(docker_volume_configuration).
    type: list
    elements: dict
  placement_constraints:
    description: Where tasks may be placed, with C(type) and C(expression). Not on Fargate.
    type: list
    elements: dict
  ephemeral_storage:
    description: The ephemeral storage of a task on Fargate.
    type: dict
    suboptions:
      size_in_gib:
        description: Its size in GiB, 21 to 200.
        type: int
        required: true
  pid_mode:
    description: The process namespace of the containers. Each has its own if not set.
    type: str
    choices: [host, task]
  ipc_mode:
    description: The IPC namespace of the containers. Not on Fargate.
    type: str
    choices: [host, none, task]
  proxy_configuration:
    description: The App Mesh proxy, as in the ECS API. Not on Fargate.
    type: dict
  keep:
    description:
      - How many revisions stay active, the newest included. Older ones are deregistered, and with
        O(delete=true) every revision of the family that is inactive is deleted.
      - Not set, all stay.
    type: int
  delete:
    description:
      - Whether deregistered revisions are deleted as well. Otherwise they stay, inactive, for ever.
    type: bool
    default: true
attributes:
  check_mode:
    description:
      - Predicts exactly what a run would do. The number of a new revision is a guess, since AWS
        does not use numbers of deleted ones again.
    support: full
  diff_mode:
    description: Shows the whole task in one normal form, and the active revisions.
    support: full
  idempotent:
    description:
      - A second run registers nothing. Order where it has no meaning, defaults of AWS, units, and
        numbers as strings play no role.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.tags
  - amazon.aws.boto3
notes:
  - A change of O(tags) alone tags the newest revision and registers none.
seealso:
  - module: community.aws.ecs_taskdefinition
"""

EXAMPLES = r"""
- name: A task on Graviton that mounts a share read-only
  multicompute.spin.ecs_task_definition:
    family: demo-app
    requires_compatibilities: [FARGATE]
    network_mode: awsvpc
    cpu: 256
    memory: 512
    runtime_platform:
      cpu_architecture: ARM64
    execution_role_arn: arn:aws:iam::123456789012:role/demo-execution
    task_role_arn: arn:aws:iam::123456789012:role/demo-app
    volumes:
      - name: share
        efs_volume_configuration:
          file_system_id: fs-0123456789abcdef0
          transit_encryption: ENABLED
          authorization_config:
            access_point_id: fsap-0123456789abcdef0
            iam: ENABLED
    container_definitions:
      - name: app
        image: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/demo@sha256:{{ digest }}
        readonly_root_filesystem: true
        port_mappings:
          - container_port: 8000
        environment:
          APP_SHARE: /mnt/app
        mount_points:
          - source_volume: share
            container_path: /mnt/app
            read_only: true
    keep: 5
    tags:
      project: demo
  register: task

- name: The service runs the newest revision
  community.aws.ecs_service:
    name: demo
    cluster: demo
    task_definition: "{{ task.task_definition.family_revision }}"
    desired_count: 2
    state: present

- name: No revision is left
  multicompute.spin.ecs_task_definition:
    family: demo-app
    state: absent
"""

RETURN = r"""
task_definition:
  description:
    - The newest active revision, as AWS describes it, in snake_case.
    - In check mode a new revision has the described fields and placeholders for what AWS assigns.
  returned: O(state=present)
  type: dict
  contains:
    family:
      description: Its family.
      type: str
      sample: demo-app
    revision:
      description: Its number.
      type: int
      sample: 7
    family_revision:
      description: Both, as services and tasks refer to it.
      type: str
      sample: demo-app:7
    task_definition_arn:
      description: Its ARN.
      type: str
      sample: arn:aws:ecs:eu-central-1:123456789012:task-definition/demo-app:7
    container_definitions:
      description: Its containers.
      type: list
      elements: dict
      sample: [{name: app, image: demo, essential: true}]
    tags:
      description: Its tags.
      type: dict
      sample: {project: demo}
"""

import copy
import json
import re
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
    compare_aws_tags,
)
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api, finish
from ansible_collections.multicompute.spin.plugins.module_utils._shapes import (
    ShapeError,
    check,
    to_api,
    to_options,
)

Options = dict[str, Any]

DESCRIPTION = (
    "container_definitions",
    "cpu",
    "ephemeral_storage",
    "execution_role_arn",
    "ipc_mode",
    "memory",
    "network_mode",
    "pid_mode",
    "placement_constraints",
    "proxy_configuration",
    "requires_compatibilities",
    "runtime_platform",
    "task_role_arn",
    "volumes",
)
# What AWS takes where nothing is given: shape and member in botocore's model.
# Booleans are false and lists empty without being named here.
DEFAULTS = {
    ("ContainerDefinition", "cpu"): 0,
    ("ContainerDefinition", "essential"): True,
    ("ContainerDefinition", "versionConsistency"): "enabled",
    ("EFSAuthorizationConfig", "iam"): "DISABLED",
    ("EFSVolumeConfiguration", "rootDirectory"): "/",
    ("EFSVolumeConfiguration", "transitEncryption"): "DISABLED",
    ("HealthCheck", "interval"): 30,
    ("HealthCheck", "retries"): 3,
    ("HealthCheck", "startPeriod"): 0,
    ("HealthCheck", "timeout"): 5,
    ("PortMapping", "protocol"): "tcp",
}
FARGATE_DEFAULTS = {
    ("RegisterTaskDefinitionRequest", "networkMode"): "awsvpc",
    ("RuntimePlatform", "cpuArchitecture"): "X86_64",
    ("RuntimePlatform", "operatingSystemFamily"): "LINUX",
}
EC2_DEFAULTS = {("RegisterTaskDefinitionRequest", "networkMode"): "bridge"}
# Lists whose order has a meaning.
ORDERED = {"command", "entryPoint", "environmentFiles", "dnsServers", "dnsSearchDomains"}


# One normal form of a task, for what is wanted and what there is: pure functions.


def normal(shape: Any, task: Options) -> Options:
    """`task` in the API's form without defaults, and sorted where order has no meaning."""
    fargate = "FARGATE" in (task.get("requiresCompatibilities") or [])
    defaults = DEFAULTS | (FARGATE_DEFAULTS if fargate else EC2_DEFAULTS)
    mode = task.get("networkMode") or defaults[shape.name, "networkMode"]
    task = copy.deepcopy(task)
    for member, unit in (("cpu", "vcpu"), ("memory", "gb")):
        task[member] = plain_number(task.get(member) or "", unit)
    for container in task.get("containerDefinitions") or []:
        for port in container.get("portMappings") or []:
            # In these modes the host has the port of the container; in bridge mode, 0 is any.
            implied = port.get("containerPort") if mode in ("awsvpc", "host") else 0
            if port.get("hostPort") == implied:
                del port["hostPort"]
    return without_defaults(shape, task, defaults)


def plain_number(text: str, unit: str) -> str:
    """1 vCPU and 1 GB are other words for 1024."""
    match = re.fullmatch(rf"([0-9.]+) *{unit}", text.strip().lower())
    return str(round(float(match[1]) * 1024)) if match else text.strip()


def without_defaults(shape: Any, task: Any, defaults: dict[tuple[str, str], Any]) -> Any:
    if shape.type_name != "structure":
        return task
    kept = {}
    for member, value in task.items():
        inner = shape.members.get(member)
        if value is None or not inner:
            continue
        if inner.type_name == "structure":
            value = without_defaults(inner, value, defaults)
        elif inner.type_name == "list":
            value = [without_defaults(inner.member, item, defaults) for item in value]
            if member not in ORDERED:
                value.sort(key=lambda item: json.dumps(item, sort_keys=True))
        default = defaults.get((shape.name, member), False if inner.type_name == "boolean" else "")
        # 0 equals False for Python, but not for a container.
        if value not in ([], {}) and (value, type(value)) != (default, type(default)):
            kept[member] = value
    return kept


def wanted_tags(params: Options, current: dict[str, str]) -> dict[str, str]:
    current = {key: value for key, value in current.items() if not key.startswith("aws:")}
    if params["tags"] is None:
        return current
    given = {key: str(value) for key, value in params["tags"].items()}
    return given if params["purge_tags"] else current | given


def described(api: Api, task: Options, tags: dict[str, str]) -> Options:
    """A revision for the result."""
    options = to_options(request_shape(api), task)
    return {option: options.get(option) for option in DESCRIPTION} | {
        "family": task["family"],
        "revision": task["revision"],
        "family_revision": f"{task['family']}:{task['revision']}",
        "task_definition_arn": task["taskDefinitionArn"],
        "status": task["status"],
        "tags": tags,
    }


# What there is, and what makes it so.


def request_shape(api: Api) -> Any:
    model = api.client.meta.service_model
    return model.operation_model("RegisterTaskDefinition").input_shape


def number(arn: str) -> int:
    return int(arn.rsplit(":", 1)[-1])


def revisions(api: Api, family: str, status: str) -> list[str]:
    """ARNs of the family's revisions, newest first."""
    arns = api.pages(
        "list_task_definitions",
        "taskDefinitionArns",
        f"list the revisions of {family}",
        familyPrefix=family,
        status=status,
    )
    own = [arn for arn in arns if arn.rsplit("/", 1)[-1].rsplit(":", 1)[0] == family]
    return sorted(own, key=number, reverse=True)


def read(api: Api, arn: str) -> tuple[Options, dict[str, str]]:
    """The revision and its tags."""
    answer = api.call(
        "describe_task_definition", f"read {arn}", taskDefinition=arn, include=["TAGS"]
    )
    return answer["taskDefinition"], boto3_tag_list_to_ansible_dict(answer.get("tags", []))


def register(api: Api, request: Options, tags: dict[str, str]) -> Options:
    tagged: Options = {"tags": tag_list(tags)} if tags else {}
    # ECS knows no token for a repeated request: when an answer is lost, botocore must not ask
    # again, and the next run finds what was registered.
    answer = Api(api.module, "ecs", retries={"total_max_attempts": 1}).call(
        "register_task_definition",
        f"register a revision of {request['family']}",
        retry_on=["Too many concurrent attempts to create a new revision"],
        **request,
        **tagged,
    )
    return answer["taskDefinition"]


def tag_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return ansible_dict_to_boto3_tag_list(tags, "key", "value")


def set_tags(api: Api, arn: str, old: dict[str, str], tags: dict[str, str]) -> None:
    changed, removed = compare_aws_tags(old, tags)
    if removed:
        api.call("untag_resource", f"remove tags of {arn}", resourceArn=arn, tagKeys=removed)
    if changed:
        api.call("tag_resource", f"tag {arn}", resourceArn=arn, tags=tag_list(changed))


def deletable(api: Api, params: Options) -> list[str]:
    """What is deregistered and yet to be deleted."""
    return revisions(api, params["family"], "INACTIVE") if params["delete"] else []


def retire(api: Api, active: list[str], inactive: list[str]) -> None:
    """Deregister, and delete what is deregistered."""
    for arn in active:
        api.call("deregister_task_definition", f"deregister {arn}", taskDefinition=arn)
    if not api.module.params["delete"]:
        return
    arns = [*active, *inactive]
    # AWS takes ten in a call.
    for first in range(0, len(arns), 10):
        some = arns[first : first + 10]
        answer = api.call(
            "delete_task_definitions", f"delete {', '.join(some)}", taskDefinitions=some
        )
        if failures := answer.get("failures"):
            reasons = "; ".join(f"{item.get('arn')}: {item.get('reason')}" for item in failures)
            api.module.fail_json(
                msg=f"Could not delete deregistered revisions: {reasons}. Try again, "
                "or leave them inactive with delete: false."
            )


# The two states.


def present(api: Api, params: Options) -> None:
    shape = request_shape(api)
    request = wanted(api.module, shape, params)
    active = revisions(api, params["family"], "ACTIVE")
    # A run that was interrupted may have left some.
    inactive = deletable(api, params) if params["keep"] else []
    newest, old_tags = read(api, active[0]) if active else ({}, {})
    tags = wanted_tags(params, old_tags)
    old_task, task = normal(shape, newest), normal(shape, request)
    new = task != old_task
    stay = active[: params["keep"] - new] if params["keep"] else active
    before = state(shape, old_task, old_tags, active) if active else {}
    after = state(shape, task, tags, stay)
    if inactive:
        before["inactive_revisions"] = [number(arn) for arn in inactive]
        after["inactive_revisions"] = []
    after["active_revisions"] = ["new"] * new + after["active_revisions"]
    revision = predicted(api, request, active) if new else newest
    if not api.module.check_mode:
        if new:
            revision = register(api, request, tags)
        else:
            set_tags(api, active[0], old_tags, tags)
        retire(api, active[len(stay) :], inactive)
    finish(api.module, before, after, task_definition=described(api, revision, tags))


def wanted(module: AnsibleAWSModule, shape: Any, params: Options) -> Options:
    """The request that registers the task, refused here if AWS would refuse its form."""
    options = {option: params[option] for option in ("family", *DESCRIPTION)}
    try:
        request = to_api(shape, options)
        check(shape, request)
    except ShapeError as error:
        module.fail_json(msg=f"The task definition {params['family']} is not valid: {error}")
    return request


def state(shape: Any, task: Options, tags: dict[str, str], active: list[str]) -> Options:
    numbers = [number(arn) for arn in active]
    return {"task": to_options(shape, task), "tags": tags, "active_revisions": numbers}


def predicted(api: Api, request: Options, active: list[str]) -> Options:
    revision = number(active[0]) + 1 if active else 1
    arn = api.placeholder_arn(f"task-definition/{request['family']}:{revision}")
    return request | {"revision": revision, "taskDefinitionArn": arn, "status": "ACTIVE"}


def absent(api: Api, params: Options) -> None:
    active = revisions(api, params["family"], "ACTIVE")
    inactive = deletable(api, params)
    if not api.module.check_mode:
        retire(api, active, inactive)
    before = {
        "active_revisions": [number(arn) for arn in active],
        "inactive_revisions": [number(arn) for arn in inactive],
    }
    finish(api.module, before if active or inactive else {}, {})


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "family": {"type": "str", "required": True, "aliases": ["name"]},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "container_definitions": {
                "type": "list",
                "elements": "dict",
                "aliases": ["containers"],
            },
            "cpu": {"type": "str"},
            "memory": {"type": "str"},
            "network_mode": {"type": "str", "choices": ["awsvpc", "bridge", "host", "none"]},
            "requires_compatibilities": {
                "type": "list",
                "elements": "str",
                "choices": ["EC2", "EXTERNAL", "FARGATE", "MANAGED_INSTANCES"],
                "aliases": ["launch_types"],
            },
            "runtime_platform": {
                "type": "dict",
                "options": {
                    "cpu_architecture": {"type": "str", "choices": ["ARM64", "X86_64"]},
                    "operating_system_family": {"type": "str"},
                },
            },
            "execution_role_arn": {"type": "str"},
            "task_role_arn": {"type": "str"},
            "volumes": {"type": "list", "elements": "dict"},
            "placement_constraints": {"type": "list", "elements": "dict"},
            "ephemeral_storage": {
                "type": "dict",
                "options": {"size_in_gib": {"type": "int", "required": True}},
            },
            "pid_mode": {"type": "str", "choices": ["host", "task"]},
            "ipc_mode": {"type": "str", "choices": ["host", "none", "task"]},
            "proxy_configuration": {"type": "dict"},
            "keep": {"type": "int"},
            "delete": {"type": "bool", "default": True},
            "tags": {"type": "dict", "aliases": ["resource_tags"]},
            "purge_tags": {"type": "bool", "default": True},
        },
        required_if=[("state", "present", ["container_definitions"])],
        supports_check_mode=True,
    )
    if module.params["keep"] is not None and module.params["keep"] < 1:
        module.fail_json(msg="keep counts the newest revision, so it is 1 or more.")
    api = Api(module, "ecs")
    {"present": present, "absent": absent}[module.params["state"]](api, module.params)


if __name__ == "__main__":
    main()
