#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: lambda_container
version_added: 1.0.0
short_description: Manage a Lambda function that runs a container image
description:
  - Creates, changes and deletes an AWS Lambda function whose code is a container image.
  - When image or configuration changed, a version is published and an alias is moved to it, once
    the version can be called. Who calls the alias sees the old version until then.
  - The image counts by its digest. A tag is looked up in Amazon ECR, so that an image pushed under
    the same tag is noticed, and the same image under another tag is not a change.
author:
  - The multicompute.spin authors (@multicompute)
options:
  name:
    description: The name of the function.
    type: str
    required: true
    aliases: [function_name]
  state:
    description:
      - V(present) creates the function or brings it into the described form.
      - V(absent) deletes it with its versions and aliases.
    type: str
    choices: [present, absent]
    default: present
  image_uri:
    description:
      - The image in Amazon ECR, with digest or tag. Required with O(state=present).
    type: str
  role:
    description: ARN of the role that the function has. Required to create it.
    type: str
    aliases: [role_arn]
  architecture:
    description: The architecture of the image. V(x86_64) if not set at creation.
    type: str
    choices: [arm64, x86_64]
    aliases: [architectures]
  description:
    description: What the function is for.
    type: str
  memory_size:
    description: Memory in MiB, 128 to 10240. V(128) if not set at creation.
    type: int
  timeout:
    description: Longest time of a call in seconds, up to 900. V(3) if not set at creation.
    type: int
  ephemeral_storage:
    description: Size of C(/tmp) in MiB, 512 to 10240. V(512) if not set at creation.
    type: int
  environment:
    description:
      - The environment variables, all of them. An empty dictionary removes them.
      - They are shown by C(--diff), so keep secrets in a store made for them.
    type: dict
    aliases: [environment_variables]
  vpc_config:
    description: The network that the function is in. Empty lists take it out of its VPC.
    type: dict
    suboptions:
      subnet_ids:
        description: IDs of its subnets.
        type: list
        elements: str
        required: true
      security_group_ids:
        description: IDs of its security groups.
        type: list
        elements: str
        required: true
  file_system_configs:
    description:
      - The EFS access point that is mounted, at most one. It needs O(vpc_config), and a mount
        target in the zone of every subnet. An empty list unmounts it.
    type: list
    elements: dict
    suboptions:
      arn:
        description: ARN of the access point.
        type: str
        required: true
      local_mount_path:
        description: Where it is mounted, below V(/mnt/).
        type: str
        required: true
  image_config:
    description:
      - What to run instead of what the image says. What is left out is as in the image, and so is
        everything with an empty dictionary.
    type: dict
    suboptions:
      entry_point:
        description: The entry point.
        type: list
        elements: str
      command:
        description: The command.
        type: list
        elements: str
      working_directory:
        description: The working directory.
        type: str
  logging_config:
    description: Where and how the function logs. What is left out stays as it is.
    type: dict
    suboptions:
      log_group:
        description: Name of the log group. V(/aws/lambda/<name>) if not set at creation.
        type: str
      log_format:
        description: V(Text) if not set at creation.
        type: str
        choices: [JSON, Text]
      application_log_level:
        description: Lowest level of the function's own messages, with V(JSON) only.
        type: str
        choices: [DEBUG, ERROR, FATAL, INFO, TRACE, WARN]
      system_log_level:
        description: Lowest level of Lambda's messages, with V(JSON) only.
        type: str
        choices: [DEBUG, INFO, WARN]
  alias:
    description: Name of the alias that points to the published version.
    type: str
    default: live
  warm_up:
    description:
      - An event that a new version is called with before the alias points to it, so that its cold
        start keeps nobody waiting.
      - If the call fails, or answers as a load balancer's target with a C(statusCode) of 500 or
        more, the alias stays where it is.
    type: dict
  keep:
    description:
      - How many published versions stay, the newest included. Older ones are deleted, unless an
        alias points to them. Not set, all stay.
    type: int
  wait_timeout:
    description: Longest time for each wait until the function can be called, in seconds.
    type: int
    default: 300
