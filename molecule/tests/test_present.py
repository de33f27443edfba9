# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host that serves the shared release."""

from __future__ import annotations

import json
from typing import Any

import pytest

Settings = dict[str, str]

# What a process in the unit can reach, from 0 to 10. A unit without any hardening has 9.6.
EXPOSURE = 2.0


@pytest.fixture
def settings(host: Any) -> Settings:
    lines = host.file("/etc/multicompute/app.env").content_string.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


@pytest.fixture
def port(settings: Settings) -> str:
    return settings["APP_LISTEN"].rpartition(":")[2]


def test_the_unit_runs_and_will_after_a_boot(host: Any) -> None:
    service = host.service("multicompute")
    assert service.is_running
    assert service.is_enabled
    # A unit that comes up and dies again is active half of the time.
    assert host.run("systemctl show -P NRestarts multicompute").stdout.strip() == "0"


def test_the_unit_is_locked_down(host: Any, capsys: pytest.CaptureFixture[str]) -> None:
    said = host.check_output("systemd-analyze security --no-pager multicompute.service")
    level = said.rpartition("multicompute.service:")[2].split()[0]
    with capsys.disabled():
        print(f"\n{host.backend.get_pytest_id()}: systemd-analyze security: {level} of 10")
    assert float(level) <= EXPOSURE, said
    shown = host.check_output(
        "systemctl show multicompute -p ProtectSystem -p NoNewPrivileges -p MemoryMax -p Restart"
        " -p WatchdogUSec"
    )
    assert sorted(shown.splitlines()) == [
        f"MemoryMax={512 * 2**20}",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "Restart=always",
        "WatchdogUSec=1min",
    ]


def test_the_runtime_runs_as_its_own_user(
    host: Any, settings: Settings, runtimes: list[str]
) -> None:
    runtime = settings["WASM_RUNTIME"]
    assert runtime in runtimes, "it is not the one that was verified"
    pid = host.check_output("systemctl show -P MainPID multicompute")
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


def test_it_listens_where_it_is_told_to(host: Any, settings: Settings, port: str) -> None:
    assert host.socket(f"tcp://{settings['APP_LISTEN']}").is_listening
    others = [
        socket
        for socket in host.socket.get_listening_sockets()
        if socket.endswith(f":{port}") and socket != f"tcp://{settings['APP_LISTEN']}"
    ]
    assert others == []


def test_it_answers_as_the_host_and_release_that_it_is(
    host: Any, settings: Settings, port: str
) -> None:
    ask = (
        "import urllib.request as u, json, sys; a = u.urlopen(sys.argv[1], timeout=10);"
        "print(json.dumps([a.status, a.read().decode(), dict(a.headers)]))"
    )
    said = host.check_output("python3 -c %s http://127.0.0.1:%s/", ask, port)
    status, body, headers = json.loads(said)
    assert (status, body) == (200, "Hello, Fermyon")
    assert headers["x-served-by"] == settings["APP_SERVED_BY"]
    release = settings.get("APP_RELEASE") or host.check_output(
        "basename $(readlink -f %s/current)", settings["APP_SHARE"]
    )
    assert headers["x-release"] == release


def test_the_server_reads_the_share_and_cannot_write_it(host: Any, settings: Settings) -> None:
    share = settings["APP_SHARE"]
    if host.file("/etc/multicompute/share.env").exists:
        assert "ro" in host.mount_point(share).options
    pid = host.check_output("systemctl show -P MainPID multicompute")
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
