# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a command takes, with all processes that it starts."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from dataclasses import dataclass
from statistics import median

from _subjects import CHECKOUT

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl


@dataclass(frozen=True)
class Taken:
    """Seconds: of the clock until the command ended, and of processors (user and system)."""

    wall: float
    cpu: float

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.wall + other.wall, self.cpu + other.cpu)


def middle_of(taken: list[Taken]) -> Taken:
    return Taken(median(one.wall for one in taken), median(one.cpu for one in taken))


def measured(command: list[str], environment: dict[str, str], log: int) -> tuple[Taken, int]:
    """What it takes and how it ends; the command must leave nothing running for good."""
    # What a process leaves behind becomes a child of this one, which can count it.
    ctypes.CDLL(None).prctl(SUBREAPER, 1)
    began = time.perf_counter()
    process = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=log, stderr=log)
    wall = cpu = 0.0
    while True:
        try:
            pid, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        cpu += usage.ru_utime + usage.ru_stime
        if pid == process.pid:
            wall = time.perf_counter() - began
            process.returncode = os.waitstatus_to_exitcode(status)
    ctypes.CDLL(None).prctl(SUBREAPER, 0)
    return Taken(wall, cpu), process.returncode
