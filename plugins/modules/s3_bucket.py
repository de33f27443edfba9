#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: s3_bucket
version_added: 1.0.0
short_description: Manage a private S3 bucket
description:
  - Creates, changes and deletes an Amazon S3 bucket that only its own account can use.
  - All public access is blocked, requests without TLS are denied by the bucket policy, and what is
    stored is encrypted. There are no options to weaken this; what was changed by someone else is
    put right.
  - Other statements of the bucket policy and other lifecycle rules are left as they are, so is
    default encryption by a KMS key.
author:
  - The multicompute.spin authors (@multicompute)
options:
  name:
    description:
      - Name of the bucket, 3 to 63 lower-case letters, digits, hyphens and dots. It is unique
        worldwide.
    type: str
    required: true
  state:
    description:
      - V(present) creates the bucket or brings it into the described form.
      - V(absent) deletes it.
    type: str
    choices: [present, absent]
    default: present
  versioning:
    description:
      - Whether former versions of objects are kept. A new bucket keeps none if this is not set, an
        existing one is left as it is.
      - Once it was on, V(false) suspends it; the versions that are there stay.
    type: bool
  expiration:
    description:
      - Deletes objects some time after they were written, and former versions as long after they
        were replaced. Not set, it is left as it is.
    type: dict
    suboptions:
      days:
        description: After how many days. V(0) ends the expiration.
        type: int
        required: true
      prefix:
        description: Only objects whose key begins with this. All objects if it is empty.
        type: str
        default: ""
  force:
    description:
      - Whether O(state=absent) deletes a bucket that holds objects, B(with all objects and all
        their versions).
    type: bool
    default: false
attributes:
  check_mode:
    description: Predicts exactly what a run would do, and makes no change.
    support: full
  diff_mode:
    description: Shows the protections and the options that were given, before and after.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
notes:
  - The bucket has to belong to the account of the credentials. A bucket of that name in another
    account is an error, even if its owner lets this account write to it.
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.tags
  - amazon.aws.boto3
seealso:
  - module: amazon.aws.s3_bucket
"""

EXAMPLES = r"""
- name: A private bucket whose uploads are deleted after a month
  multicompute.spin.s3_bucket:
    name: demo-releases-eu
    versioning: true
    expiration:
      prefix: uploads/
      days: 30
    tags:
      project: demo
  register: releases

- name: The bucket and everything in it are gone
  multicompute.spin.s3_bucket:
    name: demo-releases-eu
    state: absent
    force: true
"""

RETURN = r"""
bucket:
  description: The bucket.
  returned: O(state=present)
  type: dict
  contains:
    name:
      description: Its name.
      type: str
      sample: demo-releases-eu
    arn:
      description: Its ARN.
      type: str
      sample: arn:aws:s3:::demo-releases-eu
    region:
      description: Its region.
      type: str
      sample: eu-central-1
    public_access_blocked:
      description: Whether all public access is blocked.
      type: bool
      sample: true
    tls_only:
      description: Whether requests without TLS are denied.
      type: bool
      sample: true
    encryption:
      description: The default encryption.
      type: str
      sample: AES256
    versioning:
      description: Whether former versions of objects are kept.
      type: bool
      sample: true
    expiration:
      description: When objects are deleted, or null.
      type: dict
      sample: {prefix: uploads/, days: 30}
    tags:
      description: Its tags.
      type: dict
      sample: {project: demo}
