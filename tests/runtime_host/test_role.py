"""The role runtime_host: shares, runtimes, refusals. Its life on each distribution: molecule/."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ..load import load
from .conftest import (
    ACCESS_POINT,
    FILE_SYSTEM,
    VERSION,
    Archive,
    Converge,
    Machine,
    Mirror,
    Release,
    files,
    playbook,
    until,
)

# In place of Spin, which no package registry has: answers with what it was called with. A release
# may be a broken one.
SPIN = """#!/usr/bin/python3
import http.server, json, os, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        manifest = open(sys.argv[sys.argv.index("--from") + 1] + "/spin.toml").read()
        said = {"arguments": sys.argv[1:], "environment": dict(os.environ), "manifest": manifest}
        said["version"] = "VERSION"
        release, = [word[8:] for word in sys.argv if word.startswith("RELEASE=")]
        time.sleep(2 if self.path == "/slow" else 0)
        is_well = "broken" not in release or self.path == "/.well-known/spin/health"
        self.send_response(200 if is_well else 500)
        self.send_header("x-release", release)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

address, port = os.environ["SPIN_HTTP_LISTEN_ADDR"].split(":")
try:
    http.server.ThreadingHTTPServer((address, int(port)), Handler).serve_forever()
except KeyboardInterrupt:
    pass
"""


@pytest.fixture(scope="module")
def converge(
    boot_plain: Callable[..., Machine],
    mirrored_wasmtime: dict[str, Any],
    release: Release,
    mirror: Mirror,
) -> Converge:
    """A machine whose share is on a stand-in for EFS, and that gets its runtime from a mirror."""
    machine = boot_plain(
        {
            str(release.attached): {"bind": "/run/local-cloud/efs", "mode": "rw"},
            str(release.share): {"bind": "/srv/app", "mode": "ro"},
        }
    )
    return Converge(
        machine,
        {
            **mirrored_wasmtime,
            "wasm_runtime_spin_url": mirror.url,
            "runtime_host_served_by": "pi",
            "runtime_host_share_type": "efs",
            "runtime_host_share_source": f"{FILE_SYSTEM}:/",
            "runtime_host_share_options": f"ro,tls,iam,accesspoint={ACCESS_POINT}",
        },
    )


@pytest.fixture(scope="module")
def before(converge: Converge) -> set[str]:
    return files(converge.machine)


@pytest.fixture(scope="module")
def spin(mirror: Mirror, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return stand_in("3.5.0", mirror, tmp_path_factory.mktemp("spin"))


@pytest.fixture(scope="module")
def newer_spin(mirror: Mirror, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return stand_in("3.5.1", mirror, tmp_path_factory.mktemp("spin"))


def stand_in(version: str, mirror: Mirror, folder: Path) -> Archive:
    """Of the shape of Spin's release archives."""
    members = {name: folder / name for name in ("spin", "spin.sig", "crt.pem", "README.md")}
    for file in members.values():
        file.write_text("stand-in\n")
    members["spin"].write_text(SPIN.replace("VERSION", version))
    members["spin"].chmod(0o755)
    return mirror.add(f"spin-v{version}-stand-in.tar.gz", members)


def serve_with_spin(archive: Archive) -> dict[str, Any]:
    return {
        "wasm_runtime": "spin",
        "wasm_runtime_spin_file": archive.file,
        "wasm_runtime_spin_sha256": {"amd64": archive.sha256, "arm64": archive.sha256},
        "runtime_host_share_type": "directory",
        "runtime_host_share_source": "/srv/app",
    }


@pytest.mark.parametrize(
    ("given", "variables", "message"),
    [
        (
            "true",
            {"__runtime_host_space": {"/dev/shm": 250}},  # a file system of 64 MB
            "has 64 MB free for /dev/shm, and the role needs 250 MB there",
        ),
        (
            "python3 -m http.server 8000 >/dev/null 2>&1 & sleep 1",
            {},
            "Something else on {} listens on 0.0.0.0:8000",
        ),
        (
            "pkill -f http.server",
            {
                "runtime_host_share_type": "nfs",
                "runtime_host_share_source": "127.0.0.1:/srv/app",
                "__runtime_host_share_timeout": 1,
            },
            "does not reach port 2049 of 127.0.0.1: check runtime_host_share_source",
        ),
        (
            "mkdir -m 0777 /run/wrong",
            {"runtime_host_share_type": "directory", "runtime_host_share_source": "/run/wrong"},
            "/run/wrong/ on {} belongs to root with mode 0777",
        ),
        (
            "useradd multicompute; install -d -o multicompute /run/own /run/own/releases",
            {"runtime_host_share_type": "directory", "runtime_host_share_source": "/run/own"},
            "/run/own/ on {} belongs to multicompute with mode 0755",
        ),
    ],
)
def test_what_the_host_lacks_is_said_before_anything_is_changed(
    converge: Converge, before: set[str], given: str, variables: dict[str, Any], message: str
) -> None:
    converge.machine.run("bash", "-c", given)
    assert converge(fails=True, **variables) == 0, converge.output
    said = " ".join(converge.output.split())
    assert message.format(converge.machine.name) in said, converge.output
    converge.machine.run("bash", "-c", "! id multicompute 2>/dev/null || userdel multicompute")
    assert files(converge.machine) == before


