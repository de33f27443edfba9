# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests may run side by side."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# How long an example takes says something of the machine alone.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# What takes longest begins first, so that no core is left with it at the end; what shares fixtures
# runs as one. The first compiles the toolchain's part on a new machine, beside what needs none yet.
FIRST = (
    "tests/e2e/test_site.py",
    "tests/runtime_host/",
    "tests/e2e/test_release.py",
    "tests/packer/",
    "tests/integration/",
    "tests/e2e/",
    "tests/runtime/",
)


def _scope(nodeid: str) -> str:
    return next(filter(nodeid.startswith, FIRST), nodeid.partition("::")[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {scope: place for place, scope in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(_scope(item.nodeid), len(FIRST)))


class ByScope(LoadScopeScheduling):
    """A file's tests keep their order. Each has a deployment, a build directory and ports of its
    own; cargo's cache, which all share, is locked."""

    def _split_scope(self, nodeid: str) -> str:
        return _scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByScope:
    # In the order above, not by the number of tests.
    config.option.loadscopereorder = False
    return ByScope(config, log)
