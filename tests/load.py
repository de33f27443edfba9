# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bounded load: so many requests a second, each on a connection of its own, whoever answers how
fast."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException

TIMEOUT_SECONDS = 10
WORKERS = 32


@dataclass(frozen=True)
class Answer:
    sent: float
    status: int | None
    served_by: str
    release: str
    error: str = ""

    @property
    def is_good(self) -> bool:
        return self.status == 200


@dataclass
class Load:
    """What came of it. Times are those of time.monotonic()."""

    port: int
    host: str = "127.0.0.1"
    path: str = "/"
    answers: list[Answer] = field(default_factory=list)

    @property
    def failures(self) -> list[Answer]:
        return [answer for answer in self.answers if not answer.is_good]

    def releases(self, since: float = 0) -> Counter[str]:
        """Answers to requests that were sent from then on, by release."""
        return Counter(answer.release for answer in self.answers if answer.sent >= since)

    def ask(self) -> None:
        sent = time.monotonic()
        connection = HTTPConnection(self.host, self.port, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", self.path)
            response = connection.getresponse()
            response.read()
            name, release = (response.getheader(h, "") for h in ("x-served-by", "x-release"))
            answer = Answer(sent, response.status, name, release)
        except (OSError, HTTPException) as error:
            answer = Answer(sent, None, "", "", f"{type(error).__name__}: {error}")
        finally:
            connection.close()
        self.answers.append(answer)


@contextmanager
def load(
    port: int, per_second: int = 50, host: str = "127.0.0.1", path: str = "/"
) -> Iterator[Load]:
    """Load while the body runs; all requests have ended when it is left."""
    made, over = Load(port, host, path), threading.Event()

    def send() -> None:
        with ThreadPoolExecutor(WORKERS) as workers:
            start, number = time.monotonic(), 0
            while not over.wait(max(0, start + number / per_second - time.monotonic())):
                workers.submit(made.ask)
                number += 1

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield made
    finally:
        over.set()
        sender.join()
