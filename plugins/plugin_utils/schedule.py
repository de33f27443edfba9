# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the nodes of a graph, each as soon as those that it needs have ended."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from multiprocessing.connection import Connection, wait
from typing import Any

from ansible import constants as C
from ansible.utils.fqcn import add_internal_fqcns
from ansible_collections.multicompute.spin.plugins.plugin_utils import memory, warm
from ansible_collections.multicompute.spin.plugins.plugin_utils.execution import (
    Execution,
    Outcome,
    left_out,
)
from ansible_collections.multicompute.spin.plugins.plugin_utils.graph import Node

# Actions that run no module: not worth a process.
LOCAL = {
    *C._ACTION_DEBUG,
    *C._ACTION_SET_FACT,
    *add_internal_fqcns(("assert", "fail", "validate_argument_spec")),
}


@dataclass
class Running:
    node: Node
    process: Any
    since: float


class Schedule:
    def __init__(
        self,
        nodes: Sequence[Node],
        execution: Execution,
        loaders: Any,
        environment: dict[str, str],
        known: Mapping[str, memory.Memory],
        reader: Connection | None = None,
    ) -> None:
        self.nodes = nodes
        self.execution = execution
        self.loaders = loaders
        self.environment = environment
        # Memories by the node's name, and the process that reads again what they hold.
        self.known = known
        self.reader = reader
        self.outcomes: dict[int, Outcome] = {}
        # Whose reads answered as remembered, and whose otherwise, as far as is known yet.
        self.same: dict[str, bool] = {}
        self.running: dict[Connection, Running] = {}
        self.sorter = TopologicalSorter({node.position: node.needs for node in nodes})

    def run_one_by_one(self) -> None:
        """As Ansible does: in the order of the file, and the first failure ends it."""
        failed = False
        for node in self.nodes:
            since = time.monotonic()
            outcome = left_out(node) if failed else self.execution.execute(node, self.loaders)
            failed = failed or outcome.holds_up
            self._end(node, outcome, since)

    def run(self, jobs: int) -> None:
        self.sorter.prepare()
        reader = [self.reader] if self.reader else []
        waiting: list[int] = []
        parent = os.getppid()
        try:
            while self.sorter.is_active():
                waiting = sorted([*waiting, *self.sorter.get_ready()])
                before = len(self.outcomes)
                for position in self._startable(waiting, jobs):
                    waiting.remove(position)
                    self._start(self.nodes[position])
                # What has ended already may have made others ready.
                timeout = 1 if len(self.outcomes) == before else 0
                for source in wait([*self.running, *reader], timeout):
                    if source in self.running:
                        self._take_outcome(source)
                    elif not self._take_answer(source):  # type: ignore[arg-type]
                        reader = []
                if os.getppid() != parent:
                    # It was killed. On this signal a worker ends all processes of its group.
                    os.kill(os.getpid(), signal.SIGTERM)
        finally:
            for running in self.running.values():
                running.process.terminate()

    def _take_answer(self, reader: Connection) -> bool:
        """Whether there may be more."""
        try:
            name, same = reader.recv()
        except EOFError:
            self.same = dict.fromkeys(self.known, False) | self.same
            return False
        self.same[name] = same
        return True

    def _startable(self, waiting: Sequence[int], jobs: int) -> Iterator[int]:
        for position in list(waiting):
            name = self.nodes[position].name
            if len(self.running) < jobs and (name not in self.known or name in self.same):
                yield position

    def _start(self, node: Node) -> None:
        since = time.monotonic()
        outcome = self._outcome_at_once(node)
        if outcome:
            self._end(node, outcome, since)
            self.sorter.done(node.position)
        else:
            warm.load_module(node.task.action)
            receiver, process = warm.start_fork(self._execute_in_fork, node)
            self.running[receiver] = Running(node, process, since)

    def _outcome_at_once(self, node: Node) -> Outcome | None:
        """For a node that needs no process of its own."""
        if any(self.outcomes[need].holds_up for need in node.needs):
            return left_out(node)
        if node.task.action in LOCAL:
            return self.execution.execute(node, self.loaders)
        if self.same.get(node.name) and self._is_untouched(node):
            remembered = self.known[node.name]
            recall = functools.partial(memory.recall, remembered)
            with contextlib.suppress(memory.Forgotten):
                loaders = warm.warm_loaders(self.loaders, recall, memory.forget)
                outcome = self.execution.execute(node, loaders)
                outcome.memories, outcome.remembered = [remembered], True
                return outcome
        return None

    def _is_untouched(self, node: Node) -> bool:
        """Whether nothing that the node needs has written since its reads were made again."""
        found: set[int] = set()
        waiting = set(node.needs)
        while waiting:
            position = waiting.pop()
            if not self.outcomes[position].only_read:
                return False
            found.add(position)
            waiting |= self.nodes[position].needs - found
        return True

    def _execute_in_fork(self, send: warm.Send, node: Node) -> None:
        memories: list[memory.Memory | None] = []
        # Where the module may run again, or another after it, each gets a fork of its own.
        has_action = self.loaders.action_loader.has_plugin(node.task.action)
        once = not (has_action or node.task.until or node.task.retries)
        run = (
            memory.run_and_record
            if once
            else functools.partial(warm.in_fork, memory.run_and_record)
        )

        def run_module(
            fqcn: str, arguments: dict[str, Any], environment: dict[str, str]
        ) -> warm.Ended:
            ended, remembered = run(fqcn, arguments, environment)
            # An environment of the task's own is not known before the task is rendered.
            memories.append(remembered if environment == self.environment else None)
            return ended

        loaders = warm.warm_loaders(
            self.loaders, run_module, before_command=lambda: memories.append(None)
        )
        outcome = self.execution.execute(node, loaders)
        if not memories and outcome.state != "skipped":
            # What an action does without a module is not known.
            memories.append(None)
        outcome.memories = memories
        send(outcome)

    def _take_outcome(self, receiver: Connection) -> None:
        running = self.running.pop(receiver)
        node = running.node
        try:
            outcome = receiver.recv()
        except EOFError:
            running.process.join()
            message = f"The process of the task ended with {running.process.exitcode}"
            result = {"failed": True, "changed": False, "msg": message}
            outcome = Outcome("failed", result, node.task.dump_attrs(), memories=[None])
        # It ends by itself, beside what follows.
        receiver.close()
        self._end(node, outcome, running.since)
        self.sorter.done(node.position)

    def _end(self, node: Node, outcome: Outcome, since: float) -> None:
        outcome.seconds = time.monotonic() - since
        self.outcomes[node.position] = outcome
        self.execution.set_variables(node, outcome)
        self.execution.show(node, outcome)

    def memories_of_this_run(self) -> dict[str, memory.Memory]:
        return {
            node.name: outcome.memory
            for node in self.nodes
            if (outcome := self.outcomes[node.position]).state == "ok" and outcome.memory
        }
