# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which task of a file needs which other: read from the names that its templates use."""

from __future__ import annotations

import functools
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleParserError
from ansible.playbook.block import Block
from ansible.playbook.role import Role
from ansible.playbook.task import Task
from ansible.template import is_trusted_as_template
from ansible.utils.fqcn import add_internal_fqcns
from jinja2 import Environment, TemplateSyntaxError, nodes
from jinja2.defaults import DEFAULT_NAMESPACE
from jinja2.meta import find_undeclared_variables

# A node says with this variable of its own what it has to wait for although no argument names it.
AFTER = "task_graph_after"

# What makes more of a task than one run of one action on this host.
REFUSED = {"async", "delegate_to", "local_action", "loop", "notify", "run_once", "throttle"}
REFUSED_ACTIONS = {
    *C._ACTION_ALL_INCLUDES,
    *C._ACTION_META,
    *add_internal_fqcns(("add_host", "group_by")),
    # They return names that nobody knows before they have run, or facts of the host.
    *add_internal_fqcns(
        ("gather_facts", "include_vars", "package_facts", "service_facts", "setup")
    ),
}
VALIDATIONS = {*add_internal_fqcns(("validate_argument_spec",))}
ASSERTIONS = {*add_internal_fqcns(("assert", "fail")), *VALIDATIONS}
# Names that templates may use and no variable holds.
BUILT_IN = {*DEFAULT_NAMESPACE, "lookup", "query", "q", "now", "undef", "omit"}
# Filters and tests that accept a name which is not there.
ACCEPTING_UNDEFINED = {"default", "d", "defined", "undefined"}


class _AnyPlugin(dict[str, Any]):
    """Stands for Ansible's filters and tests, which only have to exist to find names."""

    def get(self, name: str, default: Any = None) -> Any:
        return str


_environment = Environment(extensions=["jinja2.ext.do", "jinja2.ext.loopcontrols"])
_environment.filters = _environment.tests = _AnyPlugin()


@dataclass
class Node:
    """One task of the graph."""

    task: Task
    position: int
    needs: set[int] = field(default_factory=set)

    @property
    def name(self) -> str:
        return self.task.get_name(include_role_fqcn=False)

    @property
    def sets(self) -> set[str]:
        """Names of variables that later tasks find changed when this one has ended."""
        names = {self.task.register} if self.task.register else set()
        if self.task.action in C._ACTION_SET_FACT:
            names |= self.task.args.keys() - {"cacheable"}
        return names


@dataclass(frozen=True)
class Names:
    """Names that templates use; those in `accepted` need not be there."""

    used: frozenset[str]
    accepted: frozenset[str]

    @property
    def required(self) -> frozenset[str]:
        return self.used - self.accepted


@functools.cache
def _names_of_template(template: str) -> Names:
    try:
        tree = _environment.parse(template)
    except TemplateSyntaxError:
        # Ansible reports it with file and line when it renders the template.
        return Names(frozenset(), frozenset())
    used = find_undeclared_variables(tree) - BUILT_IN
    accepted = {
        name.name
        for guard in tree.find_all((nodes.Filter, nodes.Test))
        if guard.name in ACCEPTING_UNDEFINED and guard.node is not None
        for name in _names_at_the_root(guard.node)
    }
    return Names(frozenset(used), frozenset(accepted))


def _names_at_the_root(node: nodes.Node) -> Iterator[nodes.Name]:
    """`a` of `a.b.c` and of `a['b']`: what `default` and `is defined` look at."""
    while isinstance(node, nodes.Getattr | nodes.Getitem):
        node = node.node
    if isinstance(node, nodes.Name):
        yield node


