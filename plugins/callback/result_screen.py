# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
name: result_screen
type: notification
short_description: Ends a run with one screen that says what is running
version_added: 1.0.0
author:
  - The multicompute.spin authors (@multicompute)
description:
  - If a play set the statistic C(multicompute_result) with M(ansible.builtin.set_stats), this
    prints the endpoint, a table of the primitives and the next commands after everything else, or
    what failed, in place of the commands. Otherwise it prints nothing.
  - The first line is always C(endpoint:) and the URL, for scripts.
requirements:
  - enable in configuration, C(callbacks_enabled = multicompute.spin.result_screen)
"""

from collections.abc import Iterator
from typing import Any

from ansible.plugins.callback import CallbackBase

STATISTIC = "multicompute_result"
# Title, key, unit; numbers stand on the right. What no row has is left out,
COLUMNS = [
    ("PRIMITIVE", "name", ""),
    ("KIND", "kind", ""),
    ("ARCH", "architecture", ""),
    ("WEIGHT", "weight", ""),
    ("RELEASE", "release", ""),
    ("STANDBY", "standby", ""),
    ("HEALTH", "health", ""),
    ("REQUESTS", "requests", ""),
    ("FAILED", "failures", ""),
    ("SHARE", "share", " %"),
    ("P50", "p50_ms", " ms"),
    ("ROLLED IN", "rolled_in", " s"),
    ("URL", "url", ""),
    ("ERROR", "error", ""),
]
# and these also where all rows have it empty.
SELDOM = ("standby", "error")
REASON, LOG_LINE = 700, 160  # characters that are shown; -v shows all
GOOD = "green"
BAD = "red"
STRONG = "bright cyan"

Line = tuple[str, str | None]


def cell(row: dict[str, Any], key: str, unit: str) -> str:
    value = row.get(key)
    return "-" if value in (None, "") else f"{value}{unit}"


def table(rows: list[dict[str, Any]]) -> Iterator[Line]:
    columns = [
        (title, key, unit)
        for title, key, unit in COLUMNS
        if any(row.get(key) if key in SELDOM else key in row for row in rows)
    ]
    titles = [title for title, _key, _unit in columns]
    lines = [[cell(row, key, unit) for _title, key, unit in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(titles, *lines, strict=True)]
    to_the_right = [
        all(isinstance(row.get(key), int | float | None) for row in rows)
        for _title, key, _unit in columns
    ]
    for number, line in enumerate([titles, *lines]):
        padded = [
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, to_the_right, strict=True)
        ]
        color = None
        if number:
            row = rows[number - 1]
            color = GOOD if row.get("health") == "healthy" and not row.get("failures") else BAD
        yield "  ".join(padded).rstrip(), color


def what_failed(failures: list[dict[str, Any]]) -> Iterator[Line]:
    """A few lines: each reason once, and the log of the first that has one."""
    for failure in failures:
        serves = failure.get("serves")
        after = f" It goes on to serve {serves}." if serves else ""
        yield f"failed: {failure['name']}: {shortened(failure['text'], REASON)}{after}", BAD
    logged = next((failure for failure in failures if failure.get("log")), None)
    if logged is None:
        yield f"There is nothing new in the log group {failures[0]['log_group']}.", None
        return
    yield f"The last lines of the log group {logged['log_group']}:", None
    for line in logged["log"]:
        yield f"  {shortened(line, LOG_LINE)}", None


def shortened(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[:length]}…"


def screen(result: dict[str, Any]) -> Iterator[Line]:
    yield f"endpoint: {result['endpoint']}", STRONG
    if result.get("release"):
        yield f"release: {result['release']}", None
    if result.get("primitives"):
        yield "", None
        yield from table(result["primitives"])
    if failures := result.get("failures"):
        yield "", None
        yield from what_failed(failures)
    elif result.get("next"):
        yield "", None
        yield "next:", None
        yield from ((f"  {command}", None) for command in result["next"])


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "multicompute.spin.result_screen"
    CALLBACK_NEEDS_ENABLED = True

    def v2_playbook_on_stats(self, stats: Any) -> None:
        for custom in stats.custom.values():
            if STATISTIC in custom:
                for text, color in screen(custom[STATISTIC]):
                    self._display.display(text, color=color)
                return
