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
    (O(bucket)), and asks AWS which release each colour of the O(primitives) serves.
  - A primitive has two colours, C(blue) and C(green), with a target group
    C(<deployment>-<primitive>-<colour>) each. One is active, the other one is the standby.
  - What is not there, such as a bucket before the first deployment, is told as empty.
options:
  path:
    description: The share, on the host that this module runs on.
    type: path
  bucket:
    description: The deployment's bucket, whose C(state.json) the publisher writes after each run.
    type: str
  deployment:
    description: Name of the deployment, of its load balancer and of its cluster.
    type: str
  port:
    description: Port of the listener whose default action says which colours are active.
    type: int
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
    port: 80
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
  description:
    - What is on the share, oldest version first, and which primitives serve it, or have it as their
      standby. C(health), C(probes) and C(instance_reuse) are there where the release says so.
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
      health: {path: /healthz, codes: "200"}
      probes: [{path: /, status: "200-499", text: Hello}]
      instance_reuse: 128
      served_by: [ec2, lambda]
primitives:
  description:
    - By name, what the listener and the colours of each primitive say.
    - C(active) is the colour in the listener's default action, of two the one of greater weight;
      null if none is. C(weight) is the sum of both, or null.
    - A colour has a C(weight) if it is in the default action, a C(release) if it serves or would
      serve one, and is C(ready) if a target is in service. C(task_definition) is that of a service,
      C(version) that of a function.
  returned: success
  type: dict
  sample:
    ec2:
      active: blue
      weight: 1
      colours:
        blue:
          target_group_arn: "arn:aws:elasticloadbalancing:eu-west-1:123456789012:\
            targetgroup/demo-ec2-blue/0123456789abcdef"
          weight: 1
          release: 1.1.0
          ready: true
          task_definition: null
          version: null
          targets:
            - {id: i-0123456789abcdef0, port: 8001, state: healthy, reason: "", description: ""}
        green:
          target_group_arn: "arn:aws:elasticloadbalancing:eu-west-1:123456789012:\
            targetgroup/demo-ec2-green/0123456789abcdef"
          weight: null
          release: null
          ready: false
          task_definition: null
          version: null
          targets: []
"""

import json
from pathlib import Path
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api
from ansible_collections.multicompute.spin.plugins.module_utils._listeners import weights_of
from ansible_collections.multicompute.spin.plugins.module_utils._ports import releases_by_port
from ansible_collections.multicompute.spin.plugins.module_utils._release import status

STATE = "state.json"
NOTHING: dict[str, Any] = {"active": None, "previous": None, "releases": {}}
COLOURS = ("blue", "green")
# The best first. Whoever is draining was taken out, and serves nobody new.
STATES = ["healthy", "initial", "unhealthy", "unused", "unavailable"]
# AWS describes no more at once.
SERVICES = 10
INSTANCES = 200

Colour = dict[str, Any]
# By name of the primitive, then by colour.
Found = dict[str, dict[str, Colour]]


def published(module: AnsibleAWSModule, bucket: str) -> dict[str, Any]:
    answer = Api(module, "s3").call(
        "get_object",
        f"read {STATE} of {bucket}",
        missing=["NoSuchKey", "NoSuchBucket"],
        Bucket=bucket,
        Key=STATE,
    )
    return NOTHING | json.loads(answer["Body"].read()) if answer else NOTHING


def default_weights(elb: Api, deployment: str, port: int) -> dict[str, int]:
    """Of the target groups in the listener's default action, by ARN."""
    found = elb.call(
        "describe_load_balancers",
        f"look for load balancer {deployment}",
        missing=["LoadBalancerNotFound"],
        Names=[deployment],
    )
    for load_balancer in found.get("LoadBalancers", []):
        for listener in elb.pages(
            "describe_listeners",
            "Listeners",
            f"read the listeners of {deployment}",
            missing=["LoadBalancerNotFound"],
            LoadBalancerArn=load_balancer["LoadBalancerArn"],
        ):
            if listener["Port"] == port:
                return weights_of(listener["DefaultActions"][-1])
    return {}


def find_colours(module: AnsibleAWSModule, deployment: str, kinds: dict[str, str]) -> Found:
    """Every colour with its target group; what it serves, its kind has to say."""
    elb = Api(module, "elbv2")
    weights = default_weights(elb, deployment, module.params["port"])
    # All of the region: asked for by name, AWS refuses to tell any if one is unknown.
    arns = {
        group["TargetGroupName"]: group["TargetGroupArn"]
        for group in elb.pages("describe_target_groups", "TargetGroups", "read the target groups")
    }
    found: Found = {}
    for name, kind in kinds.items():
        found[name] = {}
        for colour in COLOURS:
            group = f"{deployment}-{name}-{colour}"
            arn = arns.get(group)
            targets = read_targets(elb, group, arn) if arn else []
            in_service = ("healthy", "unavailable") if kind == "function" else ("healthy",)
            found[name][colour] = {
                "target_group_arn": arn,
                "weight": weights.get(arn) if arn else None,
                "release": None,
                "ready": any(target["state"] in in_service for target in targets),
                "task_definition": None,
                "version": None,
                "targets": targets,
            }
    return found


