# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleParserError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.block import Block
from ansible.playbook.helpers import load_list_of_tasks
from ansible.playbook.play import Play
from ansible.playbook.task import Task
from ansible.template import trust_as_template
from ansible.vars.manager import VariableManager
from ansible_collections.multicompute.spin.plugins.plugin_utils import graph
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2 import Environment

Load = Callable[..., list[Task]]


def _load(folder: Path, **files: str) -> list[Task]:
    for name, content in files.items():
        (folder / f"{name}.yml").write_text(content)
    loader = DataLoader()
    loader.set_basedir(str(folder))
    manager = VariableManager(loader, InventoryManager(loader, ["localhost,"]))
    play = Play().load({"hosts": "localhost"}, variable_manager=manager, loader=loader)
    imported = [{"ansible.builtin.import_tasks": "tasks.yml"}]
    loaded = load_list_of_tasks(
        imported, play=play, block=Block(play=play), variable_manager=manager, loader=loader
    )
    return list(graph.flatten(loaded))


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """The tasks of `tasks`; further texts are files beside it."""
    return lambda tasks, **others: _load(tmp_path, tasks=tasks, **others)


def _trusted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _trusted(item) for key, item in value.items()}
    return trust_as_template(value) if isinstance(value, str) else value


def build(tasks: list[Task], **variables: Any) -> list[graph.Node]:
    return graph.build(tasks, lambda task: {**_trusted(variables), **task.get_vars()})


def needs(tasks: list[Task], **variables: Any) -> list[set[int]]:
    return [node.needs for node in build(tasks, **variables)]


def _told(error: pytest.ExceptionInfo[AnsibleParserError]) -> str:
    """What Ansible shows of the error below its message: file, line and column."""
    return error.value._formatted_source_context or ""


MAKE = "- {command: a, register: a}\n- {command: b, register: b}\n- {command: c, register: c}\n"


@pytest.mark.parametrize(
    ("task", "needed"),
    [
        ("debug: {msg: plain}", set()),
        ("debug: {msg: '{{ a.stdout }}'}", {0}),
        ("debug: {msg: [{deep: ['{{ a.x }} and {{ b[0] }}']}]}", {0, 1}),
        ("set_fact: {'{{ a.stdout }}': 1}", {0}),
        ("command: echo {{ a.stdout }}", {0}),
        ("debug: {msg: x}\n  name: About {{ a.stdout }}", {0}),
        ("debug: {msg: x}\n  when: a is changed", {0}),
        ("debug: {msg: x}\n  when: [a is changed, b.rc == 0]", {0, 1}),
        ("debug: {msg: x}\n  vars: {own: '{{ c.rc }}'}", set()),
        ("debug: {msg: '{{ own }}'}\n  vars: {own: '{{ c.rc }}'}", {2}),
        ("debug: {msg: '{{ own }}'}\n  vars: {own: '{{ other.x }}', other: {x: '{{ b }}'}}", {1}),
        ("command: x\n  environment: {X: '{{ a.stdout }}'}", {0}),
        ("command: x\n  changed_when: a.rc == 0", {0}),
        ("command: x\n  failed_when: [b.rc == 1]", {1}),
        ("command: x\n  until: c.rc == 0", {2}),
        ("debug: {msg: '{{ of_role.id }}'}", {1}),
        ("debug: {msg: '{{ through }}'}", {0, 1}),
        ("assert: {that: 'a.rc == 0'}", {0}),
        ("assert: {that: [b.rc == 0]}", {1}),
        ("debug: {msg: '{% for a in b.list %}{{ a }}{% endfor %}'}", {1}),
        ("debug: {msg: '{% set a = 1 %}{{ a }}'}", set()),
        ("debug: {msg: \"{{ lookup('env', 'HOME') }}\"}", set()),
        ("debug: {msg: '{{ omit }}{{ now() }}{{ range(3) }}'}", set()),
        ("debug: {msg: '{{ [1] | map(\"extract\", a) }}'}", {0}),
        ("validate_argument_spec: {argument_spec: {of_role: {type: dict}}}", {1}),
        ("debug: {msg: x}\n  vars: {task_graph_after: [a, c]}", {0, 2}),
    ],
)
def test_a_task_needs_what_makes_the_names_it_uses(load: Load, task: str, needed: set[int]) -> None:
    of_role = {"id": "{{ b.id }}", "of_nothing_made": "{{ unmade }}"}
    found = needs(
        load(f"{MAKE}- {task}"), of_role=of_role, through="{{ of_role.id }} {{ a }}", unmade=1
    )
    assert found == [set(), set(), set(), needed]


