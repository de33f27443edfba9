#!/usr/bin/env python3
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests per second, latency and memory of what serves, and of the local cloud's balancer.

The load comes from wrk on this machine: 16 connections, some seconds each, to containers only.
Arguments name parts of it: runtimes, tuning, fresh, balancer.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

from _subjects import (
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
from ansible_collections.multicompute.spin.tests.local_cloud.balancing import Balancer
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import LocalCloud, free_port

ROUNDS = 5
SECONDS = 2
RATE = 300
UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


@dataclass
class Server:
    """One that runs, and what was measured of it."""

    name: str
    address: str
    read: Callable[[str], str]  # a file of the server's folder in /proc
    rates: list[float] = field(default_factory=list)
    halves: list[float] = field(default_factory=list)
    slowest: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)  # CPU, microseconds per request

    def load(self) -> None:
        before = cpu_seconds(self.read("stat"))
        rate, half, slowest = wrk(self.address, PORT)
        self.costs.append((cpu_seconds(self.read("stat")) - before) / (rate * SECONDS) * 1e6)
        self.rates.append(rate)
        self.halves.append(half)
        self.slowest.append(slowest)

    @property
    def memory(self) -> float:
        """MiB that are this process's alone: the program's file is shared by all that run it."""
        found = re.search(r"RssAnon:\s+(\d+) kB", self.read("status"))
        assert found
        return int(found.group(1)) / 1024

    @property
    def row(self) -> list[str]:
        latency = [middle(self.halves, 2), middle(self.slowest, 2)]
        return [self.name, middle(self.rates), *latency, middle(self.costs), f"{self.memory:.1f}"]


def cpu_seconds(stat: str) -> float:
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wrk(address: str, port: int) -> tuple[float, float, float]:
    """Requests per second, and milliseconds that half and 99 % of them took at most."""
    command = ["wrk", "--threads=1", "--connections=16", f"--duration={SECONDS}s", "--latency"]
    output = subprocess.check_output([*command, f"http://{address}:{port}/"], text=True)
    failed = re.search(r"Non-2xx.*|Socket errors.*", output)
    assert not failed, output
    rate = float(re.findall(r"Requests/sec: +([\d.]+)", output)[0])
    half, slowest = (
        float(number) * UNITS[unit]
        for number, unit in re.findall(r"(?:50|99)% +([\d.]+)(\w+)", output)
    )
    return rate, half, slowest


@contextmanager
def container(
    name: str, subjects: Subjects, share: Path, entry: list[str], reuse: str = ""
) -> Iterator[Server]:
    environment = HARDENED["environment"] | ({"APP_INSTANCE_REUSE": reuse} if reuse else {})
    options = HARDENED | {
        "environment": environment,
        "entrypoint": entry,
        "volumes": [f"{share}:/mnt/app:ro", f"{subjects.native}:{NATIVE}:ro"],
    }
    with created(subjects.images["runtime"], **options) as made:
        made.start()
        address = address_of(made)
        first_answer(lambda: request(address, PORT))
        folder = Path(f"/proc/{made.attrs['State']['Pid']}")
        yield Server(name, address, lambda file: (folder / file).read_text())


@contextmanager
def unit(name: str, subjects: Subjects, share: Path) -> Iterator[Server]:
    settings = (
        "mkdir -p /etc/multicompute && echo APP_SERVED_BY=benchmark >/etc/multicompute/app.env"
    )
    folder = "/proc/$(systemctl show --value --property=MainPID multicompute@8000)"
    with booted(subjects.images["instance"], f"{share}:/mnt/app:ro") as (machine, run):
        run("sh", "-c", f"{settings} && systemctl start multicompute@8000")
        address = address_of(machine)
        first_answer(lambda: request(address, PORT))
        yield Server(name, address, lambda file: run("sh", "-c", f"cat {folder}/{file}"))


