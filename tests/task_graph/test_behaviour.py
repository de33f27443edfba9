# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation of task_graph promises beyond the results of the tasks."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import PLAY, Place, Run

Runs = Callable[..., Run]
TOUCH = "- {name: Touch, ansible.builtin.file: {path: touched, state: touch, mode: '0600'}}\n"


@pytest.mark.parametrize(
    ("tasks", "jobs", "message"),
    [
        ("", 0, "jobs is 0: set 1 or more"),
        ("- debug: {msg: '{{ nobody }}'}", 8, "uses 'nobody', which no variable and no task"),
        ("- debug: {msg: x}\n  loop: [1]", 8, "A task graph can't hold loop"),
        ("- setup: {gather_subset: min}", 8, "A task graph can't hold setup"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    run: Runs, place: Place, tasks: str, jobs: int, message: str
) -> None:
    place.write(play=PLAY.replace("tasks.yml}", f"tasks.yml, jobs: {jobs}}}"))
    ended = run(TOUCH + tasks, fails=True)
    assert message in ended.text
    assert not (place.folder / "touched").exists()
    if tasks:
        assert f"{place.folder}/tasks.yml:2:" in ended.output


TAGGED = """
- {name: Plain, debug: {msg: x}}
- {name: Slow, debug: {msg: x}, tags: slow}
- {name: Never, debug: {msg: x}, tags: never}
- {import_tasks: more.yml, tags: more}
"""


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["Plain", "Slow", "More"]),
        (["--skip-tags", "slow,more"], ["Plain"]),
        # They have the graph's tags as well, as an import's.
        (["--tags", "layer", "--skip-tags", "slow"], ["Plain", "Never", "More"]),
        (["--tags", "other"], []),
    ],
)
def test_tags_choose_tasks(run: Runs, place: Place, options: list[str], names: list[str]) -> None:
    place.write(play=PLAY + "      tags: layer\n")
    ended = run(TAGGED, *options, more="- {name: More, debug: {msg: x}}")
    assert sorted(ended.names()) == sorted(names)


FAILING = """
- {name: Make, command: echo a, register: made, changed_when: true}
- {name: Break, module_with_secret: {password: "{{ password }}", fine: "{{ made.stdout }}"},
   register: broken}
- {name: Need it, command: "echo {{ broken.x | default('') }}", register: needed}
- {name: Need what needs it, command: "echo {{ needed.stdout | default('') }}"}
- {name: Independent, command: echo b, register: independent}
- {name: After independent, command: "echo {{ independent.stdout }} c"}
"""
MODULE_WITH_SECRET = """#!/usr/bin/python
import os
from ansible.module_utils.basic import AnsibleModule
options = {"password": {"no_log": True}, "fine": {}}
module = AnsibleModule(options)
if not os.path.exists("mended"):
    module.fail_json(msg="no good: " + module.params["password"])
module.exit_json(x=1)
"""


def test_a_failure_holds_up_what_needs_it_and_the_second_run_goes_on(
    run: Runs, place: Place
) -> None:
    library = place.folder / "library"
    library.mkdir()
    (library / "module_with_secret.py").write_text(MODULE_WITH_SECRET)
    place.write(group_vars__all="password: s3cret")
    ended = run(FAILING, fails=True)
    assert set(ended.names("failed")) == {"Break"}
    assert set(ended.names("skipped")) == {"Need it", "Need what needs it"}
    assert set(ended.names("ok")) == {"Make", "Independent", "After independent"}
    assert ended.graph["counts"] == {"changed": 4, "failed": 1, "left out": 2} | {"changed": 3}
    message = ended.graph["msg"]
    for part in ("no good", "[task 'Break' (module_with_secret, ", "yml:"):
        assert part in message
    assert "Left out, since they need it: 'Need it', 'Need what needs it'" in message
    assert "s3cret" not in ended.output + str(ended.events)
    (place.folder / "mended").touch()
    again = run(FAILING)
    assert set(again.graph["counts"]) == {"changed", "ok"}
    assert {task["name"]: task["state"] for task in again.graph["tasks"]}["Break"] == "ok"