"""

import json
import re
from collections.abc import Callable
from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.policy import compare_policies
from ansible_collections.amazon.aws.plugins.module_utils.tagging import (
    ansible_dict_to_boto3_tag_list,
    boto3_tag_list_to_ansible_dict,
)
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api, finish
from ansible_collections.multicompute.spin.plugins.module_utils._tags import (
    TAG_OPTIONS,
    wanted_tags,
)

NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
NOTHING_PUBLIC = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}
TLS_SID = "DenyInsecureTransport"
RULE_ID = "multicompute-expiration"
# A bucket that was just created is not known everywhere at once, and takes one change at a time.
UNSETTLED = ["NoSuchBucket:", "OperationAborted:"]
BATCH = 1000  # S3 lists and deletes no more at once.
Options = dict[str, Any]


# What AWS answers, in the terms of the options.


def described(bucket: str, answers: dict[str, dict[str, Any]], partition: str) -> Options:
    blocked = answers["public_access_block"].get("PublicAccessBlockConfiguration", {})
    encryption = answers["encryption"].get("ServerSideEncryptionConfiguration", {"Rules": []})
    return {
        "name": bucket,
        "public_access_blocked": blocked == NOTHING_PUBLIC,
        "tls_only": is_tls_only(bucket, policy(answers), partition),
        "encryption": algorithm(encryption["Rules"]),
        "versioning": answers["versioning"].get("Status") == "Enabled",
        "expiration": expiration(answers["lifecycle"].get("Rules", [])),
        "tags": boto3_tag_list_to_ansible_dict(answers["tagging"].get("TagSet", [])),
    }


def policy(answers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return json.loads(answers["policy"].get("Policy", '{"Version": "2012-10-17", "Statement": []}'))


def statements(policy: dict[str, Any]) -> list[dict[str, Any]]:
    given = policy["Statement"]
    return given if isinstance(given, list) else [given]


def is_tls_only(bucket: str, policy: dict[str, Any], partition: str) -> bool:
    ours = tls_statement(bucket, partition)
    return any(
        not compare_policies(statement | {"Sid": TLS_SID}, ours) for statement in statements(policy)
    )


def algorithm(rules: list[dict[str, Any]]) -> str | None:
    defaults = [rule.get("ApplyServerSideEncryptionByDefault", {}) for rule in rules]
    return next((default["SSEAlgorithm"] for default in defaults if default), None)


def expiration(rules: list[dict[str, Any]]) -> Options | None:
    """Our rule as the option; what someone else made of it as it is."""
    for rule in rules:
        if rule.get("ID") == RULE_ID:
            only = {"Prefix": ""} | rule.get("Filter", {})
            days = rule.get("Expiration", {}).get("Days", 0)
            as_given = expiration_rule(only["Prefix"], days) == rule | {"Filter": only}
            return {"prefix": only["Prefix"], "days": days} if as_given else rule
    return None


# What the user wants.


def wanted(params: Options, current: Options) -> Options:
    """The protections and the given options in the form of `current`."""
    options = {
        "name": params["name"],
        "public_access_blocked": True,
        "tls_only": True,
        "encryption": current.get("encryption") or "AES256",
    }
    if params["versioning"] is not None:
        options["versioning"] = params["versioning"]
    if params["expiration"] is not None:
        options["expiration"] = params["expiration"] if params["expiration"]["days"] else None
    if params["tags"] is not None:
        options["tags"] = wanted_tags(current.get("tags", {}), params["tags"], params["purge_tags"])
    return options


def tls_statement(bucket: str, partition: str) -> dict[str, Any]:
    arn = f"arn:{partition}:s3:::{bucket}"
    return {
        "Sid": TLS_SID,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, f"{arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def with_tls_only(bucket: str, policy: dict[str, Any], partition: str) -> dict[str, Any]:
    others = [statement for statement in statements(policy) if statement.get("Sid") != TLS_SID]
    return policy | {"Statement": [*others, tls_statement(bucket, partition)]}


def expiration_rule(prefix: str, days: int) -> dict[str, Any]:
    return {
        "ID": RULE_ID,
        "Status": "Enabled",
        "Filter": {"Prefix": prefix},
        "Expiration": {"Days": days},
        "NoncurrentVersionExpiration": {"NoncurrentDays": days},
    }


def location(region: str) -> dict[str, Any]:
    """S3's first region is the only one that must not be named."""
    if region == "us-east-1":
        return {}
    return {"CreateBucketConfiguration": {"LocationConstraint": region}}


# What AWS is asked.


