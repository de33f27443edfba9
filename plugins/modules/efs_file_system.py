#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: efs_file_system
version_added: 1.0.0
short_description: Manage an EFS file system with its mount targets and its policy
description:
  - Creates, changes and deletes an Amazon EFS file system together with everything that makes it
    usable - mount targets, file system policy, lifecycle, backup and throughput.
  - The module ends when the file system and every mount target are available, so the next task
    can mount it from any zone.
author:
  - The multicompute.spin authors (@multicompute)
options:
  name:
    description:
      - The creation token of the file system, at most 64 characters. It identifies the file system
        in its account and region, and becomes its C(Name) tag.
      - One of O(name) and O(file_system_id) is required; a file system is created only by O(name).
    type: str
    aliases: [creation_token]
  file_system_id:
    description: The ID of an existing file system, for example V(fs-0123456789abcdef0).
    type: str
    aliases: [id]
  state:
    description:
      - V(present) creates the file system or brings it into the described form.
      - V(absent) deletes the access points and the mount targets, waits until these are gone, and
        deletes the file system B(with all its data).
    type: str
    choices: [present, absent]
    default: present
  encrypted:
    description: Whether the data is encrypted at rest. It cannot be changed later.
    type: bool
    default: true
    aliases: [encrypt]
  kms_key_id:
    description:
      - ID, ARN or alias of the KMS key. It cannot be changed later. AWS takes its own EFS key
        without it.
      - An alias is used at creation only, a later run does not compare it.
    type: str
  performance_mode:
    description: It cannot be changed later. V(general_purpose) if not set.
    type: str
    choices: [general_purpose, max_io]
  throughput_mode:
    description:
      - V(bursting) if not set at creation.
      - AWS allows a change of mode, or less provisioned throughput, once in 24 hours.
    type: str
    choices: [bursting, elastic, provisioned]
  provisioned_throughput_in_mibps:
    description: Throughput in MiB/s. Required with, and only for, O(throughput_mode=provisioned).
    type: float
  availability_zone_name:
    description:
      - Makes it a One Zone file system in that zone, for example V(eu-central-1a). It cannot be
        changed later, and then there can be one mount target only.
    type: str
  lifecycle_policies:
    description:
      - When files move between storage classes. An empty dictionary ends all movement, and what is
        left out is not done. Not set, the file system keeps what it has.
    type: dict
    suboptions:
      transition_to_ia:
        description: Time without access before a file moves to Infrequent Access.
        type: str
        choices: &days
          - AFTER_1_DAY
          - AFTER_7_DAYS
          - AFTER_14_DAYS
          - AFTER_30_DAYS
          - AFTER_60_DAYS
          - AFTER_90_DAYS
          - AFTER_180_DAYS
          - AFTER_270_DAYS
          - AFTER_365_DAYS
      transition_to_archive:
        description: Time without access before a file moves to Archive. Needs elastic throughput.
        type: str
        choices: *days
      transition_to_primary_storage_class:
        description: When a file moves back to Standard.
        type: str
        choices: [AFTER_1_ACCESS]
  backup:
    description: Whether AWS Backup makes daily backups. Not set, it is left as it is.
    type: bool
  policy:
    description:
      - The file system policy, as a dictionary or JSON. An empty dictionary deletes it. Not set, it
        is left as it is.
      - Statements without C(Resource) mean this file system, so that its ARN is not needed before
        it exists.
    type: json
  mount_targets:
    description:
      - All mount targets, at most one per zone. Those not listed here are deleted. Not set, they
        are left as they are.
    type: list
    elements: dict
    aliases: [targets]
    suboptions:
      subnet_id:
        description: The subnet of the mount target.
        type: str
        required: true
      security_groups:
        description:
          - IDs of its security groups, at most five. Not set, a new one gets the default group of
            the VPC, and an existing one keeps what it has.
        type: list
        elements: str
  wait:
    description: Whether to wait until new mount targets are available or the deletion is complete.
    type: bool
    default: true
  wait_timeout:
    description: Longest time for each wait, in seconds.
    type: int
    default: 600
