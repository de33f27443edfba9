# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One file of tasks as a graph, by import_tasks and with multicompute_task_graph: false."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from .conftest import INVENTORY, Run, make_place

TASKS = r"""
- name: Say
  ansible.builtin.command: echo hello
  register: said
  changed_when: said.stdout == 'hello'
  check_mode: false
- name: Copy
  ansible.builtin.copy: {dest: "{{ place }}/copied", content: "{{ said.stdout }}\n", mode: "0644"}
  register: copied
- name: Render
  ansible.builtin.template: {src: greeting.j2, dest: "{{ place }}/greeting", mode: "0600"}
  vars: {task_graph_after: [said]}
  register: rendered
- name: Add a line
  ansible.builtin.lineinfile:
    {path: "{{ place }}/lines", line: "{{ said.stdout }}", create: true, mode: "0600"}
  register: line
- name: Without difference
  ansible.builtin.copy: {dest: "{{ place }}/quiet", content: quiet, mode: "0600"}
  diff: false
  register: quiet
- name: Only predict
  ansible.builtin.copy: {dest: "{{ place }}/never", content: never, mode: "0600"}
  check_mode: true
  register: predicted
- name: Skip
  ansible.builtin.command: echo never
  when: said.stdout == 'bye'
  register: skipped
- name: See that it was skipped
  ansible.builtin.debug:
    msg: "{{ skipped is skipped }} {{ skipped.stdout | default('nothing') }}"
  register: of_skipped
- name: Fail and go on
  ansible.builtin.command: "false"
  ignore_errors: true
  check_mode: false
  register: ignored
- name: Be judged a failure
  ansible.builtin.command: echo bad
  register: judged
  failed_when: judged.stdout is defined and 'bad' in judged.stdout
  ignore_errors: true
  check_mode: false
- name: Be judged none
  ansible.builtin.command: "false"
  register: pardoned
  failed_when: false
  changed_when: false
  check_mode: false
- name: Try until it is good
  ansible.builtin.shell: echo x >> {{ place }}/tries; wc -l < {{ place }}/tries
  register: tries
  until: tries.stdout | int >= 3
  retries: 5
  delay: 0
  check_mode: false
- name: Try in vain
  ansible.builtin.command: echo no
  register: vain
  until: vain.stdout == 'yes'
  retries: 1
  delay: 0
  ignore_errors: true
  check_mode: false
- name: Set facts
  ansible.builtin.set_fact:
    fact_text: "{{ said.stdout | upper }}"
    fact_list: [1, "{{ tries.attempts }}"]
    over: of a fact
- name: Set more facts
  ansible.builtin.set_fact:
    fact_text: "{{ fact_text }} AND {{ said.stdout }}"
    "fact_{{ said.stdout }}": named by a result
- name: Variables of the task
  ansible.builtin.debug:
    msg: "{{ own }} {{ over }} {{ of_play }}"
  vars: {own: "own of {{ inventory_hostname }}", over: of the task}
  register: own_variables
- name: Environment
  ansible.builtin.shell: echo "$OF_PLAY $OF_GRAPH $OF_TASK"
  environment: {OF_TASK: "task {{ said.stdout }}"}
  register: environment_seen
  check_mode: false
- name: Text that looks like a template
  ansible.builtin.slurp: {src: greeting.j2}
  register: slurped
- name: Keep that text
  ansible.builtin.command: cat {{ playbook_dir }}/greeting.j2
  register: looks
  check_mode: false
- name: Show that text
  ansible.builtin.debug: {msg: "{{ looks.stdout }}"}
  register: shown
- name: Fail by an exception
  broken: {}
  ignore_errors: true
  register: broken
- name: Fail by wrong arguments
  ansible.builtin.copy: {no_such: option}
  ignore_errors: true
  register: misused
- name: Fail to render
  ansible.builtin.debug: {msg: "{{ said.no_such }}"}
  ignore_errors: true
  register: unrendered
- name: Warn
  warning: {}
  register: warned
- name: Not Python
  shell_module: {}
  register: not_python
- name: Say it in secret
  ansible.builtin.command: echo secret-{{ inventory_hostname }}
  no_log: true
  register: secret
  check_mode: false
- name: Use the secret
  ansible.builtin.command: echo {{ secret.stdout }} used
  no_log: true
  register: secret_used
  check_mode: false
- name: Look up
  ansible.builtin.debug: {msg: "{{ lookup('file', 'greeting.j2') | length }}"}
  register: looked_up
- name: Defaults of modules
  ansible.builtin.file: {path: "{{ place }}/defaulted", state: touch}
  register: defaulted
- name: Assert
  ansible.builtin.assert: {that: [said.stdout == 'hello'], quiet: true}
  register: asserted
"""
NAMES = re.findall(r"register: (\w+)", TASKS) + ["fact_text", "fact_list", "fact_hello", "over"]
KEEP = f"""
    - copy:
        dest: "{{{{ playbook_dir }}}}/kept-{{{{ inventory_hostname }}}}.json"
        mode: "0600"
        content: "{{{{ dict(kept | zip(kept | map('extract', values))) | to_json }}}}"
      vars: {{kept: {NAMES}, values: "{{{{ hostvars[inventory_hostname] }}}}"}}
      check_mode: false
      diff: false
"""
HEAD = """
  gather_facts: false
  environment: {OF_PLAY: play}
  module_defaults: {ansible.builtin.file: {mode: "0640"}}
  vars:
    {place: "{{ playbook_dir }}/{{ inventory_hostname }}", over: of play, of_play: "<{{ over }}>"}
  tasks:
    - file: {path: "{{ place }}", state: directory, mode: "0700"}
      check_mode: false
      diff: false
"""
INHERITED = "      environment: {OF_GRAPH: graph}\n"
PLAY = f"""
- hosts: plain
{HEAD}
    - import_tasks: tasks.yml
{INHERITED}{KEEP}
- hosts: here:apart
{HEAD}
    - multicompute.spin.task_graph: {{file: tasks.yml}}
{INHERITED}{KEEP}
"""
MODULES = {
    "broken.py": "#!/usr/bin/python\nraise ValueError('it broke')\n",
    "warning.py": """#!/usr/bin/python
from ansible.module_utils.basic import AnsibleModule
module = AnsibleModule({}, supports_check_mode=True)
module.warn("mind the step")
module.deprecate("the step is old", version="9.0", collection_name="multicompute.spin")
module.exit_json(found=True)
""",
    "shell_module": '#!/bin/sh\necho \'{"changed": false, "from": "sh"}\'\n',
}
HOSTS = ["here", "plain", "apart"]
# Of time, of the file system, and of temporary files.
VOLATILE = {"start", "end", "delta", "src", "exception", "atime", "mtime", "ctime", "inode"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Run, dict[str, Any]]]:
    """Of a prediction and a run: the run, and the variables of each host."""
    place = make_place(tmp_path_factory.mktemp("three-ways"))
    place.write(tasks=TASKS, play=PLAY)
    hosts = "{here: {}, plain: {}, apart: {multicompute_task_graph: false}}"
    place.write(inventory=INVENTORY.replace("{here: }", hosts))
    (place.folder / "greeting.j2").write_text(
        "Hello, {{ said.stdout }} {{ nobody | default(1) }}\n"
    )
    (place.folder / "library").mkdir()
    for name, content in MODULES.items():
        (place.folder / "library" / name).write_text(content)
        (place.folder / "library" / name).chmod(0o755)
    found = {}
    for name, options in {"check": ["--check"], "run": []}.items():
        run = place.run("--diff", *options)
        kept = {
            host: json.loads((place.folder / f"kept-{host}.json").read_text()) for host in HOSTS
        }
        found[name] = (run, kept)
    return found


