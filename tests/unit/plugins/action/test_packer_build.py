# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.multicompute.spin.plugins.action import packer_build


def test_the_last_lines_are_shown_however_soon_the_build_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(packer_build, "show", shown.append)
    log = tmp_path / "log"
    with packer_build.following(log):
        log.write_text("one\ntwo\n")
    assert "".join(shown) == "one\ntwo"