def test_a_fact_is_a_name_that_a_task_makes(load: Load) -> None:
    tasks = """
- set_fact: {one: 1, cacheable: false}
- set_fact: {two: "{{ one }}"}
- debug: {msg: "{{ two }}"}
- debug: {msg: "{{ cacheable }}"}
"""
    assert needs(load(tasks), cacheable=1) == [set(), {0}, {1}, set()]


def test_who_overwrites_a_name_waits_for_its_readers_and_for_who_set_it(load: Load) -> None:
    tasks = """
- {command: first, register: x}
- {debug: {msg: "{{ x }}"}}
- {debug: {msg: "{{ x }}"}}
- {command: second, register: x}
- {debug: {msg: "{{ x }}"}}
- {command: third, register: x}
- {command: "{{ x }}", register: x}
"""
    assert needs(load(tasks)) == [set(), {0}, {0}, {0, 1, 2}, {3}, {3, 4}, {5}]


def test_who_sets_a_name_waits_for_those_that_read_what_it_was_before(load: Load) -> None:
    tasks = "- {debug: {msg: '{{ x }}'}}\n- {set_fact: {x: 2}}"
    assert needs(load(tasks), x=1) == [set(), {0}]


def test_until_it_is_set_anew_a_name_leads_to_what_its_old_value_uses(load: Load) -> None:
    tasks = """
- {command: a, register: a}
- {debug: {msg: "{{ x }}"}}
- {set_fact: {x: 2}}
- {debug: {msg: "{{ x }}"}}
"""
    assert needs(load(tasks), x="{{ a.stdout }}") == [set(), {0}, {1}, {2}]


def test_what_follows_an_assertion_waits_for_it(load: Load) -> None:
    tasks = """
- {command: a, register: a}
- {assert: {that: "true"}}
- {command: b}
- {fail: {msg: no}, when: false}
- {command: c}
"""
    assert needs(load(tasks)) == [set(), set(), {1}, {1}, {3}]