attributes:
  check_mode:
    description:
      - Predicts exactly what a run would do, even when image, role, network and share are not
        there yet. The number of a new version is not known before.
    support: full
  diff_mode:
    description: Shows the options that were given, the version of the alias, and O(keep)'s effect.
    support: full
  idempotent:
    description:
      - A second run neither updates nor publishes. Order, defaults of AWS and numbers as strings
        play no role.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.tags
  - amazon.aws.boto3
notes:
  - Options that are not set are left as they are. AWS has its defaults at creation.
  - A role that IAM has not spread yet, and mount targets that are not available yet, are retried
    for 90 seconds at most.
seealso:
  - module: amazon.aws.lambda
"""

EXAMPLES = r"""
- name: A function on Graviton that reads a share
  multicompute.spin.lambda_container:
    name: demo
    image_uri: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/demo@sha256:{{ digest }}
    role: arn:aws:iam::123456789012:role/demo
    architecture: arm64
    memory_size: 512
    timeout: 30
    environment:
      APP_SHARE: /mnt/app
    vpc_config:
      subnet_ids: ["{{ subnet_a }}", "{{ subnet_b }}"]
      security_group_ids: ["{{ security_group }}"]
    file_system_configs:
      - arn: "{{ servers.access_point.access_point_arn }}"
        local_mount_path: /mnt/app
    logging_config:
      log_group: /demo/lambda
    keep: 3
    tags:
      project: demo
  register: function

- name: The function is gone
  multicompute.spin.lambda_container:
    name: demo
    state: absent
"""

RETURN = r"""
function_arn:
  description: ARN of the function, without version. In check mode a new one has a placeholder.
  returned: O(state=present)
  type: str
  sample: arn:aws:lambda:eu-central-1:123456789012:function:demo
alias_arn:
  description: ARN of the alias, to be called.
  returned: O(state=present)
  type: str
  sample: arn:aws:lambda:eu-central-1:123456789012:function:demo:live
version:
  description: The version that the alias points to, V(new) in check mode if one is published.
  returned: O(state=present)
  type: str
  sample: "7"
function:
  description: The function in the terms of the options.
  returned: O(state=present)
  type: dict
  sample:
    name: demo
    image_uri: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/demo@sha256:0f343b0931126a20f133d67c
    architecture: arm64
    description: ""
    role: arn:aws:iam::123456789012:role/demo
    memory_size: 512
    timeout: 30
    ephemeral_storage: 512
    environment: {APP_SHARE: /mnt/app}
    vpc_config:
      subnet_ids: [subnet-0123456789abcdef0]
      security_group_ids: [sg-0123456789abcdef0]
    file_system_configs:
      - arn: arn:aws:elasticfilesystem:eu-central-1:123456789012:access-point/fsap-0123456789abcdef0
        local_mount_path: /mnt/app
    image_config: {}
    logging_config: {log_format: Text, log_group: /demo/lambda}
    status: Active
    tags: {project: demo}
