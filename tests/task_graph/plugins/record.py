# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A callback plugin as any user may have one: writes down what Ansible tells of each task."""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "record"

    def _write(self, event: str, result: Any) -> None:
        told = result.result
        line = {
            "event": event,
            "host": result.host.get_name(),
            "name": result.task_name,
            "label": told.get("_ansible_item_label"),
            "result": told,
        }
        with open(os.environ["RECORD"], "a") as file:
            file.write(json.dumps(line, default=str) + "\n")

    def v2_runner_on_ok(self, result: Any) -> None:
        self._write("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._write("ignored" if ignore_errors else "failed", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._write("skipped", result)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._write("ok", result)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._write("failed", result)

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        self._write("skipped", result)

    def v2_on_file_diff(self, result: Any) -> None:
        self._write("diff", result)
