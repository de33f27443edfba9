# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The targets that `ansible-test integration` runs on AWS, here on a local cloud."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import (
    CHECKOUT,
    REGION,
    LocalCloud,
    free_port,
    local_cloud,
    make_local_cloud,
)

__all__ = ["local_cloud", "make_local_cloud"]

TARGETS = Path(__file__).with_name("targets")
NAMES = sorted(path.parent.name for path in TARGETS.glob("*/aliases"))


def run(*command: str | Path, cwd: Path, **environment: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | {"PATH": path} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def account(local_cloud: LocalCloud) -> dict[str, str]:
    """What stands in cloud-config-aws.ini; Ansible hides both keys wherever they occur."""
    return {
        "aws_access_key": "local-cloud-access",
        "aws_secret_key": "local-cloud-secret",
        "aws_region": REGION,
        "aws_endpoint_url": local_cloud.endpoint,
    }


@pytest.mark.parametrize("target", NAMES)
def test_target(target: str, account: dict[str, str], tmp_path: Path) -> None:
    variables = account | {
        "resource_prefix": f"test-{target.replace('_', '-')}",
        # On AWS a listener has its load balancer's addresses, here those of this machine.
        "listener_port": free_port(),
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
    }
    play = tmp_path / "play.yml"
    play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "roles": [target]}]))
    run(
        *("ansible-playbook", "--inventory", "testhost,"),
        *("--extra-vars", json.dumps(variables), play),
        cwd=tmp_path,
        ANSIBLE_ROLES_PATH=str(TARGETS),
        ANSIBLE_PIPELINING="true",
        ANSIBLE_NOCOLOR="true",
    )


def test_ansible_test_runs_them(account: dict[str, str], tmp_path: Path) -> None:
    """Two, as it takes longer for each; it keeps to the targets that their aliases name."""
    run(CHECKOUT / "scripts/collection", tmp_path, cwd=CHECKOUT)
    collection = tmp_path / "ansible_collections/multicompute/spin"
    lines = ["[default]", *(f"{name}: {value}" for name, value in account.items())]
    (collection / "tests/integration/cloud-config-aws.ini").write_text("\n".join(lines))
    targets = ("packer_build", "wasm_release_info")
    run("ansible-test", "integration", "--local", *targets, cwd=collection, HOME=str(tmp_path))
