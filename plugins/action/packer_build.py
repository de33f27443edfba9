# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows what Packer is doing while the module packer_build waits for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.multicompute.spin.plugins.module_utils._packer import records

PAUSE_SECONDS = 0.5


class ActionModule(ActionBase):
    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        with TemporaryDirectory() as folder:
            arguments = {"log": f"{folder}/log"} | self._task.args
            # Another machine's file can't be followed from here.
            local = self._connection.transport == "local"
            with following(Path(arguments["log"]) if local else None):
                done = self._execute_module(
                    module_args=arguments if local else self._task.args, task_vars=task_vars
                )
        return result | done


@contextmanager
def following(log: Path | None) -> Iterator[None]:
    if not log:
        yield
        return
    log.unlink(missing_ok=True)
    ended = threading.Event()
    thread = threading.Thread(target=follow, args=(log, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def follow(log: Path, ended: threading.Event) -> None:
    """Display the log's lines as they are written."""
    # Here, Ctrl-C would be taken from the main thread, which waits for the module and acts on
    # signals only when one interrupts that.
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    position, over = 0, False
    while not over:
        # Once more after the end, for the last lines.
        over = ended.wait(PAUSE_SECONDS)
        if not log.exists():
            continue
        with log.open("rb") as file:
            file.seek(position)
            whole, newline, _unused = file.read().rpartition(b"\n")
        position += len(whole + newline)
        show(whole.decode(errors="replace"))


def show(output: str) -> None:
    display = Display()
    for record in records(output):
        build, lines = record.spoken
        # Steps; what they say in detail only with -v.
        tell = display.display if record.data[0] == "say" else display.v
        for line in lines:
            tell(f"  {build}: {line}")