attributes:
  check_mode:
    description: Predicts exactly what a run would do, and makes no change.
    support: full
  diff_mode:
    description: Shows the options that were given, before and after.
    support: full
  idempotent:
    description: A second run changes nothing. Order of lists and defaults of AWS play no role.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.tags
  - amazon.aws.boto3
seealso:
  - module: multicompute.spin.efs_access_point
  - module: community.aws.efs
"""

EXAMPLES = r"""
- name: A file system in two zones that is reached over TLS only
  multicompute.spin.efs_file_system:
    name: demo-share
    throughput_mode: elastic
    lifecycle_policies:
      transition_to_ia: AFTER_30_DAYS
      transition_to_primary_storage_class: AFTER_1_ACCESS
    backup: true
    policy:
      Version: "2012-10-17"
      Statement:
        - Sid: TlsOnly
          Effect: Deny
          Principal: "*"
          Action: "*"
          Condition:
            Bool:
              aws:SecureTransport: "false"
    mount_targets:
      - subnet_id: "{{ subnet_a }}"
        security_groups: ["{{ security_group }}"]
      - subnet_id: "{{ subnet_b }}"
        security_groups: ["{{ security_group }}"]
    tags:
      project: demo
  register: share

- name: The file system and all its data are gone
  multicompute.spin.efs_file_system:
    name: demo-share
    state: absent
"""

RETURN = r"""
file_system:
  description: The file system. In check mode a new one has placeholders for what AWS assigns.
  returned: O(state=present)
  type: dict
  contains:
    file_system_id:
      description: Its ID.
      type: str
      sample: fs-0123456789abcdef0
    file_system_arn:
      description: Its ARN.
      type: str
      sample: arn:aws:elasticfilesystem:eu-central-1:123456789012:file-system/fs-0123456789abcdef0
    name:
      description: Its creation token.
      type: str
      sample: demo-share
    encrypted:
      description: Whether its data is encrypted at rest.
      type: bool
      sample: true
    kms_key_id:
      description: ARN of the KMS key.
      type: str
      sample: arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab
    performance_mode:
      description: Its performance mode.
      type: str
      sample: general_purpose
    throughput_mode:
      description: Its throughput mode.
      type: str
      sample: elastic
    provisioned_throughput_in_mibps:
      description: Provisioned throughput in MiB/s, or null.
      type: float
      sample: null
    availability_zone_name:
      description: The zone of a One Zone file system, or null.
      type: str
      sample: null
    lifecycle_policies:
      description: When files move between storage classes.
      returned: if O(lifecycle_policies) is set
      type: dict
      sample: {transition_to_ia: AFTER_30_DAYS}
    backup:
      description: Whether it is backed up daily.
      returned: if O(backup) is set
      type: bool
      sample: true
    policy:
      description: The file system policy.
      returned: if O(policy) is set
      type: dict
      sample: {Version: "2012-10-17", Statement: []}
    tags:
      description: Its tags.
      type: dict
      sample: {Name: demo-share, project: demo}
mount_targets:
  description: All mount targets, sorted by subnet.
  returned: O(state=present)
  type: list
  elements: dict
  contains:
    mount_target_id:
      description: ID of the mount target.
      type: str
      sample: fsmt-0123456789abcdef0
    subnet_id:
      description: Its subnet.
      type: str
      sample: subnet-0123456789abcdef0
    availability_zone_name:
      description: Its zone.
      type: str
      sample: eu-central-1a
    ip_address:
      description: Its address.
      type: str
      sample: 10.0.1.17
    security_groups:
      description: Its security groups.
      type: list
      elements: str
      sample: [sg-0123456789abcdef0]