def test_it_serves_from_a_mounted_share(converge: Converge, before: set[str]) -> None:
    assert converge() >= 6
    answer = converge.machine.answer()
    assert (answer.status, answer.body) == (200, "Hello, Fermyon")
    assert answer.headers["x-served-by"] == "pi"
    assert answer.headers["x-release"] == VERSION
    host = converge.machine.host
    assert answer.headers["x-instance"] == host.run("uname -n").stdout.strip()
    assert "ro" in host.mount_point("/mnt/app").options
    assert host.process.get(comm="wasmtime").user == "multicompute"
    for unit in ("multicompute@8001", "multicompute-proxy"):
        assert host.service(unit).is_enabled
    assert host.service("haproxy").is_running, "somebody else's goes on"


def test_a_stand_in_for_spin_takes_over_on_a_local_directory(
    converge: Converge, spin: Archive
) -> None:
    converge(**serve_with_spin(spin))
    machine = converge.machine

    said = json.loads(machine.answer().body)
    arguments, environment = said["arguments"], said["environment"]
    assert arguments[:2] == ["up", "--from"]
    assert {"SERVED_BY=pi", f"RELEASE={VERSION}"} < set(arguments)
    assert environment["SPIN_LOG_DIR"] == ""
    assert environment["HOME"] == "/var/lib/multicompute"
    assert f'source = "/srv/app/releases/{VERSION}/app.wasm"' in said["manifest"]

    host = machine.host
    assert not host.mount_point("/mnt/app").exists, "the share that is not used any more is let go"
    machine.run("systemctl", "stop", "multicompute@8002")
    assert host.run("systemctl show -P Result multicompute@8002").stdout.strip() == "success"
    # Whoever asks meanwhile waits: the proxy knows that a server may come back.
    with load(8000, per_second=5, host=address(machine)) as asked:
        machine.run("systemctl", "start", "multicompute@8002")
    assert asked.failures == []


def address(machine: Machine) -> str:
    machine.container.reload()
    return str(machine.container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])


def test_a_release_takes_over_and_a_broken_one_does_not(
    converge: Converge, spin: Archive, release: Release
) -> None:
    for version in ("0.1.0", "0.1.1-broken"):
        shutil.copytree(release.directory, release.directory.with_name(version))
    variables = serve_with_spin(spin)
    host = address(converge.machine)
    # One under way at any time.
    with load(8000, host=host) as asked, load(8000, per_second=2, host=host, path="/slow") as slow:
        converge(**variables, runtime_host_release="0.1.0")
    assert asked.failures == slow.failures == []
    assert set(asked.releases()) == set(slow.releases()) == {VERSION, "0.1.0"}

    with load(8000, host=host) as asked:
        converge(fails=True, **variables, runtime_host_release="0.1.1-broken")
    said = " ".join(converge.output.split())
    assert "/ answered 500, wanted is 200-499. If that is well, set app_probes." in said
    assert "serve: release 0.1.1-broken with spin on 127.0.0.1:" in said, "its log"
    assert asked.failures == []
    assert set(asked.releases()) == {"0.1.0"}
    assert converge(**variables, runtime_host_release="0.1.0") == 0, converge.output


def test_what_an_interrupted_run_left_goes(converge: Converge, spin: Archive) -> None:
    machine, variables = converge.machine, serve_with_spin(spin)
    folder = "/etc/multicompute"
    (settings,) = machine.run("sh", "-c", f"ls {folder}/8*.env").split()
    led = Path(settings).stem
    idle = {"8001": "8002", "8002": "8001"}[led]
    machine.run("sh", "-c", f"sed s/{led}/{idle}/ {settings} >{folder}/{idle}.env")
    machine.run("systemctl", "start", f"multicompute@{idle}")
    with load(8000, host=address(machine)) as asked:
        # The proxy may lead to either: reloaded, it leads to the one of its file.
        assert converge(**variables, runtime_host_release="0.1.0") == 3, converge.output
    assert asked.failures == []
    assert machine.run("sh", "-c", f"ls {folder}/8*.env").split() == [settings]
    assert not machine.host.service(f"multicompute@{idle}").is_running


