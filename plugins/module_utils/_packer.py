# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packer's process, and what it says: lines of `time,target,type,data...`."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

# In front of what is said for people: `==> amazon-ebs.spin: ` or `    amazon-ebs.spin: `
SPOKEN = re.compile(r"(?:==>|-->|\s{3}) (?P<build>[\w.-]+):(?: (?P<text>.*))?")
STEP = re.compile(r"Provisioning with|Running local shell script|Running post-processor")
ENDED = re.compile(r"Provisioning step had errors|Step .* errored|Cancelling")
LAST_LINES = 20
POLL_SECONDS = 0.2


class Record(NamedTuple):
    target: str
    kind: str
    data: tuple[str, ...]

    @property
    def spoken(self) -> tuple[str, list[str]]:
        """Of which build it tells, and its lines."""
        if self.kind != "ui":
            return "", []
        found = [SPOKEN.fullmatch(line) for line in self.data[-1].splitlines()]
        lines = [match["text"] for match in found if match and (match["text"] or "").strip()]
        return next((match["build"] for match in found if match), ""), lines


@dataclass
class Temporary:
    """What a build makes for itself, and takes back when it ends."""

    key_pairs: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)


def records(output: str) -> list[Record]:
    """Each record; lines that are none, such as a crash's, as what Packer said."""
    found = []
    for line in output.splitlines():
        time, *rest = line.split(",")
        if time.isdigit() and len(rest) >= 3:
            target, kind, *data = rest
            found.append(Record(target, kind, tuple(plain(part) for part in data)))
        elif line:
            found.append(Record("", "ui", ("error", line)))
    return found


def plain(data: str) -> str:
    return data.replace("%!(PACKER_COMMA)", ",").replace("\\n", "\n").replace("\\r", "\r")


def artifacts(said: list[Record]) -> dict[str, list[dict[str, Any]]]:
    """Images by build. Post-processors repeat them, or give them a name in place of a digest."""
    found: dict[str, list[dict[str, Any]]] = {}
    for record in said:
        if record.kind != "artifact" or record.data[1] != "id":
            continue
        images = found.setdefault(record.target, [])
        for image in identified(record.target, record.data[2]):
            if image not in images:
                images.append(image)
    named = {
        build: [image for image in images if not image["id"].startswith("sha256:")]
        for build, images in found.items()
    }
    return {build: named[build] or images for build, images in found.items()}


def identified(build: str, id_: str) -> Iterator[dict[str, Any]]:
    if not build.startswith("amazon-"):
        yield {"region": None, "id": id_}
        return
    for pair in id_.split(","):  # <region>:<AMI>,<region>:<AMI>
        region, _unused, ami = pair.partition(":")
        yield {"region": region, "id": ami}


def complaint(said: list[Record]) -> list[str]:
    """What went wrong, by build, with the last lines of the step in which it did."""
    errors = [record for record in said if record.kind == "error"]
    if not errors:
        return [record.data[-1] for record in said if record.data[0] == "error"]
    lines = []
    for record in errors:
        lines.append(f"{record.target}: {record.data[-1].strip()}")
        lines += [f"  {line}" for line in last_step(said, record.target)]
    return lines


def last_step(said: list[Record], build: str) -> list[str]:
    lines: list[str] = []
    for record in said:
        name, text = record.spoken
        if name != build or not text:
            continue
        if ENDED.match(text[0]):
            break
        if STEP.match(text[0]):
            lines = []
        lines += text
    return lines[:1] + lines[1:][-LAST_LINES:]


def temporary(said: list[Record]) -> Temporary:
    made = Temporary()
    for record in said:
        text = "".join(record.spoken[1][:1])
        for pattern, names in (
            (r"Creating temporary keypair: (\S+)", made.key_pairs),
            (r"Creating temporary security group for this instance: (\S+)", made.groups),
            (r"Container ID: ([0-9a-f]+)", made.containers),
        ):
            if match := re.match(pattern, text):
                names.append(match[1])
    return made


def run_to_end(
    command: list[str], environment: Mapping[str, str], log: Path, timeout: float, grace: float
) -> int | str:
    """Exit status, or why it was stopped. The process and its children do not outlive the call."""
    # A signal is noted, and interrupts nothing: what has to be cleaned up is, here and later.
    stopped = threading.Event()
    # Ansible passes Ctrl-C on as SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_signal: stopped.set())
    deadline = time.monotonic() + timeout
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                if stopped.wait(POLL_SECONDS):
                    return "was stopped with the playbook"
                if time.monotonic() > deadline:
                    return f"was stopped after {timeout:g} s: set timeout higher"
            return process.returncode
        finally:
            stop(process, grace)


def stop(process: subprocess.Popen[bytes], grace: float) -> None:
    """Let Packer take back what it made; then end what is left of it and of its children."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
