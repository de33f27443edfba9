# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that serves the shared release."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

Settings = dict[str, str]

# What a process in the unit can reach, from 0 to 10. A unit without any hardening has 9.6.
EXPOSURE = 2.0


PROXY = "multicompute-proxy"


@pytest.fixture
def proxy(host: Any) -> dict[str, str]:
    """Where it listens, and the port that it leads to."""
    written = host.file("/etc/multicompute/proxy.cfg").content_string
    found = re.search(r"bind (?P<listen>\S+)\n  server app 127.0.0.1:(?P<port>\d+)$", written, re.M)
    assert found, written
    return found.groupdict()


@pytest.fixture
def unit(proxy: dict[str, str]) -> str:
    return f"multicompute@{proxy['port']}"


@pytest.fixture
def settings(host: Any, proxy: dict[str, str]) -> Settings:
    lines = host.file(f"/etc/multicompute/{proxy['port']}.env").content_string.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_the_units_run_and_will_after_a_boot(host: Any, unit: str) -> None:
    for name in (PROXY, unit):
        service = host.service(name)
        assert service.is_running
        assert service.is_enabled
        # A unit that comes up and dies again is active half of the time.
        assert host.run(f"systemctl show -P NRestarts {name}").stdout.strip() == "0"


def test_one_server_is_there(host: Any, unit: str) -> None:
    running = host.check_output("systemctl list-units --plain --no-legend 'multicompute@*'")
    assert [line.split()[0] for line in running.splitlines()] == [f"{unit}.service"]
    assert len(host.run("ls /etc/multicompute/[0-9]*.env").stdout.split()) == 1
    # A boot starts this one, and no other.
    wanted = host.run("ls /etc/systemd/system/multi-user.target.wants").stdout.split()
    assert [name for name in wanted if "@" in name] == [f"{unit}.service"]


def test_the_units_are_locked_down(
    host: Any, unit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, memory in ((PROXY, 64), (unit, 512)):
        said = host.check_output(f"systemd-analyze security --no-pager {name}.service")
        level = said.rpartition(f"{name}.service:")[2].split()[0]
        with capsys.disabled():
            print(f"\n{host.backend.get_pytest_id()}: {name}: {level} of 10")
        assert float(level) <= EXPOSURE, said
        shown = host.check_output(
            f"systemctl show {name} -p ProtectSystem -p NoNewPrivileges -p MemoryMax -p Restart"
        )
        assert sorted(shown.splitlines()) == [
            f"MemoryMax={memory * 2**20}",
            "NoNewPrivileges=yes",
            "ProtectSystem=strict",
            "Restart=always",
        ]
    assert host.check_output(f"systemctl show -P WatchdogUSec {unit}") == "1min"


def test_the_runtime_runs_as_its_own_user(
    host: Any, unit: str, settings: Settings, runtimes: list[str]
) -> None:
    runtime = settings["WASM_RUNTIME"]
    assert runtime in runtimes, "it is not the one that was verified"
    pid = host.check_output(f"systemctl show -P MainPID {unit}")
    process = host.check_output(f"ps -o user:32=,comm= -p {pid}").split()
    assert process == ["multicompute", runtime]
    user = host.user("multicompute")
    assert user.shell == "/usr/sbin/nologin"
    assert user.uid < 1000, "a system user"


def test_the_runtime_names_its_version(
    host: Any, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = settings["WASM_RUNTIME"]
    version = host.check_output(f"/usr/local/bin/{runtime} --version")
    with capsys.disabled():
        print(f"\n{host.backend.get_pytest_id()}: {version}")
    assert version.startswith(f"{runtime} ")


def test_the_proxy_alone_listens_for_others(
    host: Any, settings: Settings, proxy: dict[str, str]
) -> None:
    assert settings["APP_LISTEN"] == f"127.0.0.1:{proxy['port']}"
    for address in (proxy["listen"], settings["APP_LISTEN"]):
        assert host.socket(f"tcp://{address}").is_listening
        port = address.rpartition(":")[2]
        sockets = host.socket.get_listening_sockets()
        assert [found for found in sockets if found.endswith(f":{port}")] == [f"tcp://{address}"]


def test_it_answers_and_whoever_says_who_it_is_says_what_it_is(
    host: Any, settings: Settings, proxy: dict[str, str]
) -> None:
    ask = (
        "import http.client as h, json, sys; c = h.HTTPConnection(sys.argv[1], timeout=10);"
        "c.request('GET', '/'); a = c.getresponse();"
        "print(json.dumps([a.status, {k.lower(): v for k, v in a.getheaders()}]))"
    )
    port = proxy["listen"].rpartition(":")[2]
    said = host.check_output("python3 -c %s 127.0.0.1:%s", ask, port)
    status, headers = json.loads(said)
    assert 200 <= status < 500
    release = settings.get("APP_RELEASE") or host.check_output(
        "basename $(readlink -f %s/current)", settings["APP_SHARE"]
    )
    assert headers.get("x-served-by", settings["APP_SERVED_BY"]) == settings["APP_SERVED_BY"]
    assert headers.get("x-release", release) == release


def test_the_server_reads_the_share_and_cannot_write_it(
    host: Any, unit: str, settings: Settings
) -> None:
    share = settings["APP_SHARE"]
    if host.file("/etc/multicompute/share.env").exists:
        assert "ro" in host.mount_point(share).options
    pid = host.check_output(f"systemctl show -P MainPID {unit}")
    mounts = host.file(f"/proc/{pid}/mountinfo").content_string
    seen = [line.split() for line in mounts.splitlines()]
    # The longest mount point that the share lies under.
    covering = max(
        (fields for fields in seen if f"{share}/".startswith(f"{fields[4].rstrip('/')}/")),
        key=lambda fields: len(fields[4]),
    )
    assert "ro" in covering[5].split(","), f"the server sees {share} as {covering[5]}"
    assert host.run(f"find {share}/ -xdev ! -type l -perm -o+w").stdout == ""


def test_nothing_of_it_can_be_written_by_anybody(writable: list[str]) -> None:
    assert writable == []