def _templates(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if "{{" in value or "{%" in value:
            yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _templates(key)
            yield from _templates(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _templates(item)


def _conditionals(value: Any) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str):
            yield item if "{{" in item or "{%" in item else f"{{{{ {item} }}}}"


def _templates_of_task(task: Task) -> Iterator[str]:
    yield from _templates([task.args, task.environment, task.name])
    for condition in (task.when, task.changed_when, task.failed_when, task.until):
        yield from _conditionals(condition)
    # Assertions are conditions as well.
    if task.action in ASSERTIONS:
        yield from _conditionals(task.args.get("that"))
    # A role's variables are rendered when Ansible validates them.
    if task.action in VALIDATIONS:
        for name in task.args.get("argument_spec", {}):
            yield f"{{{{ {name} | default }}}}"


def names_of_task(task: Task, variables: Mapping[str, Any], made: Container[str]) -> Names:
    """Names that the task's templates use, directly or through the values of other variables.

    A variable in `made`, which a task before it has set, is not looked into: its value is final.
    """
    used: set[tuple[str, bool]] = set()
    guarded = {task.register}
    # Templates, and whether each of them is rendered whenever the task runs.
    waiting = [(template, True) for template in _templates_of_task(task)]
    while waiting:
        template, surely = waiting.pop()
        names = _names_of_template(template)
        # What one condition guards, other templates of the task may use.
        guarded |= names.accepted
        for name in names.used:
            if (name, surely) in used:
                continue
            used.add((name, surely))
            if name not in made:
                value = variables.get(name)
                # Of a list or dictionary, only the items that are asked for are rendered.
                below = surely and isinstance(value, str)
                trusted = filter(is_trusted_as_template, _templates(value))
                waiting.extend((template, below) for template in trusted)
    names_used = {name for name, _surely in used}
    asked_for = {name for name, surely in used if surely}
    return Names(frozenset(names_used), frozenset(guarded | names_used - asked_for))


def flatten(tasks: Iterable[Block | Task]) -> Iterator[Task]:
    """Tasks of imported files, in order; refuses what a graph can't hold."""
    ended: list[Role] = []
    for task in _tasks_of(tasks):
        role = task._role
        if task.implicit:
            # Ansible's own task at the end of a role, on which several others may depend.
            ended.append(role)
        elif role not in ended or role._metadata.allow_duplicates:
            _refuse(task)
            yield task


def _tasks_of(tasks: Iterable[Block | Task]) -> Iterator[Task]:
    for item in tasks:
        if not isinstance(item, Block):
            yield item
        elif Block.is_block(getattr(item, "_ds", None)):
            raise AnsibleParserError("A task graph can't hold a block", obj=item.get_ds())
        else:
            # An import hands what it says to its tasks.
            if isinstance(item._parent, Task):
                _refuse(item._parent)
            yield from _tasks_of(item.block)


def _refuse(task: Task) -> None:
    given = task.get_ds() or {}
    refused = [key for key in given if key in REFUSED or key.startswith("with_")]
    if task.action in REFUSED_ACTIONS:
        refused.append(task.action)
    if refused:
        raise AnsibleParserError(
            f"A task graph can't hold {refused[0]}. Put the task into a file of its own, and"
            " include that before or after the graph",
            obj=given,
        )


def build(tasks: Sequence[Task], variables_of: Any) -> list[Node]:
    """Nodes with what each needs; `variables_of(task)` gives the variables that it sees.

    A task needs the last one before it that sets a name which it uses. One that sets a name waits
    for those before it that use or set it. So each task sees just what it would in file order.
    What follows an assertion waits for it.
    """
    found = [Node(task, position) for position, task in enumerate(tasks)]
    made = {name for node in found for name in node.sets}
    setters: dict[str, int] = {}
    readers: dict[str, set[int]] = {}
    barrier: int | None = None
    for node in found:
        variables = variables_of(node.task)
        names = names_of_task(node.task, variables, setters)
        for name in names.required - made - variables.keys():
            raise AnsibleParserError(
                f"Task '{node.name}' uses '{name}', which no variable and no task before it sets",
                obj=node.task.get_ds(),
            )
        for name in names.used & made:
            if name in setters:
                node.needs.add(setters[name])
            elif name in names.required and name not in variables and name not in node.sets:
                raise AnsibleParserError(
                    f"Task '{node.name}' uses '{name}', which only a later task sets",
                    obj=node.task.get_ds(),
                )
            readers.setdefault(name, set()).add(node.position)
        for name in node.sets:
            node.needs |= readers.pop(name, set()) | {setters.get(name, node.position)}
            setters[name] = node.position
        if barrier is not None:
            node.needs.add(barrier)
        if node.task.action in ASSERTIONS:
            barrier = node.position
        node.needs.discard(node.position)
    _add_explicit(found, setters)
    _check_cycles(found)
    return found


def _add_explicit(found: list[Node], setters: Mapping[str, int]) -> None:
    for node in found:
        for name in node.task.vars.get(AFTER, []):
            if name not in setters:
                raise AnsibleParserError(
                    f"{AFTER} of task '{node.name}' names '{name}', which no task registers",
                    obj=node.task.get_ds(),
                )
            node.needs.add(setters[name])


def _check_cycles(found: list[Node]) -> None:
    try:
        TopologicalSorter({node.position: node.needs for node in found}).prepare()
    except CycleError as error:
        names = " -> ".join(f"'{found[position].name}'" for position in error.args[1])
        raise AnsibleParserError(
            f"These tasks wait for each other: {names}", obj=found[error.args[1][0]].task.get_ds()
        ) from None


def critical_path(found: Sequence[Node], seconds: Mapping[int, float]) -> list[Node]:
    """The chain of nodes that took longest; nodes without seconds did not run."""
    total: dict[int, float] = {}
    before: dict[int, int | None] = {}
    for position in TopologicalSorter({n.position: n.needs for n in found}).static_order():
        last = max(found[position].needs, key=lambda need: total[need], default=None)
        before[position] = last
        total[position] = seconds.get(position, 0.0) + (0.0 if last is None else total[last])
    path: list[Node] = []
    step = max(total, key=lambda position: total[position], default=None)
    while step is not None:
        path.insert(0, found[step])
        step = before[step]
    return path
