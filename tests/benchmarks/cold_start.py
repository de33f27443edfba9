#!/usr/bin/env python3
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From nothing to the first answer: the component, the precompiled file and a native server.

`start` begins where the platform is told to start it, `init` where the entry point does. The share
of the runtime is what its init takes longer than that of the native server in the same place and
round.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from _subjects import (
    EMULATOR,
    HARDENED,
    NATIVE,
    PORT,
    SERVE,
    Subjects,
    address_of,
    booted,
    created,
    describe_machine,
    first_answer,
    middle,
    prepare,
    request,
    table,
)

ROUNDS = 21
MODES = (".wasm", "precompiled", "native")
RUNTIME_API = "0100007F:2329 00000000:0000 0A"  # 127.0.0.1:9001 listens
INVOKE = "/2015-03-31/functions/function/invocations"
# As the load balancer asks a function.
EVENT = json.dumps(
    {
        "requestContext": {"elb": {"targetGroupArn": "arn"}},
        "httpMethod": "GET",
        "path": "/",
        "queryStringParameters": {},
        "headers": {"host": "benchmark"},
        "body": "",
        "isBase64Encoded": False,
    }
)
# What roles/function gives: 512 MiB, which is 0.29 of a CPU.
LAMBDA: dict[str, Any] = {
    "entrypoint": ["/rie", "--log-level", "error"],
    "environment": {
        "APP_SERVED_BY": "benchmark",
        "AWS_LAMBDA_FUNCTION_NAME": "function",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
    },
    "read_only": True,
    "tmpfs": {"/tmp": "exec"},
    "mem_limit": "512m",
}
START_UNIT = """
import http.client, subprocess, time
def ask():
    connection = http.client.HTTPConnection("127.0.0.1", 8000)
    connection.request("GET", "/")
    return connection.getresponse().read()
start = time.monotonic()
subprocess.run(["systemctl", "start", "multicompute@8000"], check=True)
while True:
    try:
        ask()
        break
    except OSError:
        time.sleep(0.0005)
end = time.monotonic()
show = ["systemctl", "show", "--value", "--property=ExecMainStartTimestampMonotonic"]
begun = int(subprocess.check_output([*show, "multicompute@8000"])) / 1e6
print(end - start, end - begun)
"""

Measure = Callable[[str], tuple[float, float]]


def volumes(subjects: Subjects, shares: dict[str, Path], mode: str) -> list[str]:
    share = shares.get(mode, shares["precompiled"])
    return [f"{share}:/mnt/app:ro", f"{subjects.native}:{NATIVE}:ro", f"{EMULATOR}:/rie:ro"]


def entry_point(mode: str) -> str:
    return NATIVE if mode == "native" else SERVE


def in_lambda(subjects: Subjects, shares: dict[str, Path], cpus: float) -> Measure:
    """The emulator starts the entry point at the first invocation, and the adapter beside it."""

    def measure(mode: str) -> tuple[float, float]:
        options = LAMBDA | {
            "volumes": volumes(subjects, shares, mode),
            "nano_cpus": int(cpus * 1e9),
        }
        with created(subjects.images["runtime"], entry_point(mode), **options) as container:
            started = time.monotonic()
            container.start()
            address = address_of(container)
            sockets = Path(f"/proc/{container.attrs['State']['Pid']}/net/tcp")

            def listen() -> None:
                if RUNTIME_API not in sockets.read_text():
                    raise ConnectionRefusedError("the emulator's API does not listen")

            def invoke() -> float:
                asked = time.monotonic()
                answer = json.loads(request(address, 8080, INVOKE, EVENT))
                assert answer["body"] == "Hello, Fermyon", answer
                return time.monotonic() - asked

            # Asked before, the emulator may start the adapter with no API to register with.
            first_answer(listen)
            first = first_answer(invoke)
            whole = time.monotonic() - started
            return whole, first - median(invoke() for _ in range(3))

    return measure


def in_kubernetes(subjects: Subjects, shares: dict[str, Path]) -> Measure:
    def measure(mode: str) -> tuple[float, float]:
        options = HARDENED | {"volumes": volumes(subjects, shares, mode), "nano_cpus": 10**9}
        entry = entry_point(mode)
        image = subjects.images["runtime"]
        with created(image, entrypoint=entry, **options) as container:
            started = time.time()
            container.start()
            address = address_of(container)
            first_answer(lambda: request(address, PORT))
            answered = time.time()
            container.reload()
            begun = datetime.fromisoformat(container.attrs["State"]["StartedAt"][:26] + "+00:00")
            return answered - started, answered - begun.timestamp()

    return measure


@contextmanager
def as_unit(subjects: Subjects, shares: dict[str, Path]) -> Iterator[Measure]:
    """One machine, on which the unit is started again and again."""
    mounts = [f"{share}:/mnt/app/{mode}:ro" for mode, share in shares.items()]
    mounts.append(f"{subjects.native}:{NATIVE}:ro")
    with booted(subjects.images["instance"], *mounts) as (_, run):

        def measure(mode: str) -> tuple[float, float]:
            settings = f"APP_SHARE=/mnt/app/{mode}\nAPP_SERVED_BY=benchmark\n"
            drop_in = f"[Service]\nExecStart=\nExecStart={entry_point(mode)}\n"
            folder = "/run/systemd/system/multicompute@8000.service.d"
            write = f"mkdir -p {folder} /etc/multicompute"
            write += f" && printf '{settings}' >/etc/multicompute/app.env"
            write += f" && printf '{drop_in}' >{folder}/entry.conf"
            run("sh", "-c", f"systemctl stop multicompute@8000; {write} && systemctl daemon-reload")
            run("systemctl", "reset-failed")  # also forgets how often it was started
            whole, init = run("python3", "-c", START_UNIT).split()
            return float(whole), float(init)

        yield measure


def report(name: str, measure: Measure) -> None:
    figures: dict[str, list[tuple[float, float]]] = {mode: [] for mode in MODES}
    for _ in range(ROUNDS):
        for mode in MODES:  # interleaved: what else the machine does hits all of them
            figures[mode].append(measure(mode))
    start = {mode: [whole * 1000 for whole, _ in figures[mode]] for mode in MODES}
    init = {mode: [begun * 1000 for _, begun in figures[mode]] for mode in MODES}
    share = {
        mode: median(own - native for own, native in zip(init[mode], init["native"], strict=True))
        for mode in MODES
    }
    table(
        [f"{name}, ms", "start", "init", "runtime"],
        [
            [mode, middle(start[mode]), middle(init[mode], 1), f"{share[mode]:.1f}"]
            for mode in MODES
        ],
    )
    runtime = share[".wasm"] / share["precompiled"]
    whole = median(start["precompiled"]) / median(start["native"])
    print(f"runtime: precompiled is 1/{runtime:.1f} of .wasm (wanted: 1/5 or less)")
    print(f"start: precompiled is {whole:.2f} x native (wanted: 2 or less)\n")


def main() -> None:
    subjects = prepare()
    shares = {
        ".wasm": subjects.share("wasm", precompiled=False),
        "precompiled": subjects.share("precompiled"),
    }
    describe_machine()
    report("Lambda, one CPU", in_lambda(subjects, shares, 1))
    report("Lambda, 512 MiB (0.29 CPU)", in_lambda(subjects, shares, 0.29))
    report("Kubernetes-style container", in_kubernetes(subjects, shares))
    with as_unit(subjects, shares) as measure:
        report("systemd unit", measure)


if __name__ == "__main__":
    main()