def starts(machine: Machine) -> int:
    """How often the server was started."""
    machine.run("journalctl", "--sync")
    journal = machine.run("journalctl", "--no-pager", "--output=cat", "--unit=multicompute@*")
    return journal.count("Started multicompute@")


def says(machine: Machine, version: str) -> bool:
    answer = machine.ask()
    return answer is not None and json.loads(answer.body)["version"] == version


def test_an_upgrade_and_a_downgrade_of_a_stand_in_for_spin_are_another_server(
    converge: Converge, spin: Archive, newer_spin: Archive
) -> None:
    machine = converge.machine
    for archive, version in ((newer_spin, "3.5.1"), (spin, "3.5.0")):
        before = starts(machine)
        # The runtime; the new server's settings, start and boot; the proxy's file and reload; the
        # former server's stop and settings.
        with load(8000, host=address(machine)) as asked:
            assert converge(**serve_with_spin(archive)) == 8, converge.output
        assert asked.failures == []
        until(partial(says, machine, version), what=version)
        assert starts(machine) == before + 1


@pytest.mark.parametrize("damage", ["another digest is pinned", "truncated"])
def test_a_stand_in_for_spin_that_is_not_the_pinned_one_is_refused_and_the_installed_one_stays(
    converge: Converge, mirror: Mirror, newer_spin: Archive, damage: str
) -> None:
    machine = converge.machine
    installed, before = machine.host.file("/usr/local/bin/spin").sha256sum, starts(machine)
    pinned = newer_spin.sha256
    if damage == "truncated":
        file = mirror.directory / newer_spin.file
        file.write_bytes(file.read_bytes()[:-100])
    else:
        pinned = "0" * 64
    variables = serve_with_spin(Archive(newer_spin.file, pinned))
    assert converge(fails=True, **variables) == 0, converge.output
    said = " ".join(converge.output.split())
    assert f"pinned is {pinned}: nothing was installed" in said, converge.output
    assert machine.host.file("/usr/local/bin/spin").sha256sum == installed
    assert starts(machine) == before
    assert says(machine, "3.5.0")


def test_absent_leaves_no_mount_point_either(converge: Converge, before: set[str]) -> None:
    assert converge(runtime_host_state="absent") >= 3
    assert files(converge.machine) == before


