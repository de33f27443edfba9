# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a pod's events say; a real cluster is asked in tests/kubernetes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import kubernetes_rollout_info as module


class Cluster:
    def __init__(self, *events: Any) -> None:
        self.events = list(events)

    def warnings(self, pod: Any) -> list[Any]:
        return self.events


def failures(*events: Any) -> list[module.Failure]:
    running = SimpleNamespace(waiting=None, running=object())
    status = SimpleNamespace(name="app", state=running, restart_count=0, ready=False)
    pod = SimpleNamespace(
        metadata=SimpleNamespace(name="one", deletion_timestamp=None),
        status=SimpleNamespace(conditions=[], container_statuses=[status]),
    )
    return list(module.pod_failures(Cluster(*events), pod))


def unhealthy(message: str, count: int) -> Any:
    return SimpleNamespace(reason="Unhealthy", message=message, count=count)


@pytest.mark.parametrize(("count", "hopeless"), [(1, False), (9, False), (10, True)])
def test_a_probe_that_goes_on_being_answered_badly_is_hopeless(count: int, hopeless: bool) -> None:
    message = "Startup probe failed: HTTP probe failed with statuscode: 404"
    (failure,) = failures(unhealthy(message, count))
    assert (failure.message, failure.hopeless) == (message, hopeless)
    assert failure.container == "app", "its log is shown"


def test_a_server_that_does_not_listen_yet_may_still_come_up() -> None:
    assert failures(unhealthy("Startup probe failed: connection refused", 30)) == []
