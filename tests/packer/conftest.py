# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real Packer, against a local cloud of the tests' own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import (
    REGION,
    LocalCloud,
    free_port,
    local_cloud,
    make_local_cloud,
)

__all__ = ["local_cloud", "make_local_cloud"]

CHECKOUT = Path(__file__).parents[2]
TEMPLATES = Path(__file__).parent / "templates"
MACHINE = "multicompute/test-machine"


def ansible(program: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(Path(sys.executable).with_name(program)), *arguments],
        cwd=CHECKOUT,
        env=os.environ | {"ANSIBLE_NOCOLOR": "true"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@dataclass
class Run:
    """One task that runs packer_build."""

    process: subprocess.Popen[str]
    _end: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def progress(self) -> str:
        return self._ended()[0].partition("RESULT")[0]

    @property
    def result(self) -> dict[str, Any]:
        output, errors = self._ended()
        assert "=> {" in output, output + errors
        return json.loads("{" + output.split("=> {", 1)[1])  # type: ignore[no-any-return]

    def _ended(self) -> tuple[str, str]:
        self._end = self._end or self.process.communicate(timeout=120)
        return self._end


@pytest.fixture
def packer_build(local_cloud: LocalCloud) -> Callable[..., Run]:
    """Start the module packer_build; options whose name begins with PACKER_ are environment."""

    def start(*flags: str, **options: Any) -> Run:
        environment = {name: options.pop(name) for name in list(options) if name.isupper()}
        connection = {
            "endpoint_url": local_cloud.endpoint,
            "region": REGION,
            "access_key": "test",
            "secret_key": "test-secret-key",
        }
        process = ansible(
            "ansible",
            *("localhost", "--inventory", "localhost,", "--connection", "local"),
            *("--extra-vars", f"ansible_python_interpreter={sys.executable}"),
            *("--module-name", "multicompute.spin.packer_build", *flags),
            *("--args", json.dumps(connection | options)),
            ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal",
            ANSIBLE_CALLBACK_RESULT_FORMAT="json",
            ANSIBLE_LOAD_CALLBACK_PLUGINS="true",
            **environment,
        )
        return Run(process)

    return start


@dataclass
class Deployment:
    """A deployment of the tests' own."""

    name: str
    api: int
    balancer: int
    build: Path

    def play(self, playbook: str, *arguments: str, fails: bool = False) -> str:
        process = ansible(
            "ansible-playbook",
            playbook,
            *("--extra-vars", f"deployment_name={self.name} packer_build_dir={self.build}"),
            # Destroying removes them, and another test may be building in the checkout's own.
            *("--extra-vars", f"app_build_dir={self.build}/app image_build_dir={self.build}/image"),
            *("--extra-vars", f"local_cloud_port={self.api} load_balancer_port={self.balancer}"),
            *arguments,
        )
        output, errors = process.communicate(timeout=900)
        assert (process.returncode != 0) == fails, output + errors
        return output + errors

    @property
    def ec2(self) -> Any:
        return boto3.client(
            "ec2",
            endpoint_url=f"http://127.0.0.1:{self.api}",
            region_name="us-east-1",
            aws_access_key_id="local-cloud-access",
            aws_secret_access_key="local-cloud-secret",
        )

    def images(self) -> list[dict[str, Any]]:
        found = self.ec2.describe_images(
            Owners=["self"], Filters=[{"Name": "tag:multicompute:image", "Values": ["instance"]}]
        )
        return found["Images"]  # type: ignore[no-any-return]


def said(output: str) -> str:
    """What the play said there is, on one line."""
    return re.sub(r"\s+", " ", output.split("Say what there is]")[1].split("PLAY")[0])


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """What the playbooks bake in, and launch from; the files of this folder share it."""
    name = f"bake-{uuid.uuid4().hex[:6]}"
    made = Deployment(name, free_port(), free_port(), tmp_path_factory.mktemp("bake"))
    yield made
    made.play("playbooks/destroy.yml")