def test_no_log_hides_all_but_the_name(run: Runs, place: Place) -> None:
    tasks = """
- {name: Say, command: "echo {{ password }}", no_log: true, register: said}
- {name: Pass on, set_fact: {passed: "{{ said.stdout }} on"}, no_log: true}
- {name: Fail, command: "sh -c 'echo {{ passed }}; exit 1'", no_log: true}
"""
    place.write(group_vars__all="password: s3cret")
    ended = run(tasks, "-vvv", fails=True)
    assert set(ended.names()) == {"Say", "Pass on", "Fail"}
    assert "[task 'Fail' (command, " in ended.text
    assert "Its output is hidden, since no_log is set" in ended.text
    assert "s3cret" not in ended.output + str(ended.events) + place.memory()


def test_callback_plugins_see_each_task_with_name_state_and_duration(run: Runs) -> None:
    tasks = """
- {name: First, command: echo, changed_when: true, register: first}
- {name: "Second of {{ first.rc }}", command: sleep 0.3, changed_when: false}
- {name: Third, debug: {msg: x}, when: false}
- {name: Fourth, command: "false", ignore_errors: true}
"""
    ended = run(tasks, "-v")
    states = {told["name"]: told["event"] for told in ended.told()}
    expected = {"First": "ok", "Second of 0": "ok", "Third": "skipped", "Fourth": "failed"}
    assert states == expected
    seconds = {told["name"]: told["result"]["duration"] for told in ended.told()}
    assert seconds["Second of 0"] >= 0.3 and set(seconds) == set(expected)
    changed = {told["name"] for told in ended.told() if told["result"].get("changed")}
    assert changed == {"First", "Fourth"}
    # As users see it: a line for each when it ends, and the longest chain at the end.
    assert "changed: [here] => (item=First" in ended.output
    chain = ended.text.partition("The chain of tasks that took longest:")[2]
    assert "s First" in chain and "s Second of" in chain and "Third" not in chain.split("[")[0]
    assert ended.graph["counts"] == {"changed": 1, "ok": 1, "skipped": 1, "ignored": 1}
    listed = [task["state"] for task in ended.graph["tasks"]]
    assert listed == ["changed", "ok", "skipped", "ignored"]


# Notes how many are running, each for as long as it takes the others to start.
COUNTING = "".join(
    f"- shell: touch run-{i}; sleep 1; ls run-* | wc -l >> counts; rm run-{i}\n" for i in range(5)
)


def test_jobs_limits_how_many_run_at_the_same_time(run: Runs, place: Place) -> None:
    place.write(play=PLAY.replace("tasks.yml}", "tasks.yml, jobs: 2}"))
    run(COUNTING)
    counts = [int(line) for line in (place.folder / "counts").read_text().split()]
    assert len(counts) == 5 and max(counts) == 2


def test_tasks_that_do_not_need_each_other_run_side_by_side(run: Runs) -> None:
    waits = "- wait_for: {path: met-%s, timeout: 60}\n- command: {cmd: touch met-%s}\n"
    # In file order the first would wait in vain.
    run("".join(waits % (i, i) for i in range(3)))


ROLES = {
    "roles__base__tasks__main": "- {name: Base, command: echo base, register: base}",
    "roles__one__meta__main": "dependencies: [base]",
    "roles__two__meta__main": "dependencies: [base]",
    "roles__one__vars__main": "through: '{{ base.stdout }}'",
    "roles__one__tasks__present": "- {name: One, command: 'echo {{ through }}', register: one}",
    "roles__two__tasks__present": "- {name: Two, command: 'echo {{ one.stdout }}', register: two}",
    "roles__one__tasks__main": "- {name: Wrong, fail: {}}",
}


def test_roles_make_one_graph_in_which_a_dependency_runs_once(run: Runs, place: Place) -> None:
    place.write(
        play=PLAY.replace("{file: tasks.yml}", "{roles: [one, two], tasks_from: present}")
        + "    - assert: {that: two.stdout == 'base'}\n"
    )
    ended = run("", **ROLES)
    names = [task["name"] for task in ended.graph["tasks"]]
    assert names == ["base : Base", "one : One", "two : Two"]


def test_a_loop_over_a_graph_gives_its_roles_the_item(run: Runs, place: Place) -> None:
    place.write(
        roles__letters__defaults__main="letter: of the role",
        roles__letters__tasks__main=(
            "- name: Gather\n"
            '  set_fact: {letters: "{{ letters | default([]) + [[place, letter]] }}"}\n'
        ),
        play=PLAY.replace(
            "{file: tasks.yml}",
            "{roles: [letters]}\n"
            "      loop: [a, b]\n"
            "      loop_control: {loop_var: letter, index_var: place}",
        )
        + '    - {name: Show, debug: {msg: "{{ letters }}"}}\n',
    )
    (shown,) = [told for told in run("").events if told["name"] == "Show"]
    assert shown["result"]["msg"] == [[0, "a"], [1, "b"]]


