# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The integration targets against a local cloud: each is a role, and all run in one playbook.

Against AWS they are for `ansible-test integration`, which gives `resource_prefix` and `aws_region`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml
from ansible_collections.multicompute.spin.tests.local_cloud import conftest as local

TARGETS = Path(__file__).parents[1] / "integration" / "targets"


def test_every_target_passes(local_cloud: local.LocalCloud, tmp_path: Path) -> None:
    names = sorted(path.parent.name for path in TARGETS.glob("*/aliases"))
    names.remove("setup_change")
    hosts = {
        name: {"resource_prefix": f"t-{name.replace('_', '-')}", "listener_port": local.free_port()}
        for name in names
    }
    connection = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "aws_region": local.REGION,
    }
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts, "vars": connection}}))
    role = {"ansible.builtin.include_role": {"name": "{{ inventory_hostname }}"}, "name": "Target"}
    play = {
        "name": "Every target",
        "hosts": "all",
        "gather_facts": False,
        "strategy": "ansible.builtin.free",
        "tasks": [role],
    }
    playbook = tmp_path / "targets.yml"
    playbook.write_text(yaml.safe_dump([play], sort_keys=False))
    (tmp_path / "ansible.cfg").write_text("[defaults]\nduplicate_dict_key = error\n")
    environment = os.environ | {
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "ANSIBLE_ROLES_PATH": str(TARGETS),
        "AWS_ENDPOINT_URL": local_cloud.endpoint,
        "AWS_REGION": local.REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    command = [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, playbook]
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert run.returncode == 0, run.stdout[-20000:] + run.stderr[-5000:]