"""

import json
import math
import re
from contextlib import suppress
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.tagging import compare_aws_tags
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api, finish
from ansible_collections.multicompute.spin.plugins.module_utils._shapes import (
    ShapeError,
    option_name,
    text,
    to_api,
)

Options = dict[str, Any]

CODE = ("image_uri", "architecture")
CONFIGURATION = (
    "description",
    "environment",
    "ephemeral_storage",
    "file_system_configs",
    "image_config",
    "logging_config",
    "memory_size",
    "role",
    "timeout",
    "vpc_config",
)
LEVELS = {"application_log_level", "system_log_level"}
# The version that a run publishes; its number is known afterwards.
NEW = "new"
GONE = "ResourceNotFoundException"
ANSWER_SHOWN = 1000
NOT_YET = (
    # IAM spreads a new role and its permissions within seconds.
    "The role defined for the function cannot be assumed",
    "The provided execution role does not have permissions",
    "not all are in the available life cycle state",
)
# Another update, by whomever, is under way.
BUSY = (*NOT_YET, "ResourceConflictException")


# What there is and what is wanted, in the same terms: pure functions.


def described(function: Options) -> Options:
    """What GetFunction answers; nothing gives the defaults of a new function."""
    config = function.get("Configuration", {})
    code = function.get("Code", {})
    vpc = config.get("VpcConfig", {})
    image_config = config.get("ImageConfigResponse", {}).get("ImageConfig", {})
    failed = "Failed" in (config.get("State"), config.get("LastUpdateStatus"))
    return {
        "image_uri": code.get("ResolvedImageUri") or code.get("ImageUri"),
        "architecture": config.get("Architectures", ["x86_64"])[0],
        "description": config.get("Description", ""),
        "role": config.get("Role"),
        "memory_size": config.get("MemorySize", 128),
        "timeout": config.get("Timeout", 3),
        "ephemeral_storage": config.get("EphemeralStorage", {}).get("Size", 512),
        "environment": config.get("Environment", {}).get("Variables", {}),
        "vpc_config": {
            "subnet_ids": sorted(vpc.get("SubnetIds", [])),
            "security_group_ids": sorted(vpc.get("SecurityGroupIds", [])),
        },
        "file_system_configs": [
            {"arn": mount["Arn"], "local_mount_path": mount["LocalMountPath"]}
            for mount in config.get("FileSystemConfigs", [])
        ],
        "image_config": by_option(image_config),
        "logging_config": by_option(config.get("LoggingConfig", {})),
        "status": "Failed" if failed else "Active",
    }


def set_ones(options: Options) -> Options:
    return {option: value for option, value in options.items() if value not in (None, "", [])}


def by_option(config: Options) -> Options:
    return set_ones({option_name(member): value for member, value in config.items()})


def wanted(params: Options, current: Options) -> Options:
    """The given options in the form of `current`, and equal to it where they mean the same."""
    given = {
        option: params[option] for option in (*CODE, *CONFIGURATION) if params[option] is not None
    }
    if "environment" in given:
        environment = given["environment"].items()
        given["environment"] = {k: text(v) for k, v in environment if v is not None}
    if "vpc_config" in given:
        given["vpc_config"] = {key: sorted(ids) for key, ids in given["vpc_config"].items()}
    if "image_config" in given:
        given["image_config"] = set_ones(given["image_config"])
    if "logging_config" in given:
        logging = current["logging_config"] | set_ones(given["logging_config"])
        # Text has no levels, and AWS refuses them.
        left_out = set() if logging.get("log_format") == "JSON" else LEVELS
        given["logging_config"] = {k: v for k, v in logging.items() if k not in left_out}
    return given


def wanted_tags(params: Options, current: dict[str, str]) -> dict[str, str]:
    if params["tags"] is None:
        return current
    given = {key: text(value) for key, value in params["tags"].items()}
    own = {key: value for key, value in current.items() if key.startswith("aws:")}
    return given | (own if params["purge_tags"] else current | given)


def differ(one: Options, other: Options) -> bool:
    """Whether two states of the function behave differently."""
    return any(one[key] != other[key] for key in (*CODE, *CONFIGURATION))


def remaining(versions: list[str], pinned: set[str], live: str, keep: int | None) -> list[str]:
    """The versions that stay, newest first: `keep` of them, and those that an alias points to."""
    newest_first = sorted({*versions, live}, key=age, reverse=True)
    keep = keep or len(newest_first)
    return [v for n, v in enumerate(newest_first) if n < keep or v in {*pinned, live}]


def age(version: str) -> float:
    return math.inf if version == NEW else int(version)


# What there is.


def read(api: Api, name: str, qualifier: str | None = None) -> Options:
    of = {"FunctionName": name} | ({"Qualifier": qualifier} if qualifier else {})
    return api.call("get_function", f"read the function {name}", missing=[GONE], **of)


def resolved(api: Api, image_uri: str) -> str:
    """The image by its digest, which for a tag only the registry knows."""
    address, _at, digest = image_uri.partition("@")
    registry, _slash, image = address.partition("/")
    repository, _colon, tag = image.partition(":")
    if not digest:
        digest = read_digest(Api(api.module, "ecr"), registry, repository, tag or "latest")
    return f"{registry}/{repository}@{digest}"


def read_digest(ecr: Api, registry: str, repository: str, tag: str) -> str:
    account = re.match(r"(\d{12})\.dkr\.ecr\.", registry)
    about_to_be_pushed = ["ImageNotFoundException", "RepositoryNotFoundException"]
    answer = ecr.call(
        "describe_images",
        f"look up the digest of {repository}:{tag}",
        missing=about_to_be_pushed if ecr.module.check_mode else [],
        repositoryName=repository,
        imageIds=[{"imageTag": tag}],
        **({"registryId": account[1]} if account else {}),
    )
    return answer["imageDetails"][0]["imageDigest"] if answer else f"sha256:{'0' * 64}"


def read_versions(api: Api, name: str) -> list[str]:
    found = api.pages(
        "list_versions_by_function",
        "Versions",
        f"list the versions of {name}",
        missing=[GONE],
        FunctionName=name,
    )
    return [version["Version"] for version in found if version["Version"] != "$LATEST"]


def pinned_versions(api: Api, name: str, alias: str) -> set[str]:
    """The versions that any alias calls, but for where `alias` itself points."""
    aliases = api.pages(
        "list_aliases", "Aliases", f"list the aliases of {name}", missing=[GONE], FunctionName=name
    )
    pinned = {each["FunctionVersion"] for each in aliases if each["Name"] != alias}
    for each in aliases:
        pinned |= each.get("RoutingConfig", {}).get("AdditionalVersionWeights", {}).keys()
    return pinned


# What makes it so.


def wait(api: Api, waiter: str, name: str, qualifier: str = "$LATEST") -> None:
    api.wait(
        waiter,
        f"see version {qualifier} of the function {name} ready",
        api.module.params["wait_timeout"],
        explain=lambda config: (
            config.get("LastUpdateStatusReason")
            or config.get("StateReason")
            or "a longer wait_timeout may help"
        ),
        FunctionName=name,
        Qualifier=qualifier,
    )


def request(api: Api, operation: str, options: Options) -> Options:
    """`options` as `operation` takes them."""
    nested = {"ephemeral_storage": "size", "environment": "variables"}
    shape = api.client.meta.service_model.operation_model(operation).input_shape
    return to_api(
        shape,
        {key: {nested[key]: value} if key in nested else value for key, value in options.items()},
    )


def create(api: Api, name: str, new: Options) -> None:
    defaults = described({})
    configuration = {key: new[key] for key in CONFIGURATION if new[key] != defaults[key]}
    api.call(
        "create_function",
        f"create the function {name}",
        # An attempt whose answer was lost, or another run, got through: it is updated then.
        missing=["ResourceConflictException"],
        retry_on=NOT_YET,
        FunctionName=name,
        PackageType="Image",
        Code={"ImageUri": new["image_uri"]},
        Architectures=[new["architecture"]],
        Tags=new["tags"],
        **request(api, "CreateFunction", configuration),
    )
    wait(api, "function_ready", name)


def update(api: Api, name: str, old: Options, new: Options) -> None:
    # After a failed update nothing tells which half of it is in force.
    repair = old["status"] == "Failed"
    changed = {key for key in (*CODE, *CONFIGURATION) if repair or new[key] != old[key]}
    if configuration := {key: new[key] for key in CONFIGURATION if key in changed}:
        wait(api, "function_idle", name)
        api.call(
            "update_function_configuration",
            f"change the configuration of {name}",
            retry_on=BUSY,
            FunctionName=name,
            **request(api, "UpdateFunctionConfiguration", configuration),
        )
        wait(api, "function_idle" if repair else "function_ready", name)
    if changed & set(CODE):
        wait(api, "function_idle", name)
        api.call(
            "update_function_code",
            f"change the image of {name}",
            retry_on=BUSY,
            FunctionName=name,
            ImageUri=new["image_uri"],
            Architectures=[new["architecture"]],
        )
        wait(api, "function_ready", name)


def publish(api: Api, name: str, alias: str) -> str:
    """Point the alias to what the function is now, as soon as that can be called."""
    wait(api, "function_ready", name)
    version = api.call(
        "publish_version", f"publish a version of {name}", retry_on=BUSY, FunctionName=name
    )["Version"]
    wait(api, "function_ready", name, version)
    if event := api.module.params["warm_up"]:
        call_once(api, name, version, event)
    target = {"FunctionName": name, "Name": alias, "FunctionVersion": version}
    doing = f"point the alias {alias} of {name} to version {version}"
    if not api.call("update_alias", doing, missing=[GONE], **target):
        # It exists after all when the answer to a first attempt was lost.
        api.call("create_alias", doing, missing=["ResourceConflictException"], **target)
    return version


def call_once(api: Api, name: str, version: str, event: Options) -> None:
    answer = api.call(
        "invoke",
        f"call version {version} of {name}",
        FunctionName=name,
        Qualifier=version,
        Payload=json.dumps(event),
    )
    said = answer["Payload"].read().decode(errors="replace")
    if "FunctionError" in answer or status_code(said) >= 500:
        api.module.fail_json(
            msg=f"Version {version} of {name} does not answer as it should, so the alias "
            f"{api.module.params['alias']} stays where it is. The answer: {said[:ANSWER_SHOWN]}"
        )


def status_code(answer: str) -> int:
    """That of the HTTP response in a function's answer; 0 for any other answer."""
    with suppress(ValueError, TypeError, KeyError):
        return int(json.loads(answer)["statusCode"])
    return 0


