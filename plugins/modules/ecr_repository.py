#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecr_repository
version_added: 1.0.0
short_description: Manage a private ECR repository with its tags and its clean-up
description:
  - Creates, changes and deletes a private repository of Amazon ECR.
  - The images are encrypted by ECR with AES-256, which is what ECR does by default.
author:
  - The multicompute.spin authors (@multicompute)
options:
  name:
    description:
      - Name of the repository, 2 to 256 characters, in lower case, with V(/) between namespaces.
    type: str
    required: true
  state:
    description:
      - V(present) creates the repository or brings it into the described form.
      - V(absent) deletes it.
    type: str
    choices: [present, absent]
    default: present
  image_tag_mutability:
    description:
      - Whether a tag may be moved to another image. A new repository is V(mutable) if this is not
        set, an existing one is left as it is.
    type: str
    choices: [mutable, immutable]
  scan_on_push:
    description:
      - Whether each image is scanned for vulnerabilities when it is pushed. A new repository does
        not scan if this is not set, an existing one is left as it is.
    type: bool
  keep_images:
    description:
      - How many images are kept, the newest ones. ECR removes the others within 24 hours.
      - This is the whole lifecycle policy of the repository; another one is replaced. V(0) removes
        it. Not set, the policy is left as it is.
    type: int
  force:
    description: Whether O(state=absent) deletes a repository that still holds images.
    type: bool
    default: false
attributes:
  check_mode:
    description: Predicts exactly what a run would do, and makes no change.
    support: full
  diff_mode:
    description: Shows the options that were given, before and after.
    support: full
  idempotent:
    description: A second run changes nothing.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.tags
  - amazon.aws.boto3
seealso:
  - module: community.aws.ecs_ecr
"""

EXAMPLES = r"""
- name: A repository that keeps its ten newest images
  multicompute.spin.ecr_repository:
    name: demo/runtime
    image_tag_mutability: immutable
    scan_on_push: true
    keep_images: 10
    tags:
      project: demo
  register: runtime

- name: The repository and all its images are gone
  multicompute.spin.ecr_repository:
    name: demo/runtime
    state: absent
    force: true
"""

RETURN = r"""
repository:
  description:
    - The repository. In check mode a new one has placeholders for what AWS assigns.
  returned: O(state=present)
  type: dict
  contains:
    repository_name:
      description: Its name.
      type: str
      sample: demo/runtime
    repository_arn:
      description: Its ARN.
      type: str
      sample: arn:aws:ecr:eu-central-1:123456789012:repository/demo/runtime
    repository_uri:
      description: What image names begin with, to push and to pull.
      type: str
      sample: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/demo/runtime
    registry_id:
      description: The account that the registry belongs to.
      type: str
      sample: "123456789012"
    image_tag_mutability:
      description: Whether tags can be moved.
      type: str
      sample: immutable
    scan_on_push:
      description: Whether images are scanned when they are pushed.
      type: bool
      sample: true
    keep_images:
      description: How many images are kept; 0 for all, null under a policy of another kind.
      type: int
      sample: 10
    tags:
      description: Its tags.
      type: dict
      sample: {project: demo}
