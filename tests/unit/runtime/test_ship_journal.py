# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ship-journal takes of a journal, and how it is cut into what CloudWatch Logs takes."""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

PROGRAM = Path(__file__).parents[3] / "runtime/ship-journal"
SHIP = runpy.run_path(str(PROGRAM))
Event, batches, event_of = SHIP["Event"], SHIP["batches"], SHIP["event_of"]


def entry(message: Any, number: int = 1, **fields: str) -> bytes:
    unit = fields or {"_SYSTEMD_UNIT": "multicompute@8000.service"}
    told = {"__CURSOR": f"c{number}", "__REALTIME_TIMESTAMP": str(1_700_000_000_000_000 + number)}
    return json.dumps({**told, **unit, "MESSAGE": message}).encode()


# --- Entries --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"_SYSTEMD_UNIT": "multicompute@8001.service"}, "multicompute@8001: hello"),
        ({"_SYSTEMD_UNIT": "multicompute-tags.service"}, "multicompute-tags: hello"),
        ({"_SYSTEMD_UNIT": "init.scope", "UNIT": "multicompute-share.service"},
         "multicompute-share: hello"),
        ({"_SYSTEMD_UNIT": "systemd-journald.service",
          "OBJECT_SYSTEMD_UNIT": "multicompute@8000.service"}, "multicompute@8000: hello"),
        ({"_SYSTEMD_UNIT": "multicompute-journal.service"}, None),
        ({"_SYSTEMD_UNIT": "ssh.service"}, None),
        ({"_TRANSPORT": "kernel"}, None),
    ],
)  # fmt: skip
def test_the_apps_units_are_told_and_nobody_else(fields: dict[str, str], told: str | None) -> None:
    event = event_of(entry("hello", **fields))
    assert (event and event.message) == told


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("line \n", "line"),
        ([104, 105, 255], "hi\ufffd"),
        (["one", "two"], "one\ntwo"),
        ("", None),
        (None, None),
        ([], None),
        ("\ud800", "?"),
    ],
)
def test_what_the_journal_has_for_a_message(message: Any, told: str | None) -> None:
    event = event_of(entry(message))
    assert (event and event.message.removeprefix("multicompute@8000: ")) == told


def test_an_event_has_its_time_and_its_place() -> None:
    event = event_of(entry("hello", 2_500))
    assert (event.timestamp, event.cursor) == (1_700_000_000_002, "c2500")


@pytest.mark.parametrize("letter", ["a", "é", "€", "\N{GRINNING FACE}"])
def test_a_long_message_is_cut_between_characters(letter: str) -> None:
    event = event_of(entry(letter * 300_000))
    assert 256 * 1024 - 4 < event.size <= 256 * 1024
    assert event.message.endswith(letter)


# --- Batches --------------------------------------------------------------------------------------

DAY = 24 * 60 * 60 * 1000
EVENTS = st.builds(
    lambda timestamp, letter, length: Event(timestamp, letter * length, ""),
    st.integers(0, 3 * DAY),
    st.sampled_from("aé€"),
    st.sampled_from([1, 200, 80_000]),
)


@given(st.lists(st.none() | EVENTS, max_size=60))
def test_batches_are_what_aws_takes_and_lose_nothing(events: list[Any]) -> None:
    made = list(batches(events))
    assert [event for batch in made for event in batch] == [event for event in events if event]
    for batch in made:
        assert 1 <= len(batch) <= 10_000
        assert sum(len(event.message.encode()) + 26 for event in batch) <= 1_048_576
        times = [event.timestamp for event in batch]
        assert max(times) - min(times) <= DAY


def test_a_batch_is_full_at_ten_thousand_events() -> None:
    made = batches(Event(1, "a", str(number)) for number in range(25_000))
    assert [len(batch) for batch in made] == [10_000, 10_000, 5_000]


def test_a_batch_that_is_not_full_is_sent_when_it_is_time() -> None:
    first, second = Event(1, "a", ""), Event(2, "b", "")
    assert list(batches([None, first, None, None, second])) == [[first], [second]]


# --- The program ----------------------------------------------------------------------------------

# A journal in a file, which goes on after the cursor that is given.
JOURNALCTL = """#!{python}
import json, os, signal, sys, time
after = [a.partition("=")[2] for a in sys.argv if a.startswith("--after-cursor=")]
told = not after
with open(os.environ["JOURNAL"], "rb") as journal:
    while True:
        line = journal.readline()
        if not line:
            time.sleep(0.05)
        elif told:
            os.write(1, line)
        else:
            told = json.loads(line)["__CURSOR"] == after[0]
"""


