# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests may run side by side."""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
BUILDS = ("e2e/", "runtime/", "runtime_host/test_hosts_playbook.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file's tests keep their order. What builds the app builds in the checkout's one cache, as
    `make site` does, so these files take turns."""
    for item in items:
        file = str(item.path.relative_to(TESTS))
        group = "builds" if file.startswith(BUILDS) else file
        item.add_marker(pytest.mark.xdist_group(group))
