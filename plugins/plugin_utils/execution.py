# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one task of a graph as Ansible's worker would, inside the worker that runs the graph."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from ansible.executor.process import worker
from ansible.executor.task_executor import TaskExecutor
from ansible.executor.task_result import _RawTaskResult
from ansible.playbook.task import Task
from ansible.vars.clean import module_response_deepcopy, strip_internal_keys
from ansible_collections.multicompute.spin.plugins.plugin_utils.graph import Node
from ansible_collections.multicompute.spin.plugins.plugin_utils.memory import Memory


@dataclass
class Outcome:
    """How a node ended."""

    # ok, changed, skipped, failed, ignored (it failed, and ignore_errors is set) or left out
    state: str
    result: dict[str, Any]
    # The task's attributes as they were rendered.
    fields: dict[str, Any]
    seconds: float = 0.0
    # What its modules are remembered by; None for one that is not.
    memories: list[Memory | None] = field(default_factory=list)
    remembered: bool = False

    @property
    def memory(self) -> Memory | None:
        return self.memories[0] if len(self.memories) == 1 else None

    @property
    def only_read(self) -> bool:
        return None not in self.memories

    @property
    def holds_up(self) -> bool:
        """Whether those that need the node must not run."""
        return self.state in ("failed", "left out")


def left_out(node: Node) -> Outcome:
    return Outcome("left out", {"skipped": True, "changed": False}, node.task.dump_attrs())


class Execution:
    """One host's tasks, as part of the task `graph_task` that Ansible knows."""

    def __init__(
        self, graph_task: Task, task_vars: dict[str, Any], play_context: Any, loader: Any
    ) -> None:
        self.graph_task = graph_task
        self.play = graph_task._parent._play
        self.task_vars = task_vars
        self.play_context = play_context
        self.loader = loader
        # Ansible hands an action plugin neither the host nor the manager of variables.
        self.worker = worker.current_worker
        self.host = self.worker._host
        self.manager = self.worker._variable_manager

    def variables(self, task: Task) -> dict[str, Any]:
        """What the task would see if Ansible ran it now."""
        variables = self.manager.get_vars(
            play=self.play,
            host=self.host,
            task=task,
            _hosts=self.task_vars.get("ansible_play_hosts"),
            _hosts_all=self.task_vars.get("ansible_play_hosts_all"),
        )
        for name in ("ansible_current_hosts", "ansible_failed_hosts"):
            variables[name] = self.task_vars.get(name)
        # Of a loop over the graph; they go before a role's defaults, as in what a loop includes.
        for kind in ("ansible_loop_var", "ansible_index_var"):
            if variable := self.task_vars.get(kind):
                variables |= {kind: variable, variable: self.task_vars[variable]}
        return variables

    def execute(self, node: Node, loaders: Any) -> Outcome:
        """Runs the task; the loaders say how its module runs."""
        # Running it renders its own attributes alone, not what it inherits.
        task = node.task.copy(exclude_parent=True)
        task._parent = node.task._parent
        result = TaskExecutor(
            self.host,
            task,
            self.variables(task),
            self.play_context.copy(),
            self.loader,
            loaders,
            self.worker._final_q,
            self.manager,
        ).run()
        fields = task.dump_attrs()
        ended = self._ended(result, fields)
        if ended.is_failed() or ended.is_unreachable():
            state = "ignored" if task.ignore_errors else "failed"
        elif ended.is_skipped():
            state = "skipped"
        else:
            state = "changed" if ended.is_changed() else "ok"
        return Outcome(state, result, fields)

    def made_by(self, node: Node, outcome: Outcome) -> dict[str, Any]:
        """Variables that later tasks see."""
        if outcome.state == "left out":
            return {}
        made = dict(outcome.result.get("ansible_facts", {}))
        if node.task.register:
            registered = strip_internal_keys(module_response_deepcopy(outcome.result))
            registered.pop("invocation", None)
            made[node.task.register] = registered
        return made

    def set_variables(self, node: Node, outcome: Outcome) -> None:
        """In this worker's copy, where Ansible's main process puts registered variables."""
        self.manager.set_nonpersistent_facts(self.host.name, self.made_by(node, outcome))

    def show(self, node: Node, outcome: Outcome) -> None:
        """Tells the callback plugins, as of an item of a loop."""
        label = node.name
        if given := node.task.name:
            label = label.removesuffix(given) + str(outcome.fields.get("name") or given)
        if outcome.seconds >= 0.1:
            label += f" ({outcome.seconds:.1f} s)"
        shown = {
            **outcome.result,
            "_ansible_item_label": label,
            "duration": round(outcome.seconds, 3),
        }
        send = functools.partial(
            self.worker._final_q.send_callback, task_result=self._ended(shown, outcome.fields)
        )
        if outcome.state in ("failed", "ignored"):
            # The graph's own error says it; Ansible would print this one beside it.
            shown.pop("exception", None)
            send("v2_runner_item_on_failed")
        elif outcome.state in ("skipped", "left out"):
            send("v2_runner_item_on_skipped")
        else:
            if outcome.fields.get("diff") and "diff" in shown:
                send("v2_on_file_diff")
            send("v2_runner_item_on_ok")

    def _ended(self, result: dict[str, Any], fields: dict[str, Any]) -> _RawTaskResult:
        return _RawTaskResult(
            host=self.host, task=self.graph_task, return_data=result, task_fields=fields
        )