@dataclass
class Logs:
    """CloudWatch Logs, and a machine with a journal."""

    home: Path
    environment: dict[str, str]
    # Codes of the next answers.
    refusals: list[str] = field(default_factory=list)
    stream: bool = False
    requests: list[list[dict[str, Any]]] = field(default_factory=list)
    programs: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def messages(self) -> list[str]:
        told = [event["message"] for request in self.requests for event in request]
        return [message.removeprefix("multicompute@8000: ") for message in told]

    def answer(self, operation: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        assert request["logGroupName"] == "/demo/ec2"
        assert request["logStreamName"] == "i-1"
        if self.refusals:
            return 400, {"__type": self.refusals.pop(0), "message": "refused"}
        if operation == "CreateLogStream":
            self.stream = True
        elif not self.stream:
            return 400, {"__type": "ResourceNotFoundException", "message": "no stream"}
        else:
            self.requests.append(request["logEvents"])
        return 200, {}

    def log(self, *lines: bytes) -> None:
        with (self.home / "journal").open("ab") as journal:
            journal.write(b"".join(line + b"\n" for line in lines))

    def start(self) -> subprocess.Popen[str]:
        # As runpy does it, but for the file that cloud-init writes.
        code = (
            "import runpy, pathlib, sys; module = runpy.run_path(sys.argv[1]);"
            "module['main'].__globals__['INSTANCE_ID'] = pathlib.Path(sys.argv[2]);"
            "module['main'].__globals__['LINE_BYTES'] = 100_000; module['main']()"
        )
        arguments = [sys.executable, "-c", code, str(PROGRAM), str(self.home / "instance-id")]
        self.programs.append(
            subprocess.Popen(
                arguments,
                env=self.environment,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        )
        return self.programs[-1]

    def stop(self) -> tuple[int, str]:
        self.programs[-1].send_signal(signal.SIGTERM)
        _unused, said = self.programs[-1].communicate(timeout=20)
        return self.programs[-1].returncode, said

    def until(self, condition: Callable[[], bool], seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.messages
            assert self.programs[-1].poll() is None, self.programs[-1].communicate()
            time.sleep(0.05)


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    state = Logs(tmp_path, {})

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            operation = self.headers["x-amz-target"].partition(".")[2]
            status, answer = state.answer(operation, body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    journalctl = tmp_path / "bin/journalctl"
    journalctl.parent.mkdir()
    journalctl.write_text(JOURNALCTL.format(python=sys.executable))
    journalctl.chmod(0o755)
    (tmp_path / "journal").touch()
    (tmp_path / "instance-id").write_text("i-1\n")
    state.environment = {
        "PATH": f"{journalctl.parent}:{os.environ['PATH']}",
        "JOURNAL": str(tmp_path / "journal"),
        "STATE_DIRECTORY": str(tmp_path),
        "LOG_GROUP": "/demo/ec2",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    yield state
    for program in state.programs:
        # With journalctl, which systemd would end.
        with suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
    server.shutdown()


def test_events_of_a_batch_are_in_the_order_of_time(logs: Logs) -> None:
    logs.log(entry("second", 3_000), entry("first", 1_000), entry("other", UNIT="ssh.service"))
    logs.start()
    logs.until(lambda: bool(logs.requests))
    assert logs.messages == ["first", "second"]
    assert logs.stop()[0] == 0


def test_a_restart_goes_on_where_it_ended_and_the_last_lines_are_sent_before(logs: Logs) -> None:
    logs.log(entry("one", 1))
    logs.start()
    logs.until(lambda: logs.messages == ["one"])
    logs.log(entry("two", 2), entry("three", 3))
    assert logs.stop() == (0, "")
    assert logs.messages == ["one", "two", "three"]
    logs.log(entry("four", 4))
    logs.start()
    logs.until(lambda: logs.messages == ["one", "two", "three", "four"])


def test_what_aws_refuses_is_tried_again_and_told_once(logs: Logs) -> None:
    logs.stream = True
    logs.refusals = ["AccessDeniedException", "AccessDeniedException"]
    logs.log(entry("one"))
    logs.start()
    logs.until(lambda: logs.messages == ["one"])
    assert logs.stop()[1].count("AccessDenied") == 1


def test_a_refusal_does_not_hold_up_the_end_and_loses_nothing(logs: Logs) -> None:
    logs.stream = True
    logs.refusals = ["AccessDeniedException"] * 100
    logs.log(entry("one"))
    logs.start()
    logs.until(lambda: len(logs.refusals) < 99)
    code, said = logs.stop()
    assert (code, said.splitlines()[-1]) == (
        1,
        "ship-journal: the last lines are sent after the next start",
    )
    logs.refusals = []
    logs.start()
    logs.until(lambda: logs.messages == ["one"])


def test_what_aws_will_never_take_holds_up_nothing(logs: Logs) -> None:
    logs.stream = True
    logs.refusals = ["InvalidParameterException"]
    logs.log(entry("one", 1))
    logs.start()
    logs.until(lambda: not logs.refusals)
    logs.log(entry("two", 2))
    logs.until(lambda: logs.messages == ["two"])
    assert "1 events are left out" in logs.stop()[1]


def test_an_entry_without_an_end_is_left_out(logs: Logs) -> None:
    logs.log(entry("one", 1), entry("x" * 1_000_000, 2), entry("three", 3))
    logs.start()
    logs.until(lambda: logs.messages == ["one", "three"])
    assert "an entry of more than 100000 bytes is left out" in logs.stop()[1]


def test_a_journal_that_ends_is_an_error(logs: Logs) -> None:
    (logs.home / "bin/journalctl").write_text("#!/bin/sh\nexit 3\n")
    program = logs.start()
    assert program.wait(20) == 1
    assert program.stderr
    assert program.stderr.read() == "ship-journal: journalctl ended with 3\n"