"""

import json
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

Options = dict[str, Any]


# What AWS answers, in the terms of the options.


def described(repository: dict[str, Any], policy: str, tags: list[dict[str, str]]) -> Options:
    return {
        "name": repository["repositoryName"],
        "image_tag_mutability": repository["imageTagMutability"].lower(),
        "scan_on_push": repository.get("imageScanningConfiguration", {}).get("scanOnPush", False),
        "keep_images": kept_images(policy),
        "tags": boto3_tag_list_to_ansible_dict(tags),
    }


def kept_images(policy: str) -> int | None:
    """How many images a lifecycle policy keeps: 0 without one, None if it says something else."""
    rules = json.loads(policy)["rules"] if policy else []
    if not rules:
        return 0
    selection, action = rules[0]["selection"], rules[0]["action"]
    keep_images = int(selection.get("countNumber", 0))
    ours = lifecycle_rule(keep_images)
    same = selection | {"countNumber": keep_images} == ours["selection"]
    return keep_images if len(rules) == 1 and same and action == ours["action"] else None


# What the user wants.


def wanted(params: Options, current: Options) -> Options:
    """The given options in the form of `current`."""
    names = ("name", "image_tag_mutability", "scan_on_push", "keep_images")
    options = {name: params[name] for name in names if params[name] is not None}
    if params["tags"] is not None:
        options["tags"] = wanted_tags(current.get("tags", {}), params["tags"], params["purge_tags"])
    return options


def lifecycle_rule(keep_images: int) -> dict[str, Any]:
    return {
        "rulePriority": 1,
        "description": f"Keep the {keep_images} newest images",
        "selection": {
            "tagStatus": "any",
            "countType": "imageCountMoreThan",
            "countNumber": keep_images,
        },
        "action": {"type": "expire"},
    }


# What AWS is asked.


def find(api: Api, name: str) -> dict[str, Any]:
    answer = api.call(
        "describe_repositories",
        f"look for the repository {name}",
        missing=["RepositoryNotFoundException"],
        repositoryNames=[name],
    )
    return answer["repositories"][0] if answer else {}


def read(api: Api, repository: dict[str, Any]) -> Options:
    name = repository["repositoryName"]
    policy = api.call(
        "get_lifecycle_policy",
        f"read the lifecycle policy of the repository {name}",
        missing=["LifecyclePolicyNotFoundException"],
        repositoryName=name,
    )
    tags = api.call(
        "list_tags_for_resource",
        f"read the tags of the repository {name}",
        resourceArn=repository["repositoryArn"],
    )
    return described(repository, policy.get("lifecyclePolicyText", ""), tags["tags"])


def create(api: Api, options: Options) -> dict[str, Any]:
    given = {
        "imageTagMutability": options.get("image_tag_mutability", "mutable").upper(),
        "imageScanningConfiguration": {"scanOnPush": options.get("scan_on_push", False)},
        "tags": ansible_dict_to_boto3_tag_list(options.get("tags", {})),
    }
    api.call(
        "create_repository",
        f"create the repository {options['name']}",
        # An earlier attempt, or another run, got through: what differs is changed afterwards.
        missing=["RepositoryAlreadyExistsException"],
        repositoryName=options["name"],
        **given,
    )
    return find(api, options["name"])


def update(api: Api, repository: dict[str, Any], current: Options, options: Options) -> None:
    name = repository["repositoryName"]
    for option, value in options.items():
        if value == current[option]:
            continue
        doing = f"set {option} of the repository {name}"
        if option == "image_tag_mutability":
            api.call(
                "put_image_tag_mutability",
                doing,
                repositoryName=name,
                imageTagMutability=value.upper(),
            )
        elif option == "scan_on_push":
            api.call(
                "put_image_scanning_configuration",
                doing,
                repositoryName=name,
                imageScanningConfiguration={"scanOnPush": value},
            )
        elif option == "keep_images":
            set_kept_images(api, name, value)
        elif option == "tags":
            set_tags(api, repository["repositoryArn"], current["tags"], value)


def set_kept_images(api: Api, name: str, keep_images: int) -> None:
    if keep_images:
        api.call(
            "put_lifecycle_policy",
            f"set the lifecycle policy of the repository {name}",
            repositoryName=name,
            lifecyclePolicyText=json.dumps({"rules": [lifecycle_rule(keep_images)]}),
        )
    else:
        api.call(
            "delete_lifecycle_policy",
            f"delete the lifecycle policy of the repository {name}",
            missing=["LifecyclePolicyNotFoundException"],
            repositoryName=name,
        )


def set_tags(api: Api, arn: str, current: dict[str, str], tags: dict[str, str]) -> None:
    changed, removed = compare_aws_tags(current, tags)
    if removed:
        api.call("untag_resource", f"remove tags of {arn}", resourceArn=arn, tagKeys=removed)
    if changed:
        api.call(
            "tag_resource",
            f"tag {arn}",
            resourceArn=arn,
            tags=ansible_dict_to_boto3_tag_list(changed),
        )


def placeholder(api: Api, name: str) -> dict[str, Any]:
    """What CreateRepository would answer."""
    account, region = "000000000000", api.client.meta.region_name
    return {
        "repositoryName": name,
        "repositoryArn": api.placeholder_arn(f"repository/{name}"),
        "repositoryUri": f"{account}.dkr.ecr.{region}.amazonaws.com/{name}",
        "registryId": account,
        "imageTagMutability": "MUTABLE",
        "imageScanningConfiguration": {"scanOnPush": False},
    }


# The two states.


def present(api: Api, params: Options) -> None:
    repository = find(api, params["name"])
    current = read(api, repository) if repository else {}
    options = wanted(params, current)
    before = {option: current[option] for option in options} if current else {}
    if api.module.check_mode:
        repository = repository or placeholder(api, params["name"])
        current = current or described(repository, "", [])
    else:
        repository = repository or create(api, options)
        current = current or read(api, repository)
        update(api, repository, current, options)
    state = current | options
    finish(
        api.module,
        before,
        options,
        repository={
            "repository_name": state.pop("name"),
            "repository_arn": repository["repositoryArn"],
            "repository_uri": repository["repositoryUri"],
            "registry_id": repository["registryId"],
            **state,
        },
    )


def absent(api: Api, params: Options) -> None:
    name = params["name"]
    if not find(api, name):
        finish(api.module, {}, {})
    if not params["force"] and holds_images(api, name):
        api.module.fail_json(
            msg=f"The repository {name} still holds images: give force=true to delete them with it."
        )
    if not api.module.check_mode:
        api.call(
            "delete_repository",
            f"delete the repository {name}",
            missing=["RepositoryNotFoundException"],
            repositoryName=name,
            force=params["force"],
        )
    finish(api.module, {"name": name}, {})


def holds_images(api: Api, name: str) -> bool:
    answer = api.call(
        "list_images",
        f"look for images in the repository {name}",
        missing=["RepositoryNotFoundException"],
        repositoryName=name,
        maxResults=1,
    )
    return bool(answer.get("imageIds"))


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "image_tag_mutability": {"type": "str", "choices": ["mutable", "immutable"]},
            "scan_on_push": {"type": "bool"},
            "keep_images": {"type": "int"},
            "force": {"type": "bool", "default": False},
            **TAG_OPTIONS,
        },
        supports_check_mode=True,
    )
    if (module.params["keep_images"] or 0) < 0:
        module.fail_json(msg="keep_images has to be 0 or more.")
    api = Api(module, "ecr")
    (present if module.params["state"] == "present" else absent)(api, module.params)


if __name__ == "__main__":
    main()
