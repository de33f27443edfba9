#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: packer_build
version_added: 1.0.0
short_description: Bake machine and container images with Packer
description:
  - Runs C(packer build), and returns the images by build, region and ID.
  - A build of which there is an image with the same O(content) is skipped. AMIs are known by the
    tag C(multicompute:content), Docker images by the label of that name; the template sets both
    from its variable C(content_hash), which this module gives it.
  - A run that ends early, by O(timeout), a signal or a crash of Packer, leaves no instance, key
    pair, security group or container behind. Packer is asked to take them back itself; what it
    leaves is removed.
  - While it runs, what Packer says is shown.
author:
  - The multicompute.spin authors (@multicompute)
requirements:
  - Packer 1.6.6 or newer
options:
  template:
    description: The template, a file or a directory.
    type: path
    required: true
  builds:
    description: Builds of the template to run, side by side, such as V(amazon-ebs.spin).
    type: list
    elements: str
    required: true
  content:
    description: Digest of all that goes into the images.
    type: str
    required: true
  variables:
    description:
      - Variables of the template. They reach Packer in a file that only this user can read and
        that is gone afterwards.
    type: dict
    default: {}
  var_files:
    description: Files with more variables. O(variables) take precedence.
    type: list
    elements: path
    default: []
  force:
    description: Whether to build what there is an image of already.
    type: bool
    default: false
  timeout:
    description: Seconds after which Packer is stopped.
    type: int
    default: 3600
  packer:
    description:
      - The program. Default is the environment variable E(PACKER_BIN), else C(packer) in E(PATH).
      - Another program of that name, which comes with cracklib, is refused.
    type: path
  log:
    description: File that Packer's machine-readable output is left in.
    type: path
attributes:
  check_mode:
    description: Validates the template, and says what would be built.
    support: full
  diff_mode:
    description: Shows the images of each build.
    support: full
  idempotent:
    description: What is built for one O(content) once is not built again.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
seealso:
  - name: Packer's machine-readable output
    description: The format that the results are read from.
    link: https://developer.hashicorp.com/packer/docs/commands#machine-readable-output
"""

EXAMPLES = r"""
- name: Bake an AMI and a container image
  multicompute.spin.packer_build:
    template: packer
    builds: [amazon-ebs.spin, docker.spin]
    var_files: [packer/vars/arm64.pkrvars.hcl]
    variables:
      source_ami: ami-0123456789abcdef0
    content: "{{ lookup('multicompute.spin.content_digest', 'packer', 'roles/runtime_host') }}"
    timeout: 1200
  register: baked

- name: Say which AMI it is
  ansible.builtin.debug:
    msg: "{{ baked.images['amazon-ebs.spin'][0].id }}"
"""

RETURN = r"""
images:
  description:
    - The images of each build, those that were there already too. Empty where check mode would
      build.
  returned: success
  type: dict
  sample:
    amazon-ebs.spin: [{region: eu-west-1, id: ami-0123456789abcdef0}]
    docker.spin: [{region: null, id: "multicompute/spin:amd64-0123456789ab"}]
built:
  description: Builds that were run. In check mode, those that would be.
  returned: success
  type: list
  elements: str
  sample: [amazon-ebs.spin]
packer:
  description: Version of Packer.
  returned: success
  type: str
  sample: 1.6.6
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.multicompute.spin.plugins.module_utils._aws import Api
from ansible_collections.multicompute.spin.plugins.module_utils._packer import (
    Record,
    artifacts,
    complaint,
    records,
    run_to_end,
    temporary,
)

CONTENT = "multicompute:content"
OLDEST = (1, 6, 6)
# Packer terminates an instance and waits for that before it removes what the instance used.
GRACE_SECONDS = 180
CREDENTIALS = {
    "access_key": "AWS_ACCESS_KEY_ID",
    "secret_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
    "profile": "AWS_PROFILE",
    "region": "AWS_REGION",
}
Images = dict[str, list[dict[str, Any]]]


class PackerError(Exception):
    """Something that the user can put right; the text says what and how."""


