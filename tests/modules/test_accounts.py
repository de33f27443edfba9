# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two accounts and two regions, side by side in one run: what is called the same in each is another
resource, and a graph remembers no answer for the wrong one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest

ACCOUNTS = ("300000000001", "300000000002")
REGIONS = ("eu-central-1", "us-west-2")
PLACES = [(account, region) for account in ACCOUNTS for region in REGIONS]

TASKS = """
- multicompute.spin.efs_file_system: {name: demo, state: "{{ wanted }}"}
  register: share
- multicompute.spin.ecr_repository: {name: demo, state: "{{ wanted }}"}
  register: repository
- multicompute.spin.ecs_task_definition:
    family: demo
    container_definitions: [{name: app, image: demo}]
    state: "{{ wanted }}"
  register: task
- multicompute.spin.elb_target_group: {name: demo, target_type: lambda, state: "{{ wanted }}"}
  register: group
"""
PLAY = """
- hosts: all
  gather_facts: false
  environment:
    AWS_ACCESS_KEY_ID: "{{ account }}"
  module_defaults:
    group/multicompute.spin.all:
      region: "{{ region }}"
  tasks:
    - multicompute.spin.task_graph: {file: tasks.yml}
"""


@pytest.fixture
def folder(endpoint: str, tmp_path: Path) -> Path:
    (tmp_path / "ansible.cfg").touch()
    (tmp_path / "play.yml").write_text(PLAY)
    (tmp_path / "tasks.yml").write_text(TASKS)
    return tmp_path


def play(folder: Path, endpoint: str, graph: bool, **wanted: str) -> dict[str, bool]:
    """Which places were changed; those that are not named keep what they have."""
    hosts = {
        f"{account}-{region}": {
            "account": account,
            "region": region,
            "wanted": wanted.get(f"{account}-{region}", "present"),
        }
        for account, region in PLACES
    }
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "multicompute_task_graph": graph,
    }
    inventory = folder / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, "play.yml"],
        cwd=folder,
        env=os.environ
        | {
            "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.json",
            "AWS_ENDPOINT_URL": endpoint,
            "XDG_CACHE_HOME": str(folder / "cache"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    stats = json.loads(done.stdout)["stats"]
    return {host: counts["changed"] > 0 for host, counts in stats.items()}


def there(endpoint: str, account: str, region: str) -> list[str]:
    """What the modules made in a place, by its ARN."""

    def client(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=endpoint,
            region_name=region,
            aws_access_key_id=account,
            aws_secret_access_key="tests",
        )

    return [
        *(each["FileSystemArn"] for each in client("efs").describe_file_systems()["FileSystems"]),
        *(each["repositoryArn"] for each in client("ecr").describe_repositories()["repositories"]),
        *client("ecs").list_task_definitions()["taskDefinitionArns"],
        *(e["TargetGroupArn"] for e in client("elbv2").describe_target_groups()["TargetGroups"]),
    ]


@pytest.mark.parametrize("graph", [False, True], ids=["plain", "graph"])
def test_accounts_and_regions_side_by_side(
    cloud: Any, endpoint: str, folder: Path, graph: bool
) -> None:
    changed = play(folder, endpoint, graph)
    assert len(changed) == len(PLACES) and all(changed.values())
    for account, region in PLACES:
        arns = there(endpoint, account, region)
        assert len(arns) == 4
        assert all(arn.split(":")[3:5] == [region, account] for arn in arns), arns
    assert not any(play(folder, endpoint, graph).values())

    one = "-".join(PLACES[0])
    changed = play(folder, endpoint, graph, **{one: "absent"})
    assert [host for host, value in changed.items() if value] == [one]
    assert there(endpoint, *PLACES[0]) == []
    assert all(len(there(endpoint, *place)) == 4 for place in PLACES[1:])

    changed = play(folder, endpoint, graph, **{"-".join(place): "absent" for place in PLACES})
    assert sum(changed.values()) == len(PLACES) - 1