class Bucket:
    def __init__(self, api: Api, name: str) -> None:
        self.api = api
        self.name = name
        self.region = api.client.meta.region_name
        self.partition = api.client.meta.partition
        self.answers: dict[str, dict[str, Any]] = {}

    def ask(self, operation: str, doing: str, **params: Any) -> dict[str, Any]:
        doing = f"{doing} the bucket {self.name}"
        return self.api.call(operation, doing, Bucket=self.name, **params)

    def change(self, operation: str, what: str, **params: Any) -> None:
        self.ask(operation, f"set {what} of", retry_on=UNSETTLED, **params)

    def exists(self) -> bool:
        """Whether our account has it. Someone else could own that name, and even let us write."""
        account = Api(self.api.module, "sts").call(
            "get_caller_identity", "find out the account of the credentials"
        )["Account"]
        foreign = (
            "the name belongs to another account, or these credentials are not allowed "
            f"s3:ListBucket on {self.name}: choose another name or allow it"
        )
        found = self.ask(
            "head_bucket",
            "look for",
            missing=["404"],
            advice={"403": foreign},
            ExpectedBucketOwner=account,
        )
        region = found.get("BucketRegion", self.region)
        if region != self.region:
            self.api.module.fail_json(
                msg=f"The bucket {self.name} is in {region}, not in {self.region}: "
                f"give region={region} or choose another name."
            )
        return bool(found)

    def read(self) -> Options:
        for part, missing in (
            ("public_access_block", ["NoSuchPublicAccessBlockConfiguration"]),
            ("bucket_policy", ["NoSuchBucketPolicy"]),
            ("bucket_encryption", ["ServerSideEncryptionConfigurationNotFoundError"]),
            ("bucket_versioning", []),
            ("bucket_lifecycle_configuration", ["NoSuchLifecycleConfiguration"]),
            ("bucket_tagging", ["NoSuchTagSet"]),
        ):
            name = part.removeprefix("bucket_").removesuffix("_configuration")
            self.answers[name] = self.ask(
                f"get_{part}",
                f"read the {name.replace('_', ' ')} of",
                missing=missing,
                retry_on=UNSETTLED,
            )
        return described(self.name, self.answers, self.partition)

    def create(self) -> None:
        self.ask(
            "create_bucket",
            "create",
            # An earlier attempt, or another run, got through.
            missing=["BucketAlreadyOwnedByYou"],
            retry_on=["OperationAborted:"],
            advice={
                "BucketAlreadyExists": "another account has it: choose another name",
                "OperationAborted": "a bucket of this name was just deleted: S3 frees the name "
                "within an hour, try again or choose another name",
            },
            **location(self.region),
        )
        self.api.wait("bucket_exists", f"see the bucket {self.name}", 60, Bucket=self.name)

    def update(self, current: Options, options: Options) -> None:
        setters: dict[str, Callable[[Any], None]] = {
            "public_access_blocked": self.block_public_access,
            "tls_only": self.set_tls_only,
            "encryption": self.set_encryption,
            "versioning": self.set_versioning,
            "expiration": self.set_expiration,
            "tags": self.set_tags,
        }
        for option, setter in setters.items():
            if option in options and options[option] != current[option]:
                setter(options[option])

    def block_public_access(self, _blocked: bool) -> None:
        self.change(
            "put_public_access_block",
            "the block of public access",
            PublicAccessBlockConfiguration=NOTHING_PUBLIC,
        )

    def set_tls_only(self, _tls_only: bool) -> None:
        changed = with_tls_only(self.name, policy(self.answers), self.partition)
        self.change("put_bucket_policy", "the policy", Policy=json.dumps(changed))

    def set_encryption(self, algorithm: str) -> None:
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": algorithm}}
        self.change(
            "put_bucket_encryption",
            "the default encryption",
            ServerSideEncryptionConfiguration={"Rules": [rule]},
        )

    def set_versioning(self, versioning: bool) -> None:
        status = "Enabled" if versioning else "Suspended"
        self.change(
            "put_bucket_versioning", "the versioning", VersioningConfiguration={"Status": status}
        )

    def set_expiration(self, expiration: Options | None) -> None:
        kept = dict(self.answers["lifecycle"])
        rules = [rule for rule in kept.pop("Rules", []) if rule.get("ID") != RULE_ID]
        if expiration:
            rules.append(expiration_rule(**expiration))
        if rules:
            self.change(
                "put_bucket_lifecycle_configuration",
                "the expiration",
                LifecycleConfiguration={"Rules": rules},
                **kept,
            )
        else:
            self.change("delete_bucket_lifecycle", "the expiration")

    def set_tags(self, tags: dict[str, str]) -> None:
        if tags:
            tag_set = ansible_dict_to_boto3_tag_list(tags)
            self.change("put_bucket_tagging", "the tags", Tagging={"TagSet": tag_set})
        else:
            self.change("delete_bucket_tagging", "the tags")

    def versions(self, limit: int) -> list[dict[str, str]]:
        """Versions and delete markers, the first `limit` of them."""
        found = self.ask(
            "list_object_versions", "list the objects of", missing=["NoSuchBucket"], MaxKeys=limit
        )
        return [
            {"Key": item["Key"], "VersionId": item["VersionId"]}
            for item in found.get("Versions", []) + found.get("DeleteMarkers", [])
        ]

    def empty(self) -> None:
        while batch := self.versions(BATCH):
            failed = self.ask(
                "delete_objects",
                "delete the objects of",
                retry_on=UNSETTLED,
                Delete={"Objects": batch, "Quiet": True},
            ).get("Errors", [])
            if failed:
                first = failed[0]
                self.api.module.fail_json(
                    msg=f"Could not delete {len(failed)} objects of the bucket {self.name}, "
                    f"the first one {first['Key']}: {first['Code']}: {first.get('Message', '')}"
                )

    def delete(self) -> None:
        self.ask(
            "delete_bucket",
            "delete",
            missing=["NoSuchBucket"],
            retry_on=["OperationAborted:"],
            advice={"BucketNotEmpty": "objects were written meanwhile, try again"},
        )
        self.api.wait("bucket_not_exists", f"see the bucket {self.name} gone", 60, Bucket=self.name)