def comparable(value: Any, host: str) -> Any:
    if isinstance(value, dict):
        return {
            key: comparable(item, host)
            for key, item in value.items()
            if key not in VOLATILE and not (key == "content" and "encoding" in value)
        }
    if isinstance(value, list):
        return [comparable(item, host) for item in value]
    if isinstance(value, str):
        # Where a result names a host or a temporary file.
        return re.sub(r"/\S*/(ansible|\.ansible)\S*", "TEMPORARY", value.replace(host, "HOST"))
    return value


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", ["run", "check"])
def test_variables_are_those_of_import_tasks(runs: Any, which: str, name: str) -> None:
    kept = runs[which][1]
    plain = comparable(kept["plain"][name], "plain")
    assert plain is not None
    assert comparable(kept["here"][name], "here") == plain
    assert comparable(kept["apart"][name], "apart") == plain


def _diffs(run: Run, host: str) -> dict[str, Any]:
    return {
        told["name"]: comparable(told["result"]["diff"], host)
        for told in run.told("diff", host)
        if told["result"].get("diff")
    }


@pytest.mark.parametrize("which", ["run", "check"])
def test_each_task_shows_its_difference(runs: Any, which: str) -> None:
    run = runs[which][0]
    plain = _diffs(run, "plain")
    assert _diffs(run, "here") == _diffs(run, "apart") == plain
    if which != "second":
        assert {
            "Copy",
            "Add a line",
            "Render",
        } <= plain.keys() and "Without difference" not in plain


@pytest.mark.parametrize("which", ["run", "check"])
def test_each_task_ends_as_by_import_tasks(runs: Any, which: str) -> None:
    run = runs[which][0]

    def ended(host: str) -> dict[str, Any]:
        return {
            told["name"]: (
                told["event"].replace("ignored", "failed"),
                bool(told["result"].get("changed")),
            )
            for told in run.told(host=host)
            if told["event"] != "diff" and told["name"] not in ("file", "copy")
        }

    assert ended("here") == ended("apart") == ended("plain")
    assert len(ended("plain")) == len(re.findall("- name:", TASKS))


def test_warnings_and_deprecations_of_modules_reach_the_user(runs: Any) -> None:
    run = runs["run"][0]
    assert run.text.count("mind the step") >= 1
    assert run.text.count("the step is old") >= 1
    for host in HOSTS:
        assert runs["run"][1][host]["warned"]["warnings"] == ["mind the step"]


def test_secrets_are_not_shown(runs: Any) -> None:
    for run, _kept in runs.values():
        assert "secret-" not in run.output
        assert "secret-" not in json.dumps(run.events)
