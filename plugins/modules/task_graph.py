#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: task_graph
short_description: Run an ordinary task file as a dependency graph
version_added: 1.0.0
author:
  - The multicompute.spin authors (@multicompute)
description:
  - Runs the tasks of a file, or of some roles, with the results that
    M(ansible.builtin.import_tasks) or
    M(ansible.builtin.import_role) would give in the same place, several at a time and without a
    new Python
    process for each.
  - A task waits for those before it that set a variable which it uses, by O(ignore:register) or
    M(ansible.builtin.set_fact), also where the name stands in the value of another variable.
    What follows
    an M(ansible.builtin.assert) or M(ansible.builtin.fail) waits for it.
  - Where no argument names what a task needs, as for a name inside a template file, its variable
    C(task_graph_after) lists registered names. Plain Ansible ignores it.
  - A task that fails holds up those that need it; all others end. A second run goes on from there.
  - What modules of unchanged tasks read from AWS is remembered by digest. The next run reads
    that again, all
    at once, and runs only the modules whose code, arguments, environment, files or answers
    differ. The memory
    is in C(~/.cache/multicompute.spin/task-graph) (or below E(XDG_CACHE_HOME)), readable by
    this user alone,
    holds no tasks with C(no_log), and may be deleted at any time.
options:
  file:
    description:
      - Task file, found as M(ansible.builtin.import_tasks) finds it.
      - One of O(file) and O(roles) is required.
    type: str
  roles:
    description:
      - Roles whose tasks make one graph, so that tasks of several roles run side by side.
    type: list
    elements: str
  tasks_from:
    description: Name of the task file of each of O(roles).
    type: str
    default: main
  jobs:
    description: Tasks that run at the same time, 1 or more.
    type: int
    default: 8
attributes:
  check_mode:
    support: full
    description: Each task runs in check mode.
  diff_mode:
    support: full
    description: Each task shows its own difference.
  idempotent:
    support: full
    description: As far as the tasks are.
  action:
    support: full
    description: >-
      All of it runs on the controller; modules run on the host that their connection says.
  async:
    support: none
    description: Neither the graph nor a task in it.
notes:
  - Loops, blocks, dynamic includes, delegation, C(async), C(run_once), C(notify), C(throttle)
    and the modules
    that return facts of the host in a task of the graph are refused with file and line before
    anything runs.
  - Tasks have the tags of the graph as well, as those of an import. With C(--tags), the graph
    runs if one of its
    own tags is named.
  - Modules for this machine, this user and Ansible's own Python run in forks of Ansible. All
    others run as
    they do without this.
  - With the variable C(multicompute_task_graph) set to V(false), the tasks run one after the
    other, each
    module in a process of its own, as they do without this.
  - For the play recap, the graph is one task. RV(counts) has the states of its tasks.
  - Callback plugins get each task of the graph as an item of it, with its name, state and duration.
seealso:
  - module: ansible.builtin.import_tasks
  - module: ansible.builtin.import_role
"""

EXAMPLES = r"""
- name: Create the network
  multicompute.spin.task_graph:
    file: network.yml

- name: Create all layers, side by side where they do not need each other
  multicompute.spin.task_graph:
    roles:
      - multicompute.spin.network
      - multicompute.spin.registry
    tasks_from: present
    jobs: 4

# In a task file: the policy names no result of the role, and needs it nevertheless.
- name: Limit the role
  amazon.aws.iam_policy:
    iam_type: role
    iam_name: server
    policy_name: share
    policy_json: "{{ server_policy }}"
    state: present
  register: server_policy_result
  vars:
    task_graph_after: [server_role]
"""

RETURN = r"""
ansible_facts:
  description: >-
    The registered results and set facts of all tasks; later tasks of the play see them as
    variables.
  returned: always
  type: dict
  sample: {network_vpc: {changed: false, vpc: {id: vpc-0fd7b2e64ed9c2a10}}}
counts:
  description: Number of tasks by state; C(left out) are those that needed a failed one.
  returned: always
  type: dict
  sample: {changed: 2, ok: 18, skipped: 1}
msg:
  description: The counts in words, or which tasks failed, with their modules and arguments.
  returned: always
  type: str
  sample: 2 changed, 18 ok, 1 skipped
tasks:
  description: The tasks in the order of the file.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: Name of the task.
      type: str
      sample: "network : Create the VPC"
    action:
      description: Its module.
      type: str
      sample: amazon.aws.ec2_vpc_net
    state:
      description: One of C(ok), C(changed), C(skipped), C(failed), C(ignored) and C(left out).
      type: str
      sample: ok
    duration:
      description: Seconds.
      type: float
      sample: 0.412
    remembered:
      description: Whether the module did not run, since all that it read was as before.
      type: bool
      sample: false
"""
