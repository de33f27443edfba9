# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules packed and sent by Ansible itself, where tests of functions see no packing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PLAY = """
- name: Everything that a function on a share needs, before any of it is there
  hosts: localhost
  gather_facts: false
  module_defaults:
    group/multicompute.spin.all:
      region: eu-central-1
  tasks:
    - name: Predict the file system
      multicompute.spin.efs_file_system:
        name: demo
        mount_targets:
          - subnet_id: subnet-00000000000000000
      register: share
    - name: Predict the access point
      multicompute.spin.efs_access_point:
        name: servers
        file_system_id: "{{ share.file_system.file_system_id }}"
        posix_user: {uid: 1000, gid: 1000}
        root_directory: {path: /app, owner_uid: 1000, owner_gid: 1000, permissions: "0755"}
      register: servers
    - name: Find no access points
      multicompute.spin.efs_access_point_info:
        file_system_id: "{{ share.file_system.file_system_id }}"
      register: points
    - name: Predict the task definition
      multicompute.spin.ecs_task_definition:
        family: demo
        container_definitions:
          - name: app
            image: demo
            environment:
              SHARE: "{{ share.file_system.file_system_arn }}"
      register: task
    - name: Predict the function
      multicompute.spin.lambda_container:
        name: demo
        image_uri: "localhost:4566/demo@sha256:{{ '0' * 64 }}"
        role: arn:aws:iam::123456789012:role/placeholder
        vpc_config:
          subnet_ids: [subnet-00000000000000000]
          security_group_ids: [sg-00000000000000000]
        file_system_configs:
          - arn: "{{ servers.access_point.access_point_arn }}"
            local_mount_path: /mnt/app
      register: function
    - name: Use what they return
      ansible.builtin.assert:
        that:
          - share is changed and servers is changed and task is changed and function is changed
          - points.access_points == []
          - task.task_definition.family_revision == "demo:1"
          - function.alias_arn.endswith(":function:demo:live")
"""


def test_each_predicts_what_the_next_one_builds_on(cloud: Any, tmp_path: Path) -> None:
    play = tmp_path / "play.yml"
    play.write_text(PLAY)
    environment = os.environ | {
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
    }
    (tmp_path / "ansible.cfg").touch()
    command = [Path(sys.executable).with_name("ansible-playbook"), "--check", "--diff", play]
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "changed=4" in run.stdout