def delete_versions(api: Api, name: str, versions: list[str]) -> None:
    for version in versions:
        api.call(
            "delete_function",
            f"delete version {version} of {name}",
            missing=[GONE],
            FunctionName=name,
            Qualifier=version,
        )


def set_tags(api: Api, arn: str, old: dict[str, str], tags: dict[str, str]) -> None:
    changed, removed = compare_aws_tags(old, tags)
    if removed:
        api.call("untag_resource", f"remove tags of {arn}", Resource=arn, TagKeys=removed)
    if changed:
        api.call("tag_resource", f"tag {arn}", Resource=arn, Tags=changed)


# The two states.


def present(api: Api, params: Options) -> None:
    name, alias, keep = params["name"], params["alias"], params["keep"]
    latest = read(api, name)
    live = read(api, name, alias) if latest else {}
    options = wanted(params | {"image_uri": resolved(api, params["image_uri"])}, described(latest))
    refuse(api, name, latest, options)
    versions = read_versions(api, name) if latest and keep else []
    pinned = pinned_versions(api, name, alias) if latest and keep else set()
    old = described(latest) | {
        "tags": latest.get("Tags", {}),
        "alias": {alias: live.get("Configuration", {}).get("Version")},
        "versions": sorted(versions, key=age, reverse=True),
    }
    new = old | options | {"status": "Active", "tags": wanted_tags(params, old["tags"])}
    if not live or differ(described(live), new):
        new["alias"] = {alias: NEW}
    new["versions"] = remaining(versions, pinned, new["alias"][alias], keep)

    shown = [*options, "status", "tags", "alias"] + ["versions"] * bool(keep)
    before = {key: old[key] for key in shown} if latest else {}
    after = {key: new[key] for key in shown}
    arn = latest.get("Configuration", {}).get("FunctionArn")
    if before != after and not api.module.check_mode:
        version = apply(api, params, latest, old, new, pinned)
        latest = read(api, name)
        arn = latest["Configuration"]["FunctionArn"]
        new |= described(latest) | {"tags": latest.get("Tags", {}), "alias": {alias: version}}
    finish(api.module, before, after, **result(api, params, arn, new))


