"""Who listens on a TCP port of this machine: for errors that say what to do."""

from __future__ import annotations

import socket
from pathlib import Path

LISTEN = "0A"


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """`nginx (pid 12)`, or `another process` where /proc does not show it (no root)."""
    pid = owner(port)
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return "another process"
    if __package__ in arguments and "--name" in arguments:
        name = f"local cloud {arguments[arguments.index('--name') + 1]}"
    return f"{name} (pid {pid})"


def owner(port: int) -> int | None:
    """ID of the process that listens, as far as /proc shows it."""
    return _find_owner(port, among="[0-9]*")


def listens(pid: int, port: int) -> bool:
    """Whether that process does, which is quicker to find out."""
    return _find_owner(port, among=str(pid)) is not None


def _find_owner(port: int, among: str) -> int | None:
    sockets = _listening_sockets(port)
    for link in Path("/proc").glob(f"{among}/fd/*"):
        try:
            if str(link.readlink()) in sockets:
                return int(link.parts[2])
        except OSError:
            continue
    return None


def _listening_sockets(port: int) -> set[str]:
    sockets = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{fields[9]}]")
    return sockets
