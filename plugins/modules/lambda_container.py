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
  - What the alias calls counts, not C($LATEST). So several aliases may have a version each, of
    which only one is as the function was described last.
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
  tracing_mode:
    description: Whether calls are traced by X-Ray. V(PassThrough) if not set at creation.
    type: str
    choices: [Active, PassThrough]
  dead_letter_arn:
    description:
      - ARN of the queue or topic that gets what an asynchronous call failed at. An empty text
        removes it.
    type: str
  kms_key_arn:
    description: ARN of the KMS key that encrypts the environment variables. Empty for AWS's own.
    type: str
  reserved_concurrent_executions:
    description:
      - How many calls may run at once, which no other function can use. V(0) stops all calls, V(-1)
        ends the reservation. Not set, it is left as it is.
    type: int
  provisioned_concurrent_executions:
    description:
      - How many instances of the version behind O(alias) AWS keeps started, B(and bills), whether
        they are called or not. V(0) ends it. Not set, it is left as it is.
      - The module waits until they are ready, also after the alias has moved.
    type: int
  snap_start:
    description:
      - Lambda has no SnapStart for container images, so V(PublishedVersions) is refused before
        anything is changed. The option is there for tasks that come from functions of archives.
    type: str
    choices: ["None", PublishedVersions]
  alias:
    description: Name of the alias that points to the published version.
    type: str
    default: live
  alias_weight:
    description:
      - Share of the alias's calls, in percent, that the newest version gets, from 1 to 100. What
        the alias called before keeps the rest. A later run with another share shifts the calls
        further, and one with V(100) wholly. A version that is published meanwhile takes the place
        of the newest one.
    type: int
    default: 100
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

- name: A tenth of the calls goes to the new image
  multicompute.spin.lambda_container:
    name: demo
    image_uri: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/demo@sha256:{{ new_digest }}
    alias_weight: 10

- name: Two started instances against cold starts, and never more than twenty at once
  multicompute.spin.lambda_container:
    name: demo
    image_uri: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/demo@sha256:{{ new_digest }}
    provisioned_concurrent_executions: 2
    reserved_concurrent_executions: 20

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
  description:
    - The newest version that the alias points to, V(new) in check mode if one is published.
  returned: O(state=present)
  type: str
  sample: "7"
alias_versions:
  description: The versions that the alias calls, the newest last, with their share in percent.
  returned: O(state=present)
  type: list
  elements: dict
  sample: [{version: "6", weight: 90}, {version: "7", weight: 10}]
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
    tracing_mode: PassThrough
    dead_letter_arn: ""
    kms_key_arn: ""
    reserved_concurrent_executions: -1
    status: Active
    tags: {project: demo}
