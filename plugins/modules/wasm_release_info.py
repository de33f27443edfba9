#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: wasm_release_info
short_description: Tell which releases of a WebAssembly app are there, and who serves which
version_added: 1.0.0
author:
  - The multicompute.spin authors (@multicompute)
description:
  - Reads the releases from the share itself (O(path)), or from what its publisher said last
    (O(bucket)), and asks AWS which release each of the O(primitives) serves.
  - What is not there, such as a bucket before the first deployment, is told as empty.
options:
  path:
    description: The share, on the host that this module runs on.
    type: path
  bucket:
    description: The deployment's bucket, whose C(state.json) the publisher writes after each run.
    type: str
  deployment:
    description: Name of the deployment; names of target groups and functions begin with it.
    type: str
  primitives:
    description: The primitives to ask about. Their names are those of the deployment's inventory.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the primitive.
        type: str
        required: true
      kind:
        description: What it is.
        type: str
        choices: [instance, service, function]
        required: true
attributes:
  check_mode:
    support: full
    description: Nothing is ever changed.
  diff_mode:
    support: none
    description: Nothing is ever changed.
  idempotent:
    support: full
    description: Nothing is ever changed.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
seealso:
  - module: multicompute.spin.wasm_release
"""

EXAMPLES = r"""
- name: See what is on the share of this machine
  multicompute.spin.wasm_release_info:
    path: /mnt/app

- name: See what the primitives of a deployment serve
  multicompute.spin.wasm_release_info:
    bucket: demo-123456789012-eu-west-1
    deployment: demo
    primitives:
      - {name: ec2, kind: instance}
      - {name: lambda, kind: function}
"""

RETURN = r"""
active:
  description: The version that C(current) points to, or null.
  returned: success
  type: str
  sample: 1.1.0
previous:
  description: The version that was active before, and to which a rollback leads, or null.
  returned: success
  type: str
  sample: 1.0.0
releases:
  description: What is on the share, oldest version first, and by whom each is served.
  returned: success
  type: dict
  sample:
    1.1.0:
      sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
      files:
        app.wasm: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
      git_revision: null
      built_at: "2026-01-02T03:04:05Z"
      published_by: arn:aws:iam::123456789012:user/ann
      published_at: "2026-01-02T03:05:00Z"
      served_by: [ec2, lambda]
primitives:
  description:
    - The releases that each primitive serves, the one that gets new requests first. Several during
      a roll; none where it is not there.
  returned: success
  type: dict
  sample:
    ec2: [1.1.0]
    lambda: [1.1.0]
"""

import json
from pathlib import Path
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api
from ansible_collections.multicompute.spin.plugins.module_utils._ports import releases_by_port
from ansible_collections.multicompute.spin.plugins.module_utils._release import status

STATE = "state.json"
NOTHING: dict[str, Any] = {"active": None, "previous": None, "releases": {}}
ALIAS = "live"


def published(module: AnsibleAWSModule, bucket: str) -> dict[str, Any]:
    answer = Api(module, "s3").call(
        "get_object",
        f"read {STATE} of {bucket}",
        missing=["NoSuchKey", "NoSuchBucket"],
        Bucket=bucket,
        Key=STATE,
    )
    return NOTHING | json.loads(answer["Body"].read()) if answer else NOTHING


def distinct(releases: Any) -> list[str]:
    return list(dict.fromkeys(release for release in releases if release))


def of_instance(module: AnsibleAWSModule, deployment: str, name: str) -> list[str]:
    """What the tags of its instances say, the ports in the target group first."""
    reservations = Api(module, "ec2").pages(
        "describe_instances",
        "Reservations",
        f"find the instances of {name}",
        Filters=[
            {"Name": "tag:Name", "Values": [f"{deployment}-{name}"]},
            {"Name": "tag:multicompute:deployment", "Values": [deployment]},
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ],
    )
    releases = {
        (instance["InstanceId"], port): release
        for reservation in reservations
        for instance in reservation["Instances"]
        for port, release in releases_by_port(
            {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
        ).items()
    }
    elb = Api(module, "elbv2")
    groups = elb.call(
        "describe_target_groups",
        f"find the target group of {name}",
        missing=["TargetGroupNotFound"],
        Names=[f"{deployment}-{name}"],
    ).get("TargetGroups", [])
    states = {
        (one["Target"]["Id"], one["Target"]["Port"]): one["TargetHealth"]["State"]
        for group in groups
        for one in elb.call(
            "describe_target_health",
            f"read the health of {name}",
            TargetGroupArn=group["TargetGroupArn"],
        )["TargetHealthDescriptions"]
    }
    order = ["healthy", "initial", "unhealthy", "unused", "unavailable", "draining", ""]
    return distinct(
        releases[port]
        for port in sorted(releases, key=lambda port: order.index(states.get(port, "")))
    )


def of_service(module: AnsibleAWSModule, deployment: str, name: str) -> list[str]:
    """What the task definitions of its deployments say, the primary one first."""
    ecs = Api(module, "ecs")
    services = ecs.call(
        "describe_services",
        f"read the service {name}",
        missing=["ClusterNotFoundException"],
        cluster=deployment,
        services=[name],
    ).get("services", [])
    deployments = [
        one
        for service in services
        if service["status"] != "INACTIVE"
        for one in service.get("deployments", [])
    ]
    deployments.sort(key=lambda one: one["status"] != "PRIMARY")
    releases = []
    for one in deployments:
        definition = ecs.call(
            "describe_task_definition",
            f"read the task definition of {name}",
            taskDefinition=one["taskDefinition"],
        )["taskDefinition"]
        releases += [
            variable["value"]
            for container in definition["containerDefinitions"]
            for variable in container.get("environment", [])
            if variable["name"] == "APP_RELEASE"
        ]
    return distinct(releases)


def of_function(module: AnsibleAWSModule, deployment: str, name: str) -> list[str]:
    """What the version behind the alias says."""
    config = Api(module, "lambda").call(
        "get_function_configuration",
        f"read the function {name}",
        missing=["ResourceNotFoundException"],
        FunctionName=f"{deployment}-{name}",
        Qualifier=ALIAS,
    )
    return distinct([config.get("Environment", {}).get("Variables", {}).get("APP_RELEASE")])


KINDS = {"instance": of_instance, "service": of_service, "function": of_function}


def gather(module: AnsibleAWSModule) -> dict[str, Any]:
    params = module.params
    state = status(Path(params["path"])) if params["path"] else NOTHING
    if params["bucket"]:
        state = published(module, params["bucket"])
    primitives = {
        one["name"]: KINDS[one["kind"]](module, params["deployment"], one["name"])
        for one in params["primitives"] or []
    }
    releases = {
        version: release
        | {"served_by": [name for name, serving in primitives.items() if version in serving]}
        for version, release in state["releases"].items()
    }
    return {
        "active": state["active"],
        "previous": state["previous"],
        "releases": releases,
        "primitives": primitives,
    }


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "path": {"type": "path"},
            "bucket": {"type": "str"},
            "deployment": {"type": "str"},
            "primitives": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "name": {"type": "str", "required": True},
                    "kind": {"type": "str", "required": True, "choices": list(KINDS)},
                },
            },
        },
        mutually_exclusive=[("path", "bucket")],
        required_one_of=[("path", "bucket")],
        required_by={"primitives": ["deployment"]},
        # A share alone needs no AWS.
        check_boto3=False,
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **gather(module))


if __name__ == "__main__":
    main()