@pytest.fixture(scope="module")
def rust(mirror: Mirror, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Variables for stand-ins of the shape of Rust's archives: <archive>/<component>/<files>."""
    folder, host = tmp_path_factory.mktemp("rust"), f"{platform.machine()}-unknown-linux-gnu"
    digests = {}
    for component, target, file in (
        ("cargo", host, "bin/cargo"),
        ("rustc", host, "bin/rustc"),
        ("rust-std", host, f"lib/rustlib/{host}/lib/core.rlib"),
        ("rust-std", "wasm32-wasip1", "lib/rustlib/wasm32-wasip1/lib/core.rlib"),
    ):
        content = folder / "content"
        content.write_text("#!/bin/sh\n")
        content.chmod(0o755)
        name = f"{component}-9.8.7-{target}"
        members = {f"{name}/install.sh": content, f"{name}/{component}-{target}/{file}": content}
        key = component if target == host else f"{component}-{target}"
        digests[key] = mirror.add(f"{name}.tar.xz", members).sha256
    return {
        "runtime_host_toolchain": True,
        "runtime_host_toolchain_version": "9.8.7",
        "runtime_host_toolchain_url": mirror.url,
        "runtime_host_toolchain_sha256": {"amd64": digests, "arm64": digests},
        "__runtime_host_toolchain_archives": True,
        "__runtime_host_toolchain_packages": ["xz-utils"],
    }


def test_a_stand_in_for_rusts_own_toolchain_is_put_together_of_its_archives(
    converge: Converge, rust: dict[str, Any], spin: Archive
) -> None:
    variables = serve_with_spin(spin) | rust
    wrong = dict.fromkeys(rust["runtime_host_toolchain_sha256"]["amd64"], "0" * 64)
    converge(fails=True, **variables | {"runtime_host_toolchain_sha256": {"amd64": wrong}})
    assert "checksum" in converge.output
    place = "/opt/multicompute/rust-9.8.7"
    assert not converge.machine.host.file(place).exists

    converge(**variables)
    found = converge.machine.run("find", place, "-type", "f", "-printf", "%P\n").split()
    host = f"{platform.machine()}-unknown-linux-gnu"
    assert sorted(found) == [
        "bin/cargo",
        "bin/rustc",
        "lib/rustlib/wasm32-wasip1/lib/core.rlib",
        f"lib/rustlib/{host}/lib/core.rlib",
    ]
    assert converge(**variables) == 0, converge.output

    converge(runtime_host_state="absent")
    for path in ("/opt/multicompute", "/etc/profile.d/multicompute-rust.sh"):
        assert not converge.machine.host.file(path).exists


def choose(**variables: Any) -> Any:
    return playbook("choose.yml", "--inventory", "localhost,", **variables)


@pytest.mark.parametrize(
    ("architecture", "features", "chosen"),
    [
        ("aarch64", "fp asimd evtstrm crc32 cpuid", "wasmtime"),  # Raspberry Pi 4
        ("aarch64", "fp asimd crc32 atomics fphp asimdhp cpuid", "spin"),  # Raspberry Pi 5
        ("x86_64", "fpu sse2 avx2", "spin"),
    ],
)
def test_spin_is_for_processors_that_have_what_it_needs(
    tmp_path: Path, architecture: str, features: str, chosen: str
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nFeatures\t: {features}\n")
    result = choose(architecture=architecture, __runtime_host_cpuinfo=str(cpuinfo))
    assert f"chosen: {chosen}" in result.stdout, result.stdout
    assert ("its processor lacks fphp" in result.stdout) == (chosen == "wasmtime")


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"distribution": "Slackware"}, "supported are Debian 12 and 13"),
        ({"architecture": "armv7l"}, "on x86_64 and aarch64"),
        ({"user": "pi"}, "entered as pi, and the role needs root: set ansible_become"),
        ({"runtime_host_listen": "0.0.0.0:80"}, "a port from 1024 to 65533"),
        ({"runtime_host_listen": "0.0.0.0:65534"}, "the servers behind it take the next two"),
        ({"runtime_host_listen": "8000"}, "must be <address>:<port>"),
        ({"runtime_host_share_type": "nfs"}, "runtime_host_share_source must be set"),
        (
            {"runtime_host_share_type": "efs", "runtime_host_share_source": "fs-1:/"},
            "Debian-13 has no package that mounts efs",
        ),
        (
            {"distribution": "Amazon", "distribution_version": "2023"},
            "Spin's usual build needs glibc 2.35, and Amazon-2023 has 2.34",
        ),
        (
            {
                "runtime_host_toolchain": True,
                "distribution_version": "12",
                "architecture": "aarch64",
            },
            "the Rust of Debian-12 does not compile to wasm32-wasip1",
        ),
    ],
)
def test_what_cannot_work_is_refused_first(variables: dict[str, Any], message: str) -> None:
    result = choose(**variables)
    assert result.returncode != 0
    assert message in " ".join(result.stdout.replace("\n", " ").split()), result.stdout
    assert "changed=0" in result.stdout


AMAZON_LINUX = {"distribution": "Amazon", "distribution_version": "2023"}
RASPBERRY_PI_OS = {"distribution": "Debian", "architecture": "aarch64"}  # so it calls itself


@pytest.mark.parametrize(
    ("variables", "installs"),
    [
        (AMAZON_LINUX | {"runtime_host_share_type": "efs"}, ["amazon-efs-utils"]),
        (AMAZON_LINUX | {"runtime_host_toolchain": True}, ["gcc", "tar", "xz"]),
        (RASPBERRY_PI_OS | {"runtime_host_share_type": "nfs"}, ["nfs-common"]),
        (
            RASPBERRY_PI_OS | {"runtime_host_toolchain": True},
            ["cargo", "rustc", "libstd-rust-dev-wasm32", "rust-llvm"],
        ),
    ],
)
def test_by_facts_alone_what_distributions_that_do_not_run_here_get(
    variables: dict[str, Any], installs: list[str]
) -> None:
    result = choose(wasm_runtime="wasmtime", runtime_host_share_source="nas:/srv/app", **variables)
    assert f"installs: {json.dumps(installs)}" in result.stdout, result.stdout