def measure(servers: list[Server]) -> None:
    for _ in range(ROUNDS):
        for server in servers:  # interleaved: what else the machine does hits all of them
            server.load()
    table(
        ["", "requests/s", "p50 ms", "p99 ms", "CPU µs", "memory MiB"], [one.row for one in servers]
    )


def wasmtime(program: str, *options: str) -> list[str]:
    """wasmtime with other options than the entry point's; the first two let it start at all."""
    serve = ["wasmtime", "serve", "-Ccache=n", "-Scli", f"--addr=0.0.0.0:{PORT}", *options]
    return [*serve, f"/mnt/app/current/{program}"]


def runtimes(subjects: Subjects, share: Path, anonymous: Path) -> None:
    with ExitStack() as stack:
        start = stack.enter_context
        native = start(container("native", subjects, share, [NATIVE]))
        bare = start(container("wasmtime serve app.wasm", subjects, share, wasmtime("app.wasm")))
        fresh = start(container("ours, reuse 1", subjects, share, [SERVE], reuse="1"))
        ours = start(container("ours, container", subjects, share, [SERVE]))
        host = start(unit("ours, unit", subjects, share))
        nameless = start(container("ours, no identity", subjects, anonymous, [SERVE]))
        measure([native, bare, fresh, ours, host, nameless])
        cost = identity(ours, nameless)
    print(f"as we start it: {median(ours.rates) / median(bare.rates):.1f} x plain, ", end="")
    print(f"{median(ours.rates) / median(native.rates):.2f} x native")
    print(f"identity headers: {cost:.1%} of the CPU per request (wanted: under 5 %)\n")


def identity(ours: Server, nameless: Server) -> float:
    """Small next to the noise, so by pairs of runs, one right after the other."""
    for _ in range(2 * ROUNDS):
        ours.load()
        nameless.load()
    pairs = zip(ours.costs, nameless.costs, strict=True)
    return 1 - median(without / with_it for with_it, without in pairs)


def tuning(subjects: Subjects, share: Path) -> None:
    reuse = "--max-instance-reuse-count="
    no_pool = "-Opooling-allocator=n"
    small_pool = [f"-Opooling-total-{what}=64" for what in ("memories", "tables", "stacks")]
    compare(
        subjects,
        share,
        {
            "as we start it": [f"{reuse}128", no_pool],
            "reuse 16": [f"{reuse}16", no_pool],
            "reuse 1024": [f"{reuse}1024", no_pool],
            "pool": [f"{reuse}128"],
            "pool of 64": [f"{reuse}128", *small_pool],
            "64 MiB per instance": [f"{reuse}128", no_pool, "-Wmax-memory-size=67108864"],
            "16 requests at once": [f"{reuse}128", no_pool, "--max-concurrent-requests=16"],
        },
    )


def fresh(subjects: Subjects, share: Path) -> None:
    """An instance per request: what each option of runtime/serve gives."""
    one = "--max-instance-reuse-count=1"
    scan, table = "-Opooling-pagemap-scan=auto", "-Opooling-table-keep-resident=65536"
    memory = "-Opooling-memory-keep-resident=262144"
    servers = compare(
        subjects,
        share,
        {
            "128 requests per instance": [
                "--max-instance-reuse-count=128",
                "-Opooling-allocator=n",
            ],
            "without a pool": [one, "-Opooling-allocator=n"],
            "wasmtime's pool": [one],
            "written pages alone": [one, scan],
            "256 KiB resident, the kernel can't tell": [
                one,
                "-Opooling-pagemap-scan=n",
                memory,
                table,
            ],
            "256 KiB resident": [one, scan, memory],
            "tables as well: as we start it": [one, scan, memory, table],
            "1 MiB resident": [one, scan, "-Opooling-memory-keep-resident=1048576", table],
            "decommitted by 32": [one, scan, memory, table, "-Opooling-decommit-batch-size=32"],
        },
    )
    cost = {server.name: server.costs for server in servers}
    ours = cost["tables as well: as we start it"]
    for name in ("128 requests per instance", "without a pool", "wasmtime's pool"):
        pairs = [other / own for other, own in zip(cost[name], ours, strict=True)]
        print(f"{name} : as we start it, CPU per request {median(pairs):.2f} : 1")
    print()