"""

import json
import re
from contextlib import suppress

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.tagging import compare_aws_tags
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api, finish
from ansible_collections.multicompute.spin.plugins.module_utils._functions import (
    CODE,
    CONCURRENCY,
    CONFIGURATION,
    NEW,
    Options,
    age,
    alias_request,
    described,
    differ,
    remaining,
    shares,
    shown_shares,
    wanted,
    wanted_shares,
)
from ansible_collections.multicompute.spin.plugins.module_utils._shapes import (
    ShapeError,
    text,
    to_api,
)
from ansible_collections.multicompute.spin.plugins.module_utils._tags import (
    TAG_OPTIONS,
    wanted_tags,
)

GONE = "ResourceNotFoundException"
ANSWER_SHOWN = 1000
NO_PROVISION = "ProvisionedConcurrencyConfigNotFoundException"
# Options that the API has one level deeper.
NESTED = {
    "dead_letter_arn": ("dead_letter_config", "target_arn"),
    "environment": ("environment", "variables"),
    "ephemeral_storage": ("ephemeral_storage", "size"),
    "tracing_mode": ("tracing_config", "mode"),
}
NOT_YET = (
    # IAM spreads a new role and its permissions within seconds.
    "The role defined for the function cannot be assumed",
    "The provided execution role does not have permissions",
    "not all are in the available life cycle state",
)
LIMITS = {
    "alias_weight": (1, 100),
    "ephemeral_storage": (512, 10240),
    "memory_size": (128, 10240),
    "provisioned_concurrent_executions": (0, 100000),
    "reserved_concurrent_executions": (-1, 100000),
    "timeout": (1, 900),
}
# Another update, by whomever, is under way.
BUSY = (*NOT_YET, "ResourceConflictException")


# What there is.


def read(api: Api, name: str, qualifier: str | None = None) -> Options:
    of: Options = {"FunctionName": name} | ({"Qualifier": qualifier} if qualifier else {})
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
    of: Options = {"registryId": account[1]} if account else {}
    about_to_be_pushed = ["ImageNotFoundException", "RepositoryNotFoundException"]
    answer = ecr.call(
        "describe_images",
        f"look up the digest of {repository}:{tag}",
        missing=about_to_be_pushed if ecr.module.check_mode else [],
        repositoryName=repository,
        imageIds=[{"imageTag": tag}],
        **of,
    )
    return answer["imageDetails"][0]["imageDigest"] if answer else f"sha256:{'0' * 64}"


def read_alias(api: Api, name: str, alias: str) -> dict[str, int]:
    doing = f"read the alias {alias} of {name}"
    return shares(api.call("get_alias", doing, missing=[GONE], FunctionName=name, Name=alias))


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
    """The versions that any alias but `alias` calls."""
    aliases = api.pages(
        "list_aliases", "Aliases", f"list the aliases of {name}", missing=[GONE], FunctionName=name
    )
    return {version for each in aliases if each["Name"] != alias for version in shares(each)}


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
    shape = api.client.meta.service_model.operation_model(operation).input_shape
    deep: Options = {}
    for option, value in options.items():
        outer, inner = NESTED.get(option, (option, None))
        deep[outer] = {inner: value} if inner else value
    return to_api(shape, deep)


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


def publish(api: Api, name: str) -> str:
    """A version of what the function is now, as soon as it can be called."""
    wait(api, "function_ready", name)
    version = api.call(
        "publish_version", f"publish a version of {name}", retry_on=BUSY, FunctionName=name
    )["Version"]
    wait(api, "function_ready", name, version)
    if event := api.module.params["warm_up"]:
        call_once(api, name, version, event)
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


def point_alias(api: Api, name: str, alias: str, versions: dict[str, int]) -> None:
    doing = f"point the alias {alias} of {name} to version {' and '.join(versions)}"
    target = {"FunctionName": name, "Name": alias, **alias_request(versions)}
    if not api.call("update_alias", doing, missing=[GONE], **target):
        # It exists after all when the answer to a first attempt was lost.
        api.call("create_alias", doing, missing=["ResourceConflictException"], **target)


def read_provisioned(api: Api, name: str, alias: str) -> int:
    answer = api.call(
        "get_provisioned_concurrency_config",
        f"read the provisioned concurrency of {name}:{alias}",
        missing=[NO_PROVISION, GONE],
        FunctionName=name,
        Qualifier=alias,
    )
    return answer.get("RequestedProvisionedConcurrentExecutions", 0)


def set_concurrency(api: Api, params: Options, old: Options, new: Options, moved: bool) -> None:
    name, alias = params["name"], params["alias"]
    reserved, provisioned = (new[option] for option in CONCURRENCY)
    if reserved != old["reserved_concurrent_executions"]:
        set_reserved(api, name, reserved)
    if provisioned != old["provisioned_concurrent_executions"]:
        set_provisioned(api, name, alias, provisioned)
    elif not (moved and provisioned):
        return
    if provisioned:
        api.wait(
            "provisioned_concurrency_ready",
            f"see the provisioned concurrency of {name}:{alias} ready",
            params["wait_timeout"],
            explain=lambda answer: answer.get("StatusReason", ""),
            FunctionName=name,
            Qualifier=alias,
        )


def set_reserved(api: Api, name: str, reserved: int) -> None:
    doing = f"set the reserved concurrency of {name}"
    if reserved < 0:
        api.call("delete_function_concurrency", doing, FunctionName=name)
        return
    too_much = "the account keeps 100 of its concurrency unreserved: ask for a higher quota"
    api.call(
        "put_function_concurrency",
        doing,
        advice={"InvalidParameterValueException": too_much},
        FunctionName=name,
        ReservedConcurrentExecutions=reserved,
    )


def set_provisioned(api: Api, name: str, alias: str, provisioned: int) -> None:
    doing = f"set the provisioned concurrency of {name}:{alias}"
    of: Options = {"FunctionName": name, "Qualifier": alias}
    if provisioned:
        api.call(
            "put_provisioned_concurrency_config",
            doing,
            retry_on=BUSY,
            ProvisionedConcurrentExecutions=provisioned,
            **of,
        )
    else:
        api.call("delete_provisioned_concurrency_config", doing, missing=[NO_PROVISION], **of)


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
    called = read_alias(api, name, alias) if latest else {}
    live = read(api, name, list(called)[-1]) if called else {}
    options = wanted(params | {"image_uri": resolved(api, params["image_uri"])}, described(latest))
    refuse(api, name, latest, options)
    versions = read_versions(api, name) if latest and keep else []
    pinned = pinned_versions(api, name, alias) if latest and keep else set()
    old = described(latest) | {
        "provisioned_concurrent_executions": 0,
        "tags": latest.get("Tags", {}),
        "alias": called,
        "versions": sorted(versions, key=age, reverse=True),
    }
    if latest and params["provisioned_concurrent_executions"] is not None:
        old["provisioned_concurrent_executions"] = read_provisioned(api, name, alias)
    new = old | options | {"status": "Active"}
    new["tags"] = wanted_tags(old["tags"], in_text(params["tags"]), params["purge_tags"])
    newest = NEW if not live or differ(described(live), new) else list(called)[-1]
    if newest != NEW:
        # $LATEST, which nobody calls, may be what another alias has.
        old |= {key: new[key] for key in (*CODE, *CONFIGURATION)}
    new["alias"] = wanted_shares(called, newest, params["alias_weight"])
    pinned |= new["alias"].keys() - {newest}
    new["versions"] = remaining(versions, pinned, newest, keep)

    shown = [*options, "status", "tags", "alias"] + ["versions"] * bool(keep)
    before = shown_state(old, shown, alias) if latest else {}
    after = shown_state(new, shown, alias)
    arn = latest.get("Configuration", {}).get("FunctionArn")
    if before != after and not api.module.check_mode:
        new["alias"] = apply(api, params, latest, old, new, pinned)
        latest = read(api, name)
        arn = latest["Configuration"]["FunctionArn"]
        new |= described(latest) | {"tags": latest.get("Tags", {})}
    finish(api.module, before, after, **result(api, params, arn, new))


def shown_state(state: Options, shown: list[str], alias: str) -> Options:
    return {key: state[key] for key in shown} | {"alias": {alias: shown_shares(state["alias"])}}


def in_text(tags: Options | None) -> dict[str, str] | None:
    return None if tags is None else {key: text(value) for key, value in tags.items()}


def refuse(api: Api, name: str, latest: Options, options: Options) -> None:
    if latest and latest["Configuration"].get("PackageType") != "Image":
        api.module.fail_json(
            msg=f"The function {name} runs a zip archive, which Lambda cannot change into an "
            "image. Choose another name, or delete the function first."
        )
    if not latest and not options.get("role"):
        api.module.fail_json(msg=f"role is needed to create the function {name}.")


def mistake(params: Options) -> str | None:
    """What AWS would refuse; check mode has to know."""
    if params["snap_start"] == "PublishedVersions":
        return (
            "Lambda has no SnapStart for functions that run a container image: leave snap_start "
            "out, and give provisioned_concurrent_executions against cold starts."
        )
    for option, (low, high) in LIMITS.items():
        if params[option] is not None and not low <= params[option] <= high:
            return f"{option} is {params[option]}: it has to be from {low} to {high}."
    if params["keep"] is not None and params["keep"] < 1:
        return "keep counts the newest version, so it is 1 or more."
    return None


def apply(
    api: Api, params: Options, latest: Options, old: Options, new: Options, pinned: set[str]
) -> dict[str, int]:
    """Make it so, and return the versions that the alias calls."""
    name, alias = params["name"], params["alias"]
    if not latest:
        create(api, name, new)
        latest = read(api, name)
        old = old | described(latest) | {"tags": latest.get("Tags", {})}
    update(api, name, old, new)
    set_tags(api, latest["Configuration"]["FunctionArn"], old["tags"], new["tags"])
    versions: dict[str, int] = new["alias"]
    if NEW in versions:
        number = publish(api, name)
        versions = {
            number if version == NEW else version: share for version, share in versions.items()
        }
    if moved := versions != old["alias"]:
        point_alias(api, name, alias, versions)
    set_concurrency(api, params, old, new, moved)
    if params["keep"]:
        left = remaining(old["versions"], pinned, list(versions)[-1], params["keep"])
        delete_versions(api, name, [each for each in old["versions"] if each not in left])
    return versions


def result(api: Api, params: Options, arn: str | None, function: Options) -> Options:
    arn = arn or api.placeholder_arn(f"function:{params['name']}")
    described = [*CODE, *CONFIGURATION, CONCURRENCY[0], "status", "tags"]
    if params[CONCURRENCY[1]] is not None:
        described.append(CONCURRENCY[1])
    return {
        "function_arn": arn,
        "alias_arn": f"{arn}:{params['alias']}",
        "version": list(function["alias"])[-1],
        "alias_versions": [
            {"version": version, "weight": weight} for version, weight in function["alias"].items()
        ],
        "function": {"name": params["name"]} | {key: function[key] for key in described},
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
            "tracing_mode": {"type": "str", "choices": ["Active", "PassThrough"]},
            "dead_letter_arn": {"type": "str"},
            "kms_key_arn": {"type": "str", "no_log": False},
            "reserved_concurrent_executions": {"type": "int"},
            "provisioned_concurrent_executions": {"type": "int"},
            "snap_start": {"type": "str", "choices": ["None", "PublishedVersions"]},
            "alias": {"type": "str", "default": "live"},
            "alias_weight": {"type": "int", "default": 100},
            "warm_up": {"type": "dict"},
            "keep": {"type": "int"},
            **TAG_OPTIONS,
            "wait_timeout": {"type": "int", "default": 300},
        },
        required_if=[("state", "present", ["image_uri"])],
        supports_check_mode=True,
    )
    if problem := mistake(module.params):
        module.fail_json(msg=problem)
    api = Api(module, "lambda")
    try:
        {"present": present, "absent": absent}[module.params["state"]](api, module.params)
    except ShapeError as error:
        module.fail_json(msg=f"The function {module.params['name']} is not valid: {error}")


if __name__ == "__main__":
    main()
