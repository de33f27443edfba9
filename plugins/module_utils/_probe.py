# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks servers of the app who they are, over whatever connection leads to them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from statistics import median
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule

GIVE_UP_AFTER = 3
BODY_SHOWN = 500


class Answer(NamedTuple):
    milliseconds: float = 0
    status: int | None = None
    headers: dict[str, str] = {}
    body: str = ""
    error: str | None = None

    @property
    def is_good(self) -> bool:
        return self.status is not None and self.status < 400

    @property
    def served_by(self) -> str:
        return self.headers.get("x-served-by", "unknown")


def check_options(module: AnsibleModule) -> None:
    for option in ("requests", "timeout"):
        if module.params[option] <= 0:
            module.fail_json(msg=f"{option} is {module.params[option]}, it must be more than 0")


def ask(connection: HTTPConnection, path: str) -> Answer:
    """One GET on a connection that is closed then. Time counts from where it begins to connect."""
    start = time.perf_counter()
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException) as error:
        return Answer(error=f"{type(error).__name__}: {error}")
    finally:
        connection.close()
    milliseconds = (time.perf_counter() - start) * 1000
    headers = {name.lower(): value for name, value in response.getheaders()}
    text = body[:BODY_SHOWN].decode(errors="replace")
    return Answer(milliseconds, response.status, headers, text)


def probe(
    once: Callable[[], Answer],
    requests: int,
    enough: Callable[[list[Answer]], bool] = lambda _answers: False,
) -> list[Answer]:
    """So many answers; fewer when these are enough, or three in a row were none at all."""
    answers: list[Answer] = []
    while len(answers) < requests:
        answers.append(once())
        if enough(answers):
            break
        last = answers[-GIVE_UP_AFTER:]
        if len(last) == GIVE_UP_AFTER and all(answer.status is None for answer in last):
            break
    return answers


def median_ms(answers: list[Answer]) -> float | None:
    return round(median(answer.milliseconds for answer in answers), 1) if answers else None


def values(answers: list[Answer], header: str) -> list[str]:
    return sorted({answer.headers[header] for answer in answers if header in answer.headers})


def summary(answers: list[Answer]) -> dict[str, Any]:
    good = [answer for answer in answers if answer.is_good]
    bad = [answer for answer in answers if not answer.is_good]
    by_name: dict[str, list[Answer]] = {}
    for answer in good:
        by_name.setdefault(answer.served_by, []).append(answer)
    return {
        "requests": len(answers),
        "served_by": {
            name: {
                "requests": len(own),
                "releases": values(own, "x-release"),
                "instances": values(own, "x-instance"),
                "p50_ms": median_ms(own),
            }
            for name, own in sorted(by_name.items())
        },
        "releases": values(good, "x-release"),
        "p50_ms": median_ms(good),
        "failed_by": dict(Counter(answer.served_by for answer in bad)),
        "failures": len(bad),
        "first_failure": shown(bad[0]) if bad else None,
    }


def shown(answer: Answer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "headers": answer.headers,
        "body": answer.body,
        "error": answer.error,
    }
