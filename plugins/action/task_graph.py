# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation is in plugins/modules/task_graph.py."""

from __future__ import annotations

import collections
import gc
import json
import os
from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleError
from ansible.playbook.helpers import load_list_of_tasks
from ansible.playbook.task import Task
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.multicompute.spin.plugins.plugin_utils import (
    clients,
    graph,
    memory,
    shortcuts,
)
from ansible_collections.multicompute.spin.plugins.plugin_utils.execution import (
    Execution,
    Outcome,
)
from ansible_collections.multicompute.spin.plugins.plugin_utils.schedule import Schedule

display = Display()

# Ansible's main process imports this file before it forks the worker of the first graph.
gc.disable()
shortcuts.take()
clients.prepare()
# What is there now stays to the end: no collection of Ansible's need look at it again.
gc.freeze()
gc.enable()

# What a task of the file would inherit from an import_tasks in this place.
INHERITED = (
    *("become", "become_exe", "become_flags", "become_method", "become_user", "check_mode"),
    *("collections", "connection", "diff", "environment", "ignore_errors", "module_defaults"),
    *("no_log", "port", "remote_user", "tags", "timeout", "vars"),
)


class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        # A collection would touch, and so copy, all of the memory that this worker and its forks
        # share with Ansible's main process. The worker ends with this task.
        gc.disable()
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "file": {"type": "str"},
                "roles": {"type": "list", "elements": "str"},
                "tasks_from": {"type": "str", "default": "main"},
                "jobs": {"type": "int", "default": 8},
            },
            mutually_exclusive=[("file", "roles")],
            required_one_of=[("file", "roles")],
        )
        if arguments["jobs"] < 1:
            raise AnsibleError(f"jobs is {arguments['jobs']}: set 1 or more")
        execution = Execution(self._task, task_vars or {}, self._play_context, self._loader)
        environment: dict[str, str] = {}
        self._compute_environment_string(environment)
        parallel = self._templar.template(execution.task_vars.get("multicompute_task_graph", True))
        store = memory.Store(self._identity(arguments, execution))
        known = store.load() if parallel else {}
        # It reads while the tasks are loaded.
        with memory.reading_again(known, environment) as reader:
            nodes = graph.build(self._tasks(arguments, execution), _variables_by_role(execution))
            schedule = Schedule(
                nodes, execution, self._shared_loader_obj, environment, known, reader
            )
            if parallel:
                schedule.run(arguments["jobs"])
                remembered = schedule.memories_of_this_run()
                if remembered != known:
                    store.save(remembered)
            else:
                schedule.run_one_by_one()
        _show_critical_path(nodes, schedule.outcomes)
        # The strategy gives facts of this action the precedence of registered variables. Callback
        # plugins go on to call the task by the name that it had.
        self._task.name = self._task.get_name()
        self._task.action = "ansible.builtin.set_fact"
        return _summary(nodes, schedule.outcomes, execution)

    def _identity(self, arguments: dict[str, Any], execution: Execution) -> list[Any]:
        """The same for two runs that may have the same tasks."""
        item = execution.task_vars.get("ansible_loop_var", "")
        return [
            arguments["roles"] or [os.path.dirname(self._task.get_path()), arguments["file"]],
            arguments["tasks_from"],
            execution.task_vars.get(item),
            [sorted(execution.play.only_tags), sorted(execution.play.skip_tags)],
            execution.host.name,
            execution.task_vars.get("ansible_inventory_sources"),
            self._task.check_mode,
        ]

    def _tasks(self, arguments: dict[str, Any], execution: Execution) -> list[Task]:
        """What import_tasks or import_role would put here, without what the tags leave out."""
        if arguments["file"]:
            imports: list[dict[str, Any]] = [{"ansible.builtin.import_tasks": arguments["file"]}]
        else:
            tasks_from = {"tasks_from": arguments["tasks_from"]}
            imports = [
                {"ansible.builtin.import_role": {"name": role, **tasks_from}}
                for role in arguments["roles"]
            ]
        given = self._task.get_ds()
        inherited = {name: given[name] for name in INHERITED if name in given}
        loaded = load_list_of_tasks(
            [{**imported, **inherited} for imported in imports],
            play=execution.play,
            block=self._task._parent,
            role=self._task._role,
            variable_manager=execution.manager,
            loader=self._loader,
        )
        tasks = [
            task
            for task in graph.flatten(loaded)
            if task.evaluate_tags(
                execution.play.only_tags, execution.play.skip_tags, execution.task_vars
            )
        ]
        for task in tasks:
            # Ansible's main process knows just this one, and takes results for it alone.
            task._uuid = self._task._uuid
        return tasks


