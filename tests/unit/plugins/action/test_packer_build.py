# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest
from ansible_collections.multicompute.spin.plugins.action import packer_build
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import until

STOPPING = {signal.SIGINT, signal.SIGTERM}


def blocked(thread: threading.Thread) -> set[signal.Signals]:
    """What it lets no signal through of."""
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("SigBlk")]
    bits = int(line.split()[1], 16)
    return {number for number in STOPPING if bits >> (number - 1) & 1}


def test_who_shows_the_log_takes_no_signal_from_who_waits_for_the_module(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with packer_build.following(tmp_path / "log"):
        (thread,) = set(threading.enumerate()) - before
        until(lambda: blocked(thread) == STOPPING, 10)
        assert blocked(thread) == STOPPING
        assert not blocked(threading.main_thread())


def test_the_last_lines_are_shown_however_soon_the_build_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(packer_build, "show", shown.append)
    log = tmp_path / "log"
    with packer_build.following(log):
        log.write_text("one\ntwo\n")
    assert "".join(shown) == "one\ntwo"
