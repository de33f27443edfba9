# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is made from the code says what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]


def test_the_pages_made_by_scripts_docs_are_up_to_date() -> None:
    command = [sys.executable, ROOT / "scripts" / "docs", "--check"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_pain_has_a_thread_that_can_be_found() -> None:
    told = yaml.safe_load((ROOT / "docs" / "modules.yml").read_text())["modules"]
    threads = [
        thread
        for module in told.values()
        for pain in module.get("pains", [])
        for thread in pain["threads"]
    ]
    assert threads
    address = r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+"
    assert [thread for thread in threads if not re.fullmatch(address, thread)] == []
