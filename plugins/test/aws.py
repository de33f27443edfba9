# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jinja tests about AWS; their documentation stands beside this file, as Ansible wants it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ansible.errors import AnsibleFilterError

try:
    from botocore.session import Session
except ImportError as error:
    MISSING: ImportError | None = error
else:
    MISSING = None


@cache
def regions() -> frozenset[str]:
    session = Session()
    return frozenset(
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("ec2", partition)
    )


def aws_region(name: object) -> bool:
    if MISSING:
        raise AnsibleFilterError("the test aws_region needs the Python package botocore") from (
            MISSING
        )
    return isinstance(name, str) and name in regions()


class TestModule:
    def tests(self) -> dict[str, Callable[[object], bool]]:
        return {"aws_region": aws_region}