def refuse(api: Api, name: str, latest: Options, options: Options) -> None:
    if latest and latest["Configuration"].get("PackageType") != "Image":
        api.module.fail_json(
            msg=f"The function {name} runs a zip archive, which Lambda cannot change into an "
            "image. Choose another name, or delete the function first."
        )
    if not latest and not options.get("role"):
        api.module.fail_json(msg=f"role is needed to create the function {name}.")


def apply(
    api: Api, params: Options, latest: Options, old: Options, new: Options, pinned: set[str]
) -> str:
    """Make it so, and return the version that the alias points to."""
    name, alias = params["name"], params["alias"]
    if not latest:
        create(api, name, new)
        latest = read(api, name)
        old = old | described(latest) | {"tags": latest.get("Tags", {})}
    update(api, name, old, new)
    set_tags(api, latest["Configuration"]["FunctionArn"], old["tags"], new["tags"])
    version = new["alias"][alias]
    if version == NEW:
        version = publish(api, name, alias)
    if params["keep"]:
        left = remaining(old["versions"], pinned, version, params["keep"])
        delete_versions(api, name, [each for each in old["versions"] if each not in left])
    return version


def result(api: Api, params: Options, arn: str | None, function: Options) -> Options:
    arn = arn or api.placeholder_arn(f"function:{params['name']}")
    described = {key: function[key] for key in (*CODE, *CONFIGURATION, "status", "tags")}
    return {
        "function_arn": arn,
        "alias_arn": f"{arn}:{params['alias']}",
        "version": function["alias"][params["alias"]],
        "function": {"name": params["name"]} | described,
    }


