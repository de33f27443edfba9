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

BUILDS = (
    "tests/e2e/",
    "tests/packer/",
    "tests/runtime/",
    "tests/runtime_host/test_hosts_playbook.py",
)


class TwoLanes(LoadScopeScheduling):
    """A file's tests keep their order. What builds the app builds in the checkout's one cache, as
    `make site` does, so these files take turns."""

    def _split_scope(self, nodeid: str) -> str:
        return "builds" if nodeid.startswith(BUILDS) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> TwoLanes:
    return TwoLanes(config, log)
