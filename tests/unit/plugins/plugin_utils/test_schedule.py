# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the nodes of a graph start."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.plugin_utils import schedule
from ansible_collections.multicompute.spin.plugins.plugin_utils.execution import Outcome
from ansible_collections.multicompute.spin.plugins.plugin_utils.graph import Node


class Execution:
    """Ends every node at once."""

    def execute(self, _node: Node, _loaders: Any) -> Outcome:
        return Outcome("ok", {}, {})

    def set_variables(self, _node: Node, _outcome: Outcome) -> None:
        pass

    show = set_variables


def test_a_chain_of_nodes_that_end_at_once_waits_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task: Any = SimpleNamespace(
        action="ansible.builtin.debug", get_name=lambda include_role_fqcn: "node"
    )
    nodes = [Node(task, position, {position - 1} if position else set()) for position in range(4)]
    timeouts: list[float] = []

    def wait(sources: list[Any], timeout: float) -> list[Any]:
        assert not sources
        timeouts.append(timeout)
        return []

    monkeypatch.setattr(schedule, "wait", wait)
    execution: Any = Execution()
    run = schedule.Schedule(nodes, execution, None, {}, {})
    run.run(jobs=8)
    assert len(run.outcomes) == 4
    assert set(timeouts) == {0}
