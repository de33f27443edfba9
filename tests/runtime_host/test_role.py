"""The role runtime_host: shares, runtimes, refusals. Its whole life: test_hosts_playbook."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
)

# In place of Spin, which no package registry has: answers with what it was called with.
SPIN = """#!/usr/bin/python3
import http.server, json, os, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        manifest = open(sys.argv[sys.argv.index("--from") + 1] + "/spin.toml").read()
        said = {"arguments": sys.argv[1:], "environment": dict(os.environ), "manifest": manifest}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

address, port = os.environ["SPIN_HTTP_LISTEN_ADDR"].split(":")
try:
    http.server.HTTPServer((address, int(port)), Handler).serve_forever()
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
    """Of the shape of Spin's release archives."""
    stand_in = tmp_path_factory.mktemp("spin") / "spin"
    stand_in.write_text(SPIN)
    stand_in.chmod(0o755)
    return mirror.add("spin.tar.gz", {"spin": stand_in, "README.md": Path(__file__)})


def serve_with_spin(archive: Archive) -> dict[str, Any]:
    return {
        "wasm_runtime": "spin",
        "wasm_runtime_spin_file": archive.file,
        "wasm_runtime_spin_sha256": {"amd64": archive.sha256, "arm64": archive.sha256},
        "runtime_host_share_type": "directory",
        "runtime_host_share_source": "/srv/app",
    }


def test_check_mode_predicts_and_changes_nothing(converge: Converge, before: set[str]) -> None:
    assert converge("--check", "--diff") >= 6, converge.output
    assert "APP_SERVED_BY=pi" in converge.output
    assert files(converge.machine) == before


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


def test_it_serves_from_a_mounted_share(converge: Converge) -> None:
    assert converge() >= 6
    answer = converge.machine.answer()
    assert (answer.status, answer.body) == (200, "Hello, Fermyon")
    assert answer.headers["x-served-by"] == "pi"
    assert answer.headers["x-release"] == VERSION
    host = converge.machine.host
    assert answer.headers["x-instance"] == host.run("uname -n").stdout.strip()
    assert "ro" in host.mount_point("/mnt/app").options
    assert host.process.get(comm="wasmtime").user == "multicompute"
    assert host.service("multicompute").is_enabled


def test_spin_with_a_wrong_digest_is_refused_and_the_server_stays(
    converge: Converge, spin: Archive
) -> None:
    variables = serve_with_spin(Archive(spin.file, "0" * 64))
    converge(fails=True, **variables)
    assert (
        f"has sha256 {spin.sha256}, pinned is {'0' * 64}: nothing was installed" in converge.output
    )
    assert not converge.machine.host.file("/usr/local/bin/spin").exists
    assert converge.machine.answer().body == "Hello, Fermyon"


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
    machine.run("systemctl", "stop", "multicompute")
    assert host.run("systemctl show -P Result multicompute").stdout.strip() == "success"
    machine.run("systemctl", "start", "multicompute")


def test_absent_leaves_no_mount_point_either(converge: Converge, before: set[str]) -> None:
    assert converge(runtime_host_state="absent") >= 3
    assert files(converge.machine) == before


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
        ({"runtime_host_listen": "0.0.0.0:80"}, "a port from 1024 to 65535"),
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