# The two states.


def present(bucket: Bucket, params: Options) -> None:
    module = bucket.api.module
    exists = bucket.exists()
    current = bucket.read() if exists else {}
    options = wanted(params, current)
    before = {option: current[option] for option in options} if exists else {}
    if not module.check_mode:
        if not exists:
            bucket.create()
            current = bucket.read()
        bucket.update(current, options)
    state: Options = {"versioning": False, "expiration": None, "tags": {}} | current | options
    finish(
        module,
        before,
        options,
        bucket={
            "arn": f"arn:{bucket.partition}:s3:::{bucket.name}",
            "region": bucket.region,
            **state,
        },
    )


def absent(bucket: Bucket, params: Options) -> None:
    module = bucket.api.module
    if not bucket.exists():
        finish(module, {}, {})
    if not params["force"] and bucket.versions(1):
        module.fail_json(
            msg=f"The bucket {bucket.name} still holds objects or former versions of them: "
            "give force=true to delete them with it."
        )
    if not module.check_mode:
        if params["force"]:
            bucket.empty()
        bucket.delete()
    finish(module, {"name": bucket.name}, {})


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "versioning": {"type": "bool"},
            "expiration": {
                "type": "dict",
                "options": {
                    "days": {"type": "int", "required": True},
                    "prefix": {"type": "str", "default": ""},
                },
            },
            "force": {"type": "bool", "default": False},
            **TAG_OPTIONS,
        },
        supports_check_mode=True,
    )
    if not NAME.fullmatch(module.params["name"]):
        module.fail_json(
            msg=f"{module.params['name']} is no name for a bucket: name takes 3 to 63 lower-case "
            "letters, digits, hyphens and dots, with a letter or a digit at both ends."
        )
    if (module.params["expiration"] or {"days": 0})["days"] < 0:
        module.fail_json(msg="expiration.days has to be 0 or more.")
    bucket = Bucket(Api(module, "s3"), module.params["name"])
    (present if module.params["state"] == "present" else absent)(bucket, module.params)


if __name__ == "__main__":
    main()