def _variables_by_role(execution: Execution) -> Callable[[Task], dict[str, Any]]:
    """Variables to find names in: those of a role are the same for all its tasks."""
    found: dict[int, dict[str, Any]] = {}

    def variables_of(task: Task) -> dict[str, Any]:
        role = id(task._role)
        if role not in found:
            found[role] = execution.variables(task)
        return {**found[role], **task.get_vars()}

    return variables_of


def _show_critical_path(nodes: list[graph.Node], outcomes: dict[int, Outcome]) -> None:
    seconds = {position: outcome.seconds for position, outcome in outcomes.items()}
    path = graph.critical_path(nodes, seconds)
    chain = "\n".join(f"{seconds[node.position]:8.2f} s  {node.name}" for node in path)
    display.v(f"The chain of tasks that took longest:\n{chain}")


def _summary(
    nodes: list[graph.Node], outcomes: dict[int, Outcome], execution: Execution
) -> dict[str, Any]:
    counts = collections.Counter(outcome.state for outcome in outcomes.values())
    facts: dict[str, Any] = {}
    tasks = []
    for node in nodes:
        outcome = outcomes[node.position]
        facts |= execution.made_by(node, outcome)
        tasks.append(
            {
                "name": node.name,
                "action": node.task.action,
                "state": outcome.state,
                "duration": round(outcome.seconds, 3),
                "remembered": outcome.remembered,
            }
        )
    summary = {
        "changed": "changed" in counts,
        "msg": ", ".join(f"{count} {state}" for state, count in sorted(counts.items())),
        "counts": dict(counts),
        "ansible_facts": facts,
        "tasks": tasks,
        # Each task showed its own result.
        "_ansible_verbose_override": True,
    }
    if any(outcome.result.get("_ansible_no_log") for outcome in outcomes.values()):
        summary["_ansible_no_log"] = True
    if "failed" in counts:
        summary |= {"failed": True, "msg": _failures(nodes, outcomes)}
        if not display.verbosity:
            # Ansible takes no facts of what failed: they would only hide the reason on the screen.
            del summary["ansible_facts"], summary["tasks"]
    return summary


def _failures(nodes: list[graph.Node], outcomes: dict[int, Outcome]) -> str:
    failed = [node for node in nodes if outcomes[node.position].state == "failed"]
    lines = [_failure(node, outcomes[node.position]) for node in failed]
    names = [f"'{node.name}'" for node in nodes if outcomes[node.position].state == "left out"]
    # That an assertion holds up what follows is what it is for.
    if names and not all(node.task.action in graph.ASSERTIONS for node in failed):
        lines.append(f"Left out, since they need it: {', '.join(names)}")
    return "\n".join(lines)


def _failure(node: graph.Node, outcome: Outcome) -> str:
    if node.task.action in graph.ASSERTIONS:
        # Whoever wrote it said all that there is to say.
        return str(outcome.result.get("msg"))
    where = f"task '{node.name}' ({node.task.action}, {node.task.get_path()})"
    return f"{_reason(outcome)} [{where}]"


def _reason(outcome: Outcome) -> str:
    if outcome.result.get("_ansible_no_log"):
        return "Its output is hidden, since no_log is set"
    reason = str(outcome.result.get("msg", "no message"))
    if not display.verbosity:
        return reason
    # The module has masked its secrets here.
    given = outcome.result.get("invocation", {}).get("module_args", {})
    shown = {name: value for name, value in given.items() if value is not None}
    return f"{reason} Its arguments: {json.dumps(shown, default=str)}"
