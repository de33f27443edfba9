# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks servers of an app, over whatever connection leads to them, and judges the answers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from statistics import median
from threading import Lock
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multicompute.spin.plugins.module_utils._matcher import matches, parse

GIVE_UP_AFTER = 3
BODY_SHOWN = 500
# What any app answers that works: no page is wrong as long as its server is right.
WORKING = "200-499"

# A module's option.
PROBES = {
    "type": "list",
    "elements": "dict",
    "options": {
        "path": {"type": "str", "required": True},
        "status": {"type": "str", "default": WORKING},
        "text": {"type": "str"},
    },
}


class Probe(NamedTuple):
    """What to ask for, and which answer is a good one."""

    path: str
    status: str = WORKING
    text: str | None = None

    @property
    def expected(self) -> str:
        return f"{self.status} with {self.text!r}" if self.text else self.status

    def is_met(self, status: int, body: bytes) -> bool:
        return matches(self.status, status) and (self.text or "").encode() in body


class Answer(NamedTuple):
    probe: Probe
    is_good: bool = False
    milliseconds: float = 0
    status: int | None = None
    headers: dict[str, str] = {}
    body: str = ""
    error: str | None = None

    @property
    def served_by(self) -> str:
        return self.headers.get("x-served-by", "unknown")


def check_options(module: AnsibleModule, *options: str) -> None:
    for option in options:
        if module.params[option] <= 0:
            module.fail_json(msg=f"{option} is {module.params[option]}, it must be more than 0")


def probes_of(module: AnsibleModule) -> list[Probe]:
    probes = [Probe(**one) for one in module.params["probes"] or []]
    for number, probe in enumerate(probes):
        if not probe.path.startswith("/"):
            module.fail_json(msg=f"probes[{number}].path is {probe.path!r}, it must begin with /")
        try:
            parse(probe.status)
        except ValueError as error:
            module.fail_json(msg=f"probes[{number}].status is {probe.status!r}: {error}")
    return probes


def ask(connection: HTTPConnection, probe: Probe, headers: Mapping[str, str]) -> Answer:
    """One GET on a connection that is closed then. Time counts from where it begins to connect."""
    start = time.perf_counter()
    try:
        connection.request("GET", probe.path, headers={**headers, "Connection": "close"})
        response = connection.getresponse()
        body = response.read()
    # A header or a path that HTTP cannot carry is a ValueError.
    except (OSError, HTTPException, ValueError) as error:
        return unanswered(probe, error)
    finally:
        connection.close()
    return Answer(
        probe,
        is_good=probe.is_met(response.status, body),
        milliseconds=(time.perf_counter() - start) * 1000,
        status=response.status,
        headers={name.lower(): value for name, value in response.getheaders()},
        body=body[:BODY_SHOWN].decode(errors="replace"),
    )


def unanswered(probe: Probe, error: Exception) -> Answer:
    return Answer(probe, error=f"{type(error).__name__}: {error}")


def ask_all(
    once: Callable[[int], Answer],
    requests: int,
    stop_at_failure: bool = False,
    concurrency: int = 1,
) -> list[Answer]:
    """Answers to requests of these numbers; fewer when three in a row were none at all."""
    answers: list[Answer] = []
    numbers = iter(range(requests))
    lock = Lock()

    def is_over() -> bool:
        last = answers[-GIVE_UP_AFTER:]
        nobody = len(last) == GIVE_UP_AFTER and all(answer.status is None for answer in last)
        return nobody or (stop_at_failure and not all(answer.is_good for answer in answers))

    def work() -> None:
        while True:
            with lock:
                number = None if is_over() else next(numbers, None)
            if number is None:
                return
            answer = once(number)
            with lock:
                answers.append(answer)

    if concurrency == 1:
        work()
    else:
        with ThreadPoolExecutor(concurrency) as pool:
            for worker in [pool.submit(work) for _number in range(concurrency)]:
                worker.result()
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
        "slowest_ms": round(max(answer.milliseconds for answer in good), 1) if good else None,
        "failed_by": dict(Counter(answer.served_by for answer in bad)),
        "failures": len(bad),
        "first_failure": shown(bad[0]) if bad else None,
    }


def shown(answer: Answer) -> dict[str, Any]:
    return {
        "path": answer.probe.path,
        "expected": answer.probe.expected,
        "status": answer.status,
        "headers": answer.headers,
        "body": answer.body,
        "error": answer.error,
    }