def test_a_role_whose_arguments_are_wrong_does_nothing(run: Runs, place: Place) -> None:
    place.write(play=PLAY.replace("{file: tasks.yml}", "{roles: [base]}"))
    options = "{count: {type: int, required: true}}"
    specification = f"argument_specs: {{main: {{short_description: x, options: {options}}}}}"
    ended = run(
        "", "-e", "count=many", **ROLES, roles__base__meta__argument_specs=specification, fails=True
    )
    assert "unable to convert to int" in ended.text
    # Whose words say enough: what it holds up is not listed.
    assert ended.graph["counts"] == {"failed": 1, "left out": 1}
    assert "Left out" not in ended.text


def test_a_file_imported_twice_runs_twice(run: Runs, place: Place) -> None:
    tasks = """
- {import_tasks: more.yml, vars: {given: 1}}
- {import_tasks: more.yml, vars: {given: 2}}
"""
    ended = run(tasks, more="- {name: More, debug: {msg: 'is {{ given }}'}}")
    assert sorted(told["result"]["msg"] for told in ended.told()) == ["is 1", "is 2"]


WRAPPERS = {
    "sudo": 'shift $(($# - 1)); exec sh -c "$1"',
    "ssh": 'shift $(($# - 1)); exec sh -c "$1"',
    "python": f'exec {sys.executable} "$@"',
}


def test_what_cannot_run_in_a_fork_runs_as_ever(run: Runs, place: Place) -> None:
    folder = place.folder
    for name, content in WRAPPERS.items():
        (folder / name).write_text(f"#!/bin/sh\necho called >> {folder}/{name}.log\n{content}\n")
        (folder / name).chmod(0o755)
    place.write(
        inventory=f"""
all:
  hosts:
    sudo: {{ansible_connection: local, ansible_become: true, ansible_become_user: nobody,
      ansible_pipelining: true, ansible_become_exe: {folder}/sudo,
      ansible_become_method: sudo, ansible_python_interpreter: {sys.executable}}}
    ssh: {{ansible_ssh_executable: {folder}/ssh, ansible_pipelining: true,
      ansible_python_interpreter: {sys.executable}}}
    python: {{ansible_connection: local, ansible_python_interpreter: {folder}/python}}
    plain: {{ansible_connection: local, ansible_python_interpreter: {sys.executable}}}
"""
    )
    ended = run("- {name: Ask, stat: {path: play.yml}, register: asked}")
    for host in WRAPPERS:
        assert [told["name"] for told in ended.told("ok", host)][0] == "Ask"
        assert "called" in (folder / f"{host}.log").read_text()


SLEEPING = """
- {name: In a fork, wait_for: {timeout: 300}}
- {name: In a process, command: sleep 300}
- {name: Twice, command: sleep 300, register: slept, until: slept is success, retries: 2}
- {name: Last, command: echo, register: last}
"""


def _marked(mark: str) -> dict[int, str]:
    """Command lines by process of that run, whatever group and parent they have got."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        # Any of them may end before it is read.
        with contextlib.suppress(OSError):
            if mark.encode() in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "cmdline").read_text()
    return found


@pytest.fixture
def mark(place: Place) -> Iterator[str]:
    place.environment["TASK_GRAPH_MARK"] = mark = uuid.uuid4().hex
    yield mark
    for process in _marked(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_outlives_the_run(place: Place, mark: str, how: signal.Signals) -> None:
    place.write(tasks=SLEEPING)
    process = place.start()
    sleeping = lambda: sum("sleep" in line for line in _marked(mark).values())  # noqa: E731
    assert _until(lambda: sleeping() == 2, 60)
    if how is signal.SIGINT:
        # As a terminal does, to the whole group in the foreground.
        os.killpg(process.pid, how)
    else:
        process.send_signal(how)
    gone = _until(lambda: not _marked(mark), 15)
    assert gone, _marked(mark)
    output, _none = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "In a fork" not in output.partition("TASK [")[2]