@pytest.mark.parametrize(
    "task",
    [
        "debug: {msg: '{{ nobody | default(1) }}'}",
        "debug: {msg: '{{ nobody.deep[0] | d(1) }}'}",
        "debug: {msg: '{{ 1 if nobody is defined else 2 }}'}",
        "debug: {msg: x}\n  when: nobody is not defined or nobody.x",
        "debug: {msg: x}\n  when: [nobody is defined, nobody.x]",
        "debug: {msg: '{{ nobody.x }}'}\n  when: nobody is defined",
        "debug: {msg: '{{ own }}'}\n  when: nobody is defined\n  vars: {own: '{{ nobody.x }}'}",
        # Only the item that is asked for is rendered.
        "debug: {msg: '{{ names.good }}'}\n  vars: {names: {good: 1, bad: '{{ nobody }}'}}",
        "command: x\n  register: own\n  until: own.rc == 0",
        "debug: {msg: '{{ untrusted }}'}",
    ],
)
def test_a_name_that_need_not_be_there_is_no_error(load: Load, task: str) -> None:
    tasks = load(f"- {task}")
    said = {"untrusted": "someone wrote {{ nobody }}"}
    assert len(graph.build(tasks, lambda task: {**said, **task.get_vars()})) == 1


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("debug: {msg: '{{ nobody.x }}'}", "Task 'Wrong' uses 'nobody', which no variable and no"),
        ("debug: {msg: x}\n  when: nobody.x", "Task 'Wrong' uses 'nobody'"),
        ("debug: {msg: '{{ own }}'}\n  vars: {own: '{{ nobody }}'}", "Task 'Wrong' uses 'nobody'"),
        ("debug: {msg: '{{ late }}'}", "Task 'Wrong' uses 'late', which only a later task sets"),
        (
            "debug: {msg: x}\n  vars: {task_graph_after: [nobody]}",
            "task_graph_after of task 'Wrong' names 'nobody', which no task registers",
        ),
        ("debug: {msg: x}\n  vars: {task_graph_after: [late]}", "wait for each other: '"),
    ],
)
def test_names_that_cannot_be_there_are_an_error_with_file_and_line(
    load: Load, tmp_path: Path, task: str, message: str
) -> None:
    late = "- {command: '{{ wrong.rc }}', register: late}"
    tasks = load(f"- debug: {{msg: x}}\n- {task}\n  name: Wrong\n  register: wrong\n{late}")
    with pytest.raises(AnsibleParserError) as error:
        build(tasks)
    assert message in str(error.value)
    assert f"{tmp_path}/tasks.yml:" in _told(error)
    if "each other" not in message:
        assert f"{tmp_path}/tasks.yml:2:" in _told(error)


def test_a_cycle_is_an_error_that_names_its_tasks(load: Load) -> None:
    tasks = """
- {name: First, command: a, register: a, vars: {task_graph_after: [c]}}
- {name: Second, command: "{{ a }}", register: b}
- {name: Third, command: "{{ b }}", register: c}
"""
    with pytest.raises(AnsibleParserError) as error:
        build(load(tasks))
    assert all(name in str(error.value) for name in ("'First'", "'Second'", "'Third'"))


@pytest.mark.parametrize(
    ("task", "refused"),
    [
        ("debug: {msg: x}\n  loop: [1]", "loop"),
        ("debug: {msg: x}\n  with_items: [1]", "with_items"),
        ("block: [{debug: {msg: x}}]", "a block"),
        ("block: [{debug: {msg: x}}]\n  rescue: [{debug: {msg: x}}]", "a block"),
        ("include_tasks: other.yml", "include_tasks"),
        ("ansible.builtin.include_role: {name: x}", "ansible.builtin.include_role"),
        ("debug: {msg: x}\n  delegate_to: other", "delegate_to"),
        ("local_action: debug msg=x", "local_action"),
        ("command: x\n  async: 10\n  poll: 0", "async"),
        ("debug: {msg: x}\n  run_once: true", "run_once"),
        ("debug: {msg: x}\n  notify: handler", "notify"),
        ("debug: {msg: x}\n  throttle: 1", "throttle"),
        ("add_host: {name: x}", "add_host"),
        ("group_by: {key: x}", "group_by"),
        ("include_vars: more.yml", "include_vars"),
        ("meta: end_host", "meta"),
        ("ansible.builtin.meta: noop", "ansible.builtin.meta"),
        ("import_tasks: other.yml\n  delegate_to: other", "delegate_to"),
        ("import_tasks: other.yml\n  run_once: true", "run_once"),
    ],
)
def test_what_a_graph_cannot_hold_is_refused_with_file_and_line(
    load: Load, tmp_path: Path, task: str, refused: str
) -> None:
    with pytest.raises(AnsibleParserError) as error:
        load(f"- debug: {{msg: x}}\n- {task}", other="- debug: {msg: x}")
    assert f"A task graph can't hold {refused}" in str(error.value)
    assert f"{tmp_path}/tasks.yml:2:" in _told(error)


def test_what_an_imported_file_cannot_hold_is_refused_with_its_own_line(
    load: Load, tmp_path: Path
) -> None:
    with pytest.raises(AnsibleParserError, match="can't hold a block") as error:
        load("- import_tasks: other.yml", other="# no task\n- block: [{debug: {msg: x}}]")
    assert f"{tmp_path}/other.yml:2:" in _told(error)