def absent(api: Api, params: Options) -> None:
    name = params["name"]
    latest = read(api, name)
    if latest and not api.module.check_mode:
        api.call(
            "delete_function",
            f"delete the function {name}",
            missing=[GONE],
            retry_on=BUSY,
            FunctionName=name,
        )
    before = {"function_arn": latest["Configuration"]["FunctionArn"]} if latest else {}
    finish(api.module, before, {})


def main() -> None:
    levels = ["DEBUG", "ERROR", "FATAL", "INFO", "TRACE", "WARN"]
    strings = {"type": "list", "elements": "str"}
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True, "aliases": ["function_name"]},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "image_uri": {"type": "str"},
            "role": {"type": "str", "aliases": ["role_arn"]},
            "architecture": {
                "type": "str",
                "choices": ["arm64", "x86_64"],
                "aliases": ["architectures"],
            },
            "description": {"type": "str"},
            "memory_size": {"type": "int"},
            "timeout": {"type": "int"},
            "ephemeral_storage": {"type": "int"},
            "environment": {"type": "dict", "aliases": ["environment_variables"]},
            "vpc_config": {
                "type": "dict",
                "options": {
                    "subnet_ids": strings | {"required": True},
                    "security_group_ids": strings | {"required": True},
                },
            },
            "file_system_configs": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "arn": {"type": "str", "required": True},
                    "local_mount_path": {"type": "str", "required": True},
                },
            },
            "image_config": {
                "type": "dict",
                "options": {
                    "entry_point": strings,
                    "command": strings,
                    "working_directory": {"type": "str"},
                },
            },
            "logging_config": {
                "type": "dict",
                "options": {
                    "log_group": {"type": "str"},
                    "log_format": {"type": "str", "choices": ["JSON", "Text"]},
                    "application_log_level": {"type": "str", "choices": levels},
                    "system_log_level": {"type": "str", "choices": ["DEBUG", "INFO", "WARN"]},
                },
            },
            "alias": {"type": "str", "default": "live"},
            "warm_up": {"type": "dict"},
            "keep": {"type": "int"},
            "tags": {"type": "dict", "aliases": ["resource_tags"]},
            "purge_tags": {"type": "bool", "default": True},
            "wait_timeout": {"type": "int", "default": 300},
        },
        required_if=[("state", "present", ["image_uri"])],
        supports_check_mode=True,
    )
    if module.params["keep"] is not None and module.params["keep"] < 1:
        module.fail_json(msg="keep counts the newest version, so it is 1 or more.")
    api = Api(module, "lambda")
    try:
        {"present": present, "absent": absent}[module.params["state"]](api, module.params)
    except ShapeError as error:
        module.fail_json(msg=f"The function {module.params['name']} is not valid: {error}")


if __name__ == "__main__":
    main()
