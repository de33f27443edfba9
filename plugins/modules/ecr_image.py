#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ecr_image
version_added: 1.0.0
short_description: Push a local image to a private ECR repository
description:
  - Pushes an image of the local Docker engine to Amazon ECR, unless the repository has its tag.
  - A tag is taken for what it holds, so name the image's content in it. An image that changes under
    the same tag is not pushed again.
  - The registry's password is fetched for the push and goes from memory to the engine. No
    C(docker login) is needed, and none is left behind.
author:
  - The multicompute.spin authors (@multicompute)
options:
  source:
    description: The local image, with its tag.
    type: str
    required: true
  repository:
    description:
      - Address of the repository, registry and name. The registry may be any address at which the
        engine reaches ECR.
    type: str
    required: true
  tag:
    description: Tag in the repository.
    type: str
    required: true
attributes:
  check_mode:
    description:
      - Predicts exactly what a run would do, and makes no change. The local image and the
        repository may be missing.
    support: full
  diff_mode:
    description: Shows the digest that the tag has, before and after.
    support: full
  idempotent:
    description: A tag that the repository has is not pushed again.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
requirements:
  - docker (Python)
seealso:
  - module: multicompute.spin.ecr_repository
"""

EXAMPLES = r"""
- name: The image that was built is in the registry
  multicompute.spin.ecr_image:
    source: demo/runtime:1.0.0
    repository: 123456789012.dkr.ecr.eu-central-1.amazonaws.com/demo/runtime
    tag: 1.0.0
  register: pushed
"""

RETURN = r"""
digest:
  description: Digest of the image in the repository. Zeros in check mode when it would be pushed.
  returned: success
  type: str
  sample: sha256:0f343b0931126a20f133d67c2b018a3b5f8d1f2f7b0a2b6ad0ad2c1d4dd8f7f8
reference:
  description: What to run the image by, an address that never means another one.
  returned: success
  type: str
  sample: localhost:4566/demo/runtime@sha256:0f343b0931126a20f133d67c2b018a3b5f8d1f2f7b0a2b6ad0ad2c1
"""

import base64
from typing import Any

try:
    import docker
    from docker.errors import DockerException, ImageNotFound
except ImportError:
    docker = None

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api, finish

UNKNOWN = "sha256:" + "0" * 64
# An engine says nothing while it reads a large layer.
ENGINE_TIMEOUT = 600


def find(api: Api, name: str, tag: str) -> str | None:
    """The digest that the tag has in the repository."""
    absent = ["ImageNotFoundException"]
    if api.module.check_mode:
        absent.append("RepositoryNotFoundException")
    answer = api.call(
        "describe_images",
        f"look for the tag {tag} in the repository {name}",
        missing=absent,
        advice={"RepositoryNotFoundException": "create the repository first"},
        repositoryName=name,
        imageIds=[{"imageTag": tag}],
    )
    images = answer.get("imageDetails", [])
    return images[0]["imageDigest"] if images else None


def credentials(api: Api) -> dict[str, str]:
    answer = api.call("get_authorization_token", "get the registry's password")
    token = answer["authorizationData"][0]["authorizationToken"]
    username, password = base64.b64decode(token).decode().split(":", 1)
    return {"username": username, "password": password}


def push(api: Api, source: str, repository: str, tag: str) -> None:
    module = api.module
    auth_config = credentials(api)
    try:
        engine = docker.from_env(timeout=ENGINE_TIMEOUT)
        engine.images.get(source).tag(repository, tag)
        lines = engine.api.push(repository, tag, auth_config=auth_config, stream=True, decode=True)
        errors = [line["error"] for line in lines if "error" in line]
    except ImageNotFound:
        module.fail_json(msg=f"Could not push {source}: there is no such image, build it first")
    except DockerException as error:
        errors = [str(error)]
    if errors:
        module.fail_json(msg=f"Could not push {source} to {repository}:{tag}: {errors[-1]}")


def described(repository: str, tag: str, digest: str | None) -> dict[str, Any]:
    return {"repository": repository, "tag": tag, "digest": digest}


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "source": {"type": "str", "required": True},
            "repository": {"type": "str", "required": True},
            "tag": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    if docker is None:
        module.fail_json(msg=missing_required_lib("docker"))
    repository, tag = module.params["repository"], module.params["tag"]
    _registry, _slash, name = repository.partition("/")
    if not name:
        module.fail_json(
            msg=f"repository is {repository}: give registry and name, such as localhost:4566/demo"
        )
    api = Api(module, "ecr")
    before = digest = find(api, name, tag)
    if before is None:
        digest = UNKNOWN
        if not module.check_mode:
            push(api, module.params["source"], repository, tag)
            digest = find(api, name, tag)
    finish(
        module,
        described(repository, tag, before),
        described(repository, tag, digest),
        digest=digest,
        reference=f"{repository}@{digest}",
    )


if __name__ == "__main__":
    main()