"""

import json
from collections.abc import Callable
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.policy import compare_policies
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api, finish
from ansible_collections.multicompute.spin.plugins.module_utils._efs import (
    PLACEHOLDER,
    read_access_points,
    set_tags,
    wanted_tags,
)

Options = dict[str, Any]

IMMUTABLE = ("availability_zone_name", "encrypted", "kms_key_id", "performance_mode")
THROUGHPUT = ("throughput_mode", "provisioned_throughput_in_mibps")
MODES = {"general_purpose": "generalPurpose", "max_io": "maxIO"}
DAYS = [f"AFTER_{n}_DAY{'S' * (n > 1)}" for n in (1, 7, 14, 30, 60, 90, 180, 270, 365)]
TRANSITIONS = {
    "transition_to_ia": "TransitionToIA",
    "transition_to_archive": "TransitionToArchive",
    "transition_to_primary_storage_class": "TransitionToPrimaryStorageClass",
}


# What the user wants, compared with what there is: pure functions.


def wanted(params: Options, current: Options, arn: str) -> Options:
    """The given options in the form of `current`, and equal to it where they mean the same."""
    given = {
        option: params[option]
        for option in (*IMMUTABLE, *THROUGHPUT, *SETTERS)
        if params[option] is not None
    }
    if same_key(given.get("kms_key_id"), current.get("kms_key_id")):
        given["kms_key_id"] = current["kms_key_id"]
    if "lifecycle_policies" in given:
        given["lifecycle_policies"] = {k: v for k, v in given["lifecycle_policies"].items() if v}
    if "policy" in given:
        given["policy"] = wanted_policy(json.loads(given["policy"]), current.get("policy"), arn)
    if "tags" in given or not current:
        given["tags"] = wanted_tags(params, current.get("tags", {}))
    if "mount_targets" in given:
        given["mount_targets"] = wanted_targets(
            given["mount_targets"], current.get("mount_targets", [])
        )
    return given


def same_key(wanted: str | None, current: str | None) -> bool:
    """AWS answers with the ARN of the key, whether it was given ID, ARN or alias."""
    if not wanted or not current:
        return False
    return "alias/" in wanted or wanted.rsplit("/", 1)[-1] == current.rsplit("/", 1)[-1]


def wanted_policy(policy: Options, current: Options | None, arn: str) -> Options:
    """AWS fills in Id, Sid and Resource, and swaps single values and lists of one."""
    named = all("Sid" in statement for statement in statements(policy))

    def comparable(policy: Options, ignored: set[str]) -> Options:
        kept = {key: value for key, value in policy.items() if key not in ignored}
        kept["Statement"] = [
            {"Resource": arn} | {k: v for k, v in statement.items() if k != "Sid" or named}
            for statement in statements(policy)
        ]
        return kept

    if not policy or not current:
        return policy
    ignored = {"Id"} - policy.keys()
    differ = compare_policies(comparable(current, ignored), comparable(policy, ignored))
    return policy if differ else current


def statements(policy: Options) -> list[Options]:
    given = policy.get("Statement", [])
    return given if isinstance(given, list) else [given]


def wanted_targets(targets: list[Options], current: list[Options]) -> list[Options]:
    """Sorted by subnet; security groups that are not given, or not known yet, are right."""
    existing = {target["subnet_id"]: target["security_groups"] for target in current}
    given = {target["subnet_id"]: target.get("security_groups") for target in targets}
    return [
        {"subnet_id": subnet, "security_groups": wanted_groups(groups, existing.get(subnet, []))}
        for subnet, groups in sorted(given.items())
    ]


def wanted_groups(groups: list[str] | None, current: list[str] | None) -> list[str] | None:
    return sorted(groups) if groups and current is not None else current


def target_options(targets: list[Options]) -> list[Options]:
    return [{key: target[key] for key in ("subnet_id", "security_groups")} for target in targets]


def immutable_changes(current: Options, options: Options) -> list[str]:
    return [
        f"{option} is {current[option]} and would become {options[option]}"
        for option in IMMUTABLE
        if current and option in options and options[option] != current[option]
    ]


# What there is.


def find(api: Api, params: Options) -> Options:
    """The file system as AWS describes it, or nothing."""
    given = params["file_system_id"] or params["name"]
    by = "FileSystemId" if params["file_system_id"] else "CreationToken"
    found = api.pages(
        "describe_file_systems",
        "FileSystems",
        f"look for the file system {given}",
        missing=["FileSystemNotFound"],
        **{by: given},
    )
    return found[0] if found else {}


def described(found: Options) -> Options:
    """The same in the terms of the options."""
    modes = {api: option for option, api in MODES.items()}
    return {
        "name": found["CreationToken"],
        "encrypted": found.get("Encrypted", False),
        "kms_key_id": found.get("KmsKeyId"),
        "performance_mode": modes[found["PerformanceMode"]],
        "throughput_mode": found.get("ThroughputMode", "bursting"),
        "provisioned_throughput_in_mibps": found.get("ProvisionedThroughputInMibps"),
        "availability_zone_name": found.get("AvailabilityZoneName"),
        "tags": boto3_tag_list_to_ansible_dict(found["Tags"]),
    }


def read_lifecycle(api: Api, file_system_id: str) -> dict[str, str]:
    answer = api.call(
        "describe_lifecycle_configuration",
        f"read the lifecycle of {file_system_id}",
        FileSystemId=file_system_id,
    )
    # AWS keeps one entry for each transition.
    entries = {key: value for entry in answer["LifecyclePolicies"] for key, value in entry.items()}
    return {option: entries[key] for option, key in TRANSITIONS.items() if key in entries}


def read_backup(api: Api, file_system_id: str) -> bool:
    answer = api.call(
        "describe_backup_policy",
        f"read the backup policy of {file_system_id}",
        missing=["PolicyNotFound"],
        FileSystemId=file_system_id,
    )
    return answer.get("BackupPolicy", {}).get("Status") in ("ENABLED", "ENABLING")


def read_policy(api: Api, file_system_id: str) -> Options:
    answer = api.call(
        "describe_file_system_policy",
        f"read the policy of {file_system_id}",
        missing=["PolicyNotFound"],
        FileSystemId=file_system_id,
    )
    return json.loads(answer.get("Policy", "{}"))


def read_targets(api: Api, file_system_id: str) -> list[Options]:
    found = api.pages(
        "describe_mount_targets",
        "MountTargets",
        f"list the mount targets of {file_system_id}",
        missing=["FileSystemNotFound"],
        FileSystemId=file_system_id,
    )
    if any(target["LifeCycleState"] == "creating" for target in found) and may_wait(api):
        # Left so by a run that was interrupted; nothing can be said of it until it is done.
        wait_for_targets(api, file_system_id)
    targets = [
        {
            "mount_target_id": target["MountTargetId"],
            "subnet_id": target["SubnetId"],
            "availability_zone_name": target.get("AvailabilityZoneName"),
            "ip_address": target.get("IpAddress"),
            "security_groups": read_groups(api, target["MountTargetId"]),
        }
        for target in found
        if target["LifeCycleState"] not in ("deleting", "deleted")
    ]
    return sorted(targets, key=lambda target: target["subnet_id"])


def read_groups(api: Api, target_id: str) -> list[str] | None:
    answer = api.call(
        "describe_mount_target_security_groups",
        f"read the security groups of {target_id}",
        # Until it is available, a target does not tell.
        missing=["IncorrectMountTargetState", "MountTargetNotFound"],
        MountTargetId=target_id,
    )
    return sorted(answer["SecurityGroups"]) if answer else None


def read(api: Api, params: Options, found: Options) -> Options:
    """All options as they are now; what takes a call of its own only where it is asked for."""
    if not found:
        return {}
    file_system_id = found["FileSystemId"]
    current = described(found) | {"mount_targets": read_targets(api, file_system_id)}
    for option, reader in READERS.items():
        if params[option] is not None:
            current[option] = reader(api, file_system_id)
    return current


READERS = {"lifecycle_policies": read_lifecycle, "backup": read_backup, "policy": read_policy}


# What makes it so.


def creation(params: Options, options: Options) -> Options:
    given = {
        "CreationToken": params["name"],
        "Encrypted": options["encrypted"],
        "KmsKeyId": options.get("kms_key_id"),
        "PerformanceMode": MODES[options.get("performance_mode", "general_purpose")],
        "ThroughputMode": options.get("throughput_mode"),
        "ProvisionedThroughputInMibps": options.get("provisioned_throughput_in_mibps"),
        "AvailabilityZoneName": options.get("availability_zone_name"),
        "Backup": options.get("backup"),
        "Tags": ansible_dict_to_boto3_tag_list(options["tags"]),
    }
    return {key: value for key, value in given.items() if value is not None}


def create(api: Api, params: Options, options: Options) -> Options:
    api.call(
        "create_file_system",
        f"create the file system {params['name']}",
        # An attempt whose answer was lost, or another run, got through: its result is as good.
        missing=["FileSystemAlreadyExists"],
        **creation(params, options),
    )
    found = find(api, params)
    wait(api, "file_system_available", found["FileSystemId"], "available")
    return found


def set_throughput(api: Api, file_system_id: str, options: Options) -> None:
    throughput = options.get("provisioned_throughput_in_mibps")
    api.call(
        "update_file_system",
        f"change the throughput of {file_system_id}",
        advice={"TooManyRequests": "AWS allows a change of mode, or less, once in 24 hours"},
        FileSystemId=file_system_id,
        ThroughputMode=options["throughput_mode"],
        **({"ProvisionedThroughputInMibps": throughput} if throughput else {}),
    )
    wait(api, "file_system_available", file_system_id, "available")


def set_lifecycle(api: Api, file_system_id: str, _old: Any, lifecycle: dict[str, str]) -> None:
    api.call(
        "put_lifecycle_configuration",
        f"set the lifecycle of {file_system_id}",
        FileSystemId=file_system_id,
        LifecyclePolicies=[{TRANSITIONS[option]: when} for option, when in lifecycle.items()],
    )


def set_backup(api: Api, file_system_id: str, _old: Any, backup: bool) -> None:
    api.call(
        "put_backup_policy",
        f"set the backup policy of {file_system_id}",
        FileSystemId=file_system_id,
        BackupPolicy={"Status": "ENABLED" if backup else "DISABLED"},
    )


def set_policy(api: Api, file_system_id: str, _old: Any, policy: Options) -> None:
    operation = "delete_file_system_policy"
    params: Options = {}
    if policy:
        operation, params = "put_file_system_policy", {"Policy": json.dumps(policy)}
    api.call(
        operation, f"set the policy of {file_system_id}", FileSystemId=file_system_id, **params
    )


def set_targets(
    api: Api, file_system_id: str, old: list[Options] | None, targets: list[Options]
) -> None:
    existing = {target["subnet_id"]: target for target in old or []}
    stale = existing.keys() - {target["subnet_id"] for target in targets}
    # A zone holds one mount target: the old one has to be gone before the new one comes.
    delete_targets(api, [existing[subnet]["mount_target_id"] for subnet in sorted(stale)])
    for target in targets:
        current = existing.get(target["subnet_id"])
        groups = {"SecurityGroups": target["security_groups"]} if target["security_groups"] else {}
        if not current:
            request = {"FileSystemId": file_system_id, "SubnetId": target["subnet_id"]} | groups
            create_target(api, request)
        elif target["security_groups"] != current["security_groups"]:
            api.call(
                "modify_mount_target_security_groups",
                f"set the security groups of the mount target {current['mount_target_id']}",
                MountTargetId=current["mount_target_id"],
                **groups,
            )
    if targets and may_wait(api):
        wait_for_targets(api, file_system_id)


def create_target(api: Api, request: Options) -> None:
    file_system_id, subnet_id = request["FileSystemId"], request["SubnetId"]
    doing = f"create the mount target of {file_system_id} in {subnet_id}"
    if api.call("create_mount_target", doing, missing=["MountTargetConflict"], **request):
        return
    # Either the answer to a first attempt was lost, or an old one is still going.
    if subnet_id not in [target["subnet_id"] for target in read_targets(api, file_system_id)]:
        api.call(
            "create_mount_target",
            doing,
            retry_on=["MountTargetConflict"],
            advice={"MountTargetConflict": "list one subnet for each zone, all of one VPC"},
            **request,
        )


def delete_targets(api: Api, target_ids: list[str]) -> None:
    for target_id in target_ids:
        api.call(
            "delete_mount_target",
            f"delete the mount target {target_id}",
            missing=["MountTargetNotFound"],
            MountTargetId=target_id,
        )
    for target_id in target_ids:
        api.wait(
            "mount_target_deleted",
            f"see the mount target {target_id} gone",
            api.module.params["wait_timeout"],
            MountTargetId=target_id,
        )


def may_wait(api: Api) -> bool:
    return api.module.params["wait"] and not api.module.check_mode


def wait_for_targets(api: Api, file_system_id: str) -> None:
    wait(api, "mount_targets_available", file_system_id, "mountable in every zone")


def wait(api: Api, waiter: str, file_system_id: str, state: str) -> None:
    api.wait(
        waiter,
        f"see the file system {file_system_id} {state}",
        api.module.params["wait_timeout"],
        FileSystemId=file_system_id,
    )


# In the order in which they work: Archive needs elastic throughput, for example.
SETTERS: dict[str, Callable[[Api, str, Any, Any], None]] = {
    "lifecycle_policies": set_lifecycle,
    "backup": set_backup,
    "policy": set_policy,
    "tags": set_tags,
    "mount_targets": set_targets,
}


def apply(api: Api, file_system_id: str, current: Options, options: Options) -> None:
    if any(option in options and options[option] != current[option] for option in THROUGHPUT):
        set_throughput(
            api, file_system_id, {"throughput_mode": current["throughput_mode"]} | options
        )
    for option, setter in SETTERS.items():
        # A new file system has none of them, which needs no call either.
        if option in options and (options[option] or None) != (current.get(option) or None):
            setter(api, file_system_id, current.get(option), options[option])


# The two states.


def present(api: Api, params: Options) -> None:
    module = api.module
    found = find(api, params)
    if found.get("LifeCycleState") == "deleting":
        if not module.check_mode:
            wait(api, "file_system_deleted", found["FileSystemId"], "gone, to create it anew")
        found = {}
    if not found and not params["name"]:
        module.fail_json(
            msg=f"There is no file system {params['file_system_id']} in region "
            f"{api.client.meta.region_name}: check the ID, or give name to create one."
        )
    if found and found["LifeCycleState"] != "available" and not module.check_mode:
        wait(api, "file_system_available", found["FileSystemId"], "available")
    current = read(api, params, found)
    arn = found.get("FileSystemArn", api.placeholder_arn(f"file-system/fs-{PLACEHOLDER}"))
    options = wanted(params, current, arn)
    if problems := immutable_changes(current, options):
        module.fail_json(
            msg=f"EFS cannot change {found['FileSystemId']} like this: {'; '.join(problems)}. "
            "Keep the present value, or create a file system with another name."
        )
    before = {option: current[option] for option in options} if current else {}
    if "mount_targets" in before:
        before["mount_targets"] = target_options(before["mount_targets"])
    if before == options:
        finish(module, before, options, **result(found, current))
    if module.check_mode:
        finish(module, before, options, **predicted(params, found, arn, current, options))
    if not found:
        found = create(api, params, options)
        current = described(found)
    apply(api, found["FileSystemId"], current, options)
    found = find(api, params)
    finish(module, before, options, **result(found, read(api, params, found)))


def result(found: Options, current: Options) -> Options:
    ids = {"file_system_id": found["FileSystemId"], "file_system_arn": found["FileSystemArn"]}
    file_system = ids | current
    return {"mount_targets": file_system.pop("mount_targets"), "file_system": file_system}


def predicted(
    params: Options, found: Options, arn: str, current: Options, options: Options
) -> Options:
    """The result that a real run would have, with placeholders for what AWS assigns."""
    existing = {target["subnet_id"]: target for target in current.get("mount_targets", [])}
    new = {
        "mount_target_id": f"fsmt-{PLACEHOLDER}",
        "availability_zone_name": None,
        "ip_address": None,
    }
    targets = [
        existing.get(target["subnet_id"], new) | target
        for target in options.get("mount_targets", list(existing.values()))
    ]
    file_system = {"FileSystemId": f"fs-{PLACEHOLDER}", "FileSystemArn": arn} | found
    current = current or described(creation(params, options))
    return result(file_system, current | options | {"mount_targets": targets})


def absent(api: Api, params: Options) -> None:
    found = find(api, params)
    if not found:
        finish(api.module, {}, {})
    file_system_id = found["FileSystemId"]
    before: Options = {}
    if found["LifeCycleState"] != "deleting":
        targets = read_targets(api, file_system_id)
        points = read_access_points(api, file_system_id=file_system_id)
        before = {
            "file_system_id": file_system_id,
            "name": found["CreationToken"],
            "mount_targets": target_options(targets),
            "access_points": sorted(point["access_point_id"] for point in points),
        }
    if not api.module.check_mode:
        if before:
            delete(api, file_system_id, targets, before["access_points"])
        if may_wait(api):
            wait(api, "file_system_deleted", file_system_id, "gone")
    finish(api.module, before, {})


def delete(api: Api, file_system_id: str, targets: list[Options], points: list[str]) -> None:
    for access_point_id in points:
        api.call(
            "delete_access_point",
            f"delete the access point {access_point_id}",
            missing=["AccessPointNotFound"],
            AccessPointId=access_point_id,
        )
    delete_targets(api, [target["mount_target_id"] for target in targets])
    api.call(
        "delete_file_system",
        f"delete the file system {file_system_id}",
        missing=["FileSystemNotFound"],
        # It stays "in use" for moments after its last mount target.
        retry_on=["FileSystemInUse"],
        FileSystemId=file_system_id,
    )


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "aliases": ["creation_token"]},
            "file_system_id": {"type": "str", "aliases": ["id"]},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "encrypted": {"type": "bool", "default": True, "aliases": ["encrypt"]},
            "kms_key_id": {"type": "str"},
            "performance_mode": {"type": "str", "choices": list(MODES)},
            "throughput_mode": {"type": "str", "choices": ["bursting", "elastic", "provisioned"]},
            "provisioned_throughput_in_mibps": {"type": "float"},
            "availability_zone_name": {"type": "str"},
            "lifecycle_policies": {
                "type": "dict",
                "options": {
                    "transition_to_ia": {"type": "str", "choices": DAYS},
                    "transition_to_archive": {"type": "str", "choices": DAYS},
                    "transition_to_primary_storage_class": {
                        "type": "str",
                        "choices": ["AFTER_1_ACCESS"],
                    },
                },
            },
            "backup": {"type": "bool"},
            "policy": {"type": "json"},
            "mount_targets": {
                "type": "list",
                "elements": "dict",
                "aliases": ["targets"],
                "options": {
                    "subnet_id": {"type": "str", "required": True},
                    "security_groups": {"type": "list", "elements": "str"},
                },
            },
            "tags": {"type": "dict", "aliases": ["resource_tags"]},
            "purge_tags": {"type": "bool", "default": True},
            "wait": {"type": "bool", "default": True},
            "wait_timeout": {"type": "int", "default": 600},
        },
        required_one_of=[("name", "file_system_id")],
        required_if=[("throughput_mode", "provisioned", ["provisioned_throughput_in_mibps"])],
        required_by={"provisioned_throughput_in_mibps": ["throughput_mode"]},
        supports_check_mode=True,
    )
    api = Api(module, "efs")
    {"present": present, "absent": absent}[module.params["state"]](api, module.params)


if __name__ == "__main__":
    main()