def compare(subjects: Subjects, share: Path, options: dict[str, list[str]]) -> list[Server]:
    precompiled = next((share / "current/aot").glob("*.cwasm")).name
    with ExitStack() as stack:
        servers = []
        for name, given in options.items():
            entry = wasmtime(f"aot/{precompiled}", "--allow-precompiled", *given)
            servers.append(stack.enter_context(container(name, subjects, share, entry)))
        measure(servers)
    return servers


# --- the local cloud's balancer -------------------------------------------------------------------


async def paced(address: str, port: int) -> list[float]:
    """Milliseconds per request, at a fixed rate whatever the answers take."""
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(16):
        free.put_nowait(await asyncio.open_connection(address, port))
    taken: list[float] = []

    async def ask(due: float) -> None:
        reader, writer = await free.get()
        writer.write(b"GET / HTTP/1.1\r\nhost: benchmark\r\n\r\n")
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        if b"transfer-encoding: chunked" in answer.lower():
            await reader.readuntil(b"0\r\n\r\n")
        else:
            await reader.readexactly(len(b"Hello, Fermyon"))
        taken.append((time.perf_counter() - due) * 1000)
        free.put_nowait((reader, writer))

    start = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(RATE * SECONDS):
            due = start + number / RATE
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            group.create_task(ask(due))
    while not free.empty():
        free.get_nowait()[1].close()
    return taken


@contextmanager
def local_cloud() -> Iterator[LocalCloud]:
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        cloud = LocalCloud(port, Path(home), f"benchmark-{port}")
        cloud("start")
        try:
            yield cloud
        finally:
            cloud("purge")


def balancer(subjects: Subjects, share: Path) -> None:
    with container("ours", subjects, share, [SERVE]) as server, local_cloud() as cloud:
        behind = Balancer(cloud)
        target = {"Id": server.address, "Port": PORT}
        behind.elb.register_targets(TargetGroupArn=behind.add_group(), Targets=[target])
        behind.listen()
        behind.wait_healthy()
        ways = {"direct": (server.address, PORT), "balancer": ("127.0.0.1", behind.port)}
        latency: dict[str, list[float]] = {way: [] for way in ways}
        used: list[float] = []
        stat = Path(f"/proc/{cloud.pid}/stat")
        for _ in range(ROUNDS):
            for way, (address, port) in ways.items():
                before = cpu_seconds(stat.read_text())
                latency[way] += asyncio.run(paced(address, port))
                if way == "balancer":
                    used.append((cpu_seconds(stat.read_text()) - before) / SECONDS)
        most = median(wrk("127.0.0.1", behind.port)[0] for _ in range(ROUNDS))
        behind.delete()
    percentiles = {way: quantiles(taken, n=100) for way, taken in latency.items()}
    table(
        [f"{RATE} requests/s", "p50 ms", "p99 ms"],
        [[way, f"{found[49]:.2f}", f"{found[98]:.2f}"] for way, found in percentiles.items()],
    )
    own = [percentiles["balancer"][at] - percentiles["direct"][at] for at in (49, 98)]
    print(f"balancer's own: {own[0]:.2f} ms at p50, {own[1]:.2f} ms at p99, ", end="")
    print(f"{median(used):.0%} of a CPU; at most {most:.0f} requests/s\n")


def main() -> None:
    if not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk")
    subjects = prepare()
    share, anonymous = subjects.share("serving"), subjects.share("anonymous", "anonymous")
    describe_machine()
    parts: dict[str, Callable[[], None]] = {
        "runtimes": lambda: runtimes(subjects, share, anonymous),
        "tuning": lambda: tuning(subjects, share),
        "fresh": lambda: fresh(subjects, share),
        "balancer": lambda: balancer(subjects, share),
    }
    for name in sys.argv[1:] or parts:
        parts[name]()


if __name__ == "__main__":
    main()