def read_targets(elb: Api, group: str, arn: str) -> list[dict[str, Any]]:
    answer = elb.call(
        "describe_target_health",
        f"read the health of {group}",
        missing=["TargetGroupNotFound"],
        TargetGroupArn=arn,
    )
    return [
        {
            "id": one["Target"]["Id"],
            "port": one["Target"].get("Port"),
            "state": one["TargetHealth"]["State"],
            "reason": one["TargetHealth"].get("Reason", ""),
            "description": one["TargetHealth"].get("Description", ""),
        }
        for one in answer.get("TargetHealthDescriptions", [])
    ]


def read_instances(module: AnsibleAWSModule, _deployment: str, found: Found) -> None:
    """The tags of an instance say what it serves on the port of each target."""
    colours = [colour for pair in found.values() for colour in pair.values()]
    ids = sorted({target["id"] for colour in colours for target in colour["targets"]})
    releases: dict[tuple[str, int], str] = {}
    for first in range(0, len(ids), INSTANCES):
        some = ids[first : first + INSTANCES]
        for reservation in Api(module, "ec2").pages(
            "describe_instances",
            "Reservations",
            f"read the tags of {', '.join(some)}",
            # Asked for as IDs, one that is gone already would be an error.
            Filters=[{"Name": "instance-id", "Values": some}],
        ):
            for instance in reservation["Instances"]:
                tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
                for port, release in releases_by_port(tags).items():
                    releases[instance["InstanceId"], port] = release
    for colour in colours:
        serving = [target for target in colour["targets"] if target["state"] in STATES]
        serving.sort(key=lambda target: STATES.index(target["state"]))
        there = [releases.get((target["id"], target["port"])) for target in serving]
        colour["release"] = next((release for release in there if release), None)


def read_services(module: AnsibleAWSModule, deployment: str, found: Found) -> None:
    """The task definition of a service says what it serves."""
    ecs = Api(module, "ecs")
    colours = {
        f"{name}-{colour}": one for name, pair in found.items() for colour, one in pair.items()
    }
    names = list(colours)
    for first in range(0, len(names), SERVICES):
        answer = ecs.call(
            "describe_services",
            f"read the services of {deployment}",
            missing=["ClusterNotFoundException"],
            cluster=deployment,
            services=names[first : first + SERVICES],
        )
        for service in answer.get("services", []):
            if service["status"] == "ACTIVE" and service["desiredCount"] > 0:
                colours[service["serviceName"]] |= read_service(ecs, service)


def read_service(ecs: Api, service: dict[str, Any]) -> Colour:
    for one in service.get("deployments", []):
        if one["status"] == "PRIMARY":
            arn = one["taskDefinition"]
            definition = ecs.call(
                "describe_task_definition",
                f"read the task definition of {service['serviceName']}",
                taskDefinition=arn,
            )["taskDefinition"]
            variables = {
                variable["name"]: variable["value"]
                for container in definition["containerDefinitions"]
                for variable in container.get("environment", [])
            }
            return {"task_definition": arn, "release": variables.get("APP_RELEASE")}
    return {}


def read_functions(module: AnsibleAWSModule, deployment: str, found: Found) -> None:
    """The version behind a colour's alias says what it serves."""
    functions = Api(module, "lambda")
    for name, pair in found.items():
        for colour, one in pair.items():
            config = functions.call(
                "get_function_configuration",
                f"read {colour} of the function {name}",
                missing=["ResourceNotFoundException"],
                FunctionName=f"{deployment}-{name}",
                Qualifier=colour,
            )
            if config:
                one["version"] = config["Version"]
                variables = config.get("Environment", {}).get("Variables", {})
                one["release"] = variables.get("APP_RELEASE")


KINDS = {"instance": read_instances, "service": read_services, "function": read_functions}


def read_primitives(module: AnsibleAWSModule) -> dict[str, Any]:
    deployment = module.params["deployment"]
    kinds = {one["name"]: one["kind"] for one in module.params["primitives"] or []}
    if not kinds:
        return {}
    found = find_colours(module, deployment, kinds)
    for kind, read in KINDS.items():
        if own := {name: pair for name, pair in found.items() if kinds[name] == kind}:
            read(module, deployment, own)
    return {name: summed_up(pair) for name, pair in found.items()}


def summed_up(pair: dict[str, Colour]) -> dict[str, Any]:
    weights = {colour: one["weight"] for colour, one in pair.items() if one["weight"] is not None}
    return {
        "active": max(weights, key=lambda colour: weights[colour], default=None),
        "weight": sum(weights.values()) if weights else None,
        "colours": pair,
    }


def gather(module: AnsibleAWSModule) -> dict[str, Any]:
    params = module.params
    state = status(Path(params["path"])) if params["path"] else NOTHING
    if params["bucket"]:
        state = published(module, params["bucket"])
    primitives = read_primitives(module)
    serving = {
        name: {colour["release"] for colour in one["colours"].values()}
        for name, one in primitives.items()
    }
    releases = {
        version: release
        | {"served_by": [name for name, versions in serving.items() if version in versions]}
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
            "port": {"type": "int"},
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
        required_by={"primitives": ["deployment", "port"]},
        # A share alone needs no AWS.
        check_boto3=False,
        supports_check_mode=True,
    )
    module.exit_json(changed=False, **gather(module))


if __name__ == "__main__":
    main()
