# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A deployment's layers, without what they carry."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import LocalCloud, free_port

from .conftest import Place, Run, make_place

ROLES = ["network", "storage", "registry", "load_balancer"]
REGION = "us-east-1"
INVENTORY = """
all:
  children:
    cloud: {{hosts: {{account: }}}}
    primitives: {{hosts: {{}}}}
  vars:
    ansible_connection: local
    ansible_python_interpreter: {python}
    deployment_name: {name}
    deployment_account: "000000000000"
    cloud_provider: local
    aws_region: {region}
    load_balancer_port: {port}
"""
KEEP = r"""
    - copy:
        dest: "{{ playbook_dir }}/kept.json"
        mode: "0600"
        content: "{{ dict(names | zip(names | map('extract', hostvars.account))) | to_json }}"
      vars: {names: "{{ hostvars.account.keys() | select('match', layers) }}",
             layers: (network|storage|registry|load_balancer)_}
      check_mode: false
      diff: false
"""
HEAD = """
- hosts: cloud
  gather_facts: false
  module_defaults: {group/aws: {region: "{{ aws_region }}"}}
  tasks:
"""
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "layers", "AWS_SECRET_ACCESS_KEY": "secret-of-layers"}


@dataclass
class Deployment:
    """The layers in one of the three ways."""

    place: Place
    name: str
    port: int
    runs: dict[str, Run] = field(default_factory=dict)
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)

    def play(self, title: str, tasks_from: str, *options: str) -> Run:
        run = self.place.run(*options, playbook=f"{tasks_from}.yml")
        self.runs[title] = run
        self.kept[title] = json.loads((self.place.folder / "kept.json").read_text())
        return run

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.place.environment["AWS_ENDPOINT_URL"],
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )


def deployment(folder: Path, cloud: LocalCloud, way: str, name: str) -> Deployment:
    place = make_place(folder, AWS_ENDPOINT_URL=cloud.endpoint, AWS_REGION=REGION, **CREDENTIALS)
    for tasks_from, roles in (("present", ROLES), ("absent", ROLES[:0:-1] + ROLES[:1])):
        full = [f"multicompute.spin.{role}" for role in roles]
        groups = [full] if tasks_from == "present" else [full[:-1], full[-1:]]
        graph = "".join(
            f"    - multicompute.spin.task_graph: {{roles: {group}, tasks_from: {tasks_from}}}\n"
            for group in groups
        )
        plain = "".join(
            f"    - import_role: {{name: {role}, tasks_from: {tasks_from}}}\n" for role in full
        )
        place.write(**{tasks_from: HEAD + (plain if way == "plain" else graph) + KEEP})
    port = free_port()
    inventory = INVENTORY.format(python=sys.executable, name=name, region=REGION, port=port)
    place.write(inventory=inventory)
    if way == "apart":
        place.write(group_vars__all="multicompute_task_graph: false")
    return Deployment(place, way, port)