def test_imported_files_are_part_of_the_graph(load: Load) -> None:
    tasks = """
- {command: a, register: a}
- {import_tasks: other.yml, vars: {given: "{{ a.rc }}"}}
- {debug: {msg: "{{ b }}"}}
"""
    assert needs(load(tasks, other="- {command: '{{ given }}', register: b}")) == [set(), {0}, {1}]


def test_the_critical_path_is_the_chain_that_took_longest(load: Load) -> None:
    tasks = """
- {name: a, command: a, register: a}
- {name: b, command: b, register: b}
- {name: of a, command: "{{ a }}", register: of_a}
- {name: of b, command: "{{ b }}", register: of_b}
- {name: of both, command: "{{ of_a }}{{ of_b }}"}
- {name: alone, command: x}
"""
    nodes = build(load(tasks))

    def path(*seconds: float) -> list[str]:
        return [n.name for n in graph.critical_path(nodes, dict(enumerate(seconds)))]

    assert path(1, 1, 5, 1, 1, 2) == ["a", "of a", "of both"]
    assert path(1, 1, 1, 5, 1, 2) == ["b", "of b", "of both"]
    assert path(1, 1, 1, 1, 1, 9) == ["alone"]
    # The rest did not run.
    assert path(1, 3)[:1] == ["b"]
    assert graph.critical_path([], {}) == []


NAMES = st.sampled_from(["a", "b", "c", "d"])
EXPRESSIONS = st.lists(NAMES, max_size=3).map(lambda used: "".join(f"{{{{ {n} }}}}" for n in used))
SET_FACTS = st.dictionaries(NAMES, EXPRESSIONS.map("<{}>".format), min_size=1, max_size=2)
TASKS = st.one_of(
    st.fixed_dictionaries({"set_fact": SET_FACTS}),
    st.fixed_dictionaries({"set_fact": SET_FACTS, "when": NAMES.map("{} | length is odd".format)}),
    st.fixed_dictionaries(
        {"debug": st.fixed_dictionaries({"msg": EXPRESSIONS}), "register": NAMES},
    ),
)
# What the tasks find: some of it is made of other variables each time it is read.
START = {"a": "1", "b": "two", "c": "({{ a }}{{ b }})", "d": "[{{ c }}]"}


def _after(tasks: list[dict[str, Any]], order: list[int]) -> dict[str, str]:
    """What the variables are when tasks have run in this order, by a small model of Ansible."""
    variables = dict(START)

    def render(text: str) -> str:
        while "{{" in text or "{%" in text:
            text = Environment().from_string(text).render(variables)
        return text

    for position in order:
        task = tasks[position]
        if "when" in task and render(f"{{{{ {task['when']} }}}}") == "False":
            continue
        if "register" in task:
            variables[task["register"]] = render(task["debug"]["msg"])
        else:
            rendered = {name: render(text) for name, text in task["set_fact"].items()}
            variables |= rendered
    return {name: render(text) for name, text in variables.items()}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tasks=st.lists(TASKS, min_size=2, max_size=7), data=st.data())
def test_every_order_that_the_graph_allows_ends_as_the_order_of_the_file(
    tmp_path: Path, tasks: list[dict[str, Any]], data: st.DataObject
) -> None:
    nodes = build(_load(tmp_path, tasks=yaml.safe_dump(tasks)), **START)
    sorter = TopologicalSorter({node.position: node.needs for node in nodes})
    sorter.prepare()
    order: list[int] = []
    ready: list[int] = []
    while sorter.is_active():
        ready += sorter.get_ready()
        order.append(ready.pop(data.draw(st.integers(0, len(ready) - 1))))
        sorter.done(order[-1])
    assert _after(tasks, order) == _after(tasks, list(range(len(tasks))))