@dataclass
class Packer:
    """The program, and how it is called."""

    module: AnsibleAWSModule
    program: str
    work: Path

    @property
    def environment(self) -> dict[str, str]:
        given = {
            name: self.module.params[option]
            for option, name in CREDENTIALS.items()
            if self.module.params[option]
        }
        # ansible-playbook and pytest of the environment that runs this.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        # What Packer asks for in vain every 15 seconds, else: there is nobody to spare.
        return (
            os.environ
            | {"AWS_POLL_DELAY_SECONDS": "2"}
            | given
            | {
                "PATH": path,
                "CHECKPOINT_DISABLE": "1",
            }
        )

    def version(self) -> str:
        try:
            done = subprocess.run(
                [self.program, "version"],
                cwd=self.work,  # cracklib's would write its files there
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                env=self.environment,
                timeout=60,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PackerError(f"{self.program} does not run: {error}. {WHERE}") from error
        match = re.match(r"Packer v((\d+)\.(\d+)\.(\d+))", done.stdout)
        if not match:
            raise PackerError(
                f"{self.program} is not HashiCorp's Packer; cracklib has a program of that name, "
                f"too. {WHERE}"
            )
        if tuple(int(part) for part in match.groups()[1:]) < OLDEST:
            raise PackerError(f"{self.program} is version {match[1]}, older than 1.6.6. {WHERE}")
        return match[1]

    def run(self, command: str, builds: Iterable[str]) -> tuple[int | str, list[Record]]:
        """Exit status, or why it was stopped, and what was said."""
        params = self.module.params
        variables = self.work / "variables.pkrvars.json"
        variables.touch(mode=0o600)
        variables.write_text(json.dumps(params["variables"] | {"content_hash": params["content"]}))
        call = [self.program, "-machine-readable", command, f"-only={','.join(builds)}"]
        call += [f"-var-file={path}" for path in [*params["var_files"], variables]]
        log = Path(params["log"] or self.work / "log")
        status = run_to_end(
            [*call, params["template"]], self.environment, log, params["timeout"], GRACE_SECONDS
        )
        return status, records(log.read_text(errors="replace"))


WHERE = (
    "Install HashiCorp's Packer (Debian: apt-get install packer) and name it by PACKER_BIN or the "
    "option packer"
)


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


# Images


def existing(module: AnsibleAWSModule) -> Images:
    """Images with the wanted content, by build."""
    found: Images = {}
    for build in module.params["builds"]:
        if build.startswith("amazon-ebs."):
            found[build] = amis(Api(module, "ec2"), module.params["content"])
        elif build.startswith("docker."):
            found[build] = docker_images(module.params["content"])
        else:
            found[build] = []
    return found


def amis(ec2: Api, content: str) -> list[dict[str, Any]]:
    found = ec2.pages(
        "describe_images",
        "Images",
        "look for an AMI of the same content",
        Owners=["self"],
        Filters=[
            {"Name": f"tag:{CONTENT}", "Values": [content]},
            {"Name": "state", "Values": ["available"]},
        ],
    )
    region = ec2.client.meta.region_name
    newest_first = sorted(found, key=lambda image: str(image["CreationDate"]), reverse=True)
    return [{"region": region, "id": image["ImageId"]} for image in newest_first]


def docker_images(content: str) -> list[dict[str, Any]]:
    named = docker(
        "image",
        "ls",
        "--format={{.Repository}}:{{.Tag}}",
        f"--filter=label={CONTENT}={content}",
        "--filter=dangling=false",
    )
    return [{"region": None, "id": name} for name in named.split()]


# What a run that did not end well leaves behind


def remove_leftovers(module: AnsibleAWSModule, said: list[Record]) -> list[str]:
    left = temporary(said)
    removed = []
    for container in left.containers:
        if docker("rm", "--force", "--volumes", container):
            removed.append(container[:12])
    if left.key_pairs:
        removed += remove_from_ec2(module, Api(module, "ec2"), left.key_pairs, left.groups)
    return removed


def remove_from_ec2(
    module: AnsibleAWSModule, ec2: Api, key_pairs: list[str], groups: list[str]
) -> list[str]:
    doing = "remove what Packer left behind"
    alive = ["pending", "running", "shutting-down", "stopping", "stopped"]
    reservations = ec2.pages(
        "describe_instances",
        "Reservations",
        doing,
        Filters=[
            {"Name": "key-name", "Values": key_pairs},
            {"Name": "instance-state-name", "Values": alive},
        ],
    )
    instances = [i["InstanceId"] for r in reservations for i in r["Instances"]]
    if instances:
        ec2.call("terminate_instances", doing, InstanceIds=instances)
        ec2.wait("instance_terminated", doing, GRACE_SECONDS, InstanceIds=instances)
    filters = [{"Name": "group-name", "Values": groups}]
    found = ec2.pages("describe_security_groups", "SecurityGroups", doing, Filters=filters)
    for group in found if groups else []:
        ec2.call(
            "delete_security_group",
            doing,
            missing=["InvalidGroup.NotFound"],
            retry_on=["DependencyViolation"],
            GroupId=group["GroupId"],
        )
    filters = [{"Name": "key-name", "Values": key_pairs}]
    pairs = ec2.call("describe_key_pairs", doing, Filters=filters)["KeyPairs"]
    for pair in pairs:
        ec2.call("delete_key_pair", doing, KeyName=pair["KeyName"])
    names = [group["GroupName"] for group in found if groups]
    return [*instances, *names, *(pair["KeyName"] for pair in pairs)]


# The module


def fail(
    module: AnsibleAWSModule, status: int | str, said: list[Record], removed: list[str]
) -> NoReturn:
    if isinstance(status, str):
        why = f"Packer {status}"
    elif status < 0:
        why = f"Packer was ended by {signal.Signals(-status).name}"
    else:
        why = "Packer failed"
    if removed:
        why += f". Removed what it had left: {', '.join(removed)}"
    module.fail_json(msg="\n".join([why, *complaint(said)]))
    raise AssertionError  # the module has ended


def build(module: AnsibleAWSModule, packer: Packer) -> None:
    version = packer.version()
    before = existing(module)
    wanted = [name for name, images in before.items() if module.params["force"] or not images]
    after = before
    if wanted:
        status, said = packer.run("validate" if module.check_mode else "build", wanted)
        if status != 0:
            removed = [] if module.check_mode else remove_leftovers(module, said)
            fail(module, status, said, removed)
        after = before | {name: artifacts(said).get(name, []) for name in wanted}
    module.exit_json(
        changed=bool(wanted),
        images=after,
        built=wanted,
        packer=version,
        diff={"before": before, "after": after},
    )


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "template": {"type": "path", "required": True},
            "builds": {"type": "list", "elements": "str", "required": True},
            "content": {"type": "str", "required": True},
            "variables": {"type": "dict", "default": {}},
            "var_files": {"type": "list", "elements": "path", "default": []},
            "force": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 3600},
            "packer": {"type": "path"},
            "log": {"type": "path"},
        },
        supports_check_mode=True,
    )
    program = module.params["packer"] or os.environ.get("PACKER_BIN") or "packer"
    try:
        with tempfile.TemporaryDirectory(dir=module.tmpdir) as work:
            build(module, Packer(module, program, Path(work)))
    except PackerError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
