"""runtime/serve: what it waits for, what it picks, and what it hands to the runtime."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from .conftest import RUNTIME, VERSION, Machine, Release, until

SERVE = RUNTIME / "serve"
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
LOADER = {"amd64": "/lib64/ld-linux-x86-64.so.2", "arm64": "/lib/ld-linux-aarch64.so.1"}

# Says what it was called with, in place of serving.
STAND_IN = """#!/bin/sh
if [ "$1" = --version ]; then echo "wasmtime 12.3.4 (abc 2026-01-01)"; exit; fi
printf 'argument %s\\n' "$@"
env | sed 's/^/environment /'
while [ $# -gt 0 ]; do [ "$1" != --from ] || cat "$2/spin.toml"; shift; done
"""


@pytest.fixture
def share(tmp_path: Path) -> Path:
    """A share with a release that is not active."""
    (tmp_path / "share/releases/1.2.3/aot").mkdir(parents=True)
    (tmp_path / "share/releases/1.2.3/app.wasm").write_text("wasm")
    return tmp_path / "share"


def activate(share: Path) -> None:
    (share / "current").symlink_to("releases/1.2.3")


@pytest.fixture
def serve(tmp_path: Path, share: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start serve with stand-ins for both runtimes."""
    for name in ("wasmtime", "spin"):
        stand_in = tmp_path / "bin" / name
        stand_in.parent.mkdir(exist_ok=True)
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)

    def start(**environment: str) -> subprocess.Popen[str]:
        path = f"{tmp_path}/bin:/usr/bin:/bin"
        return subprocess.Popen(
            # A shell cannot trap what was ignored when it started, as SIGINT is in the background.
            ["env", "--default-signal=INT", SERVE],
            env={"PATH": path, "APP_SHARE": str(share), "APP_SERVED_BY": "me", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_it_waits_for_the_release(serve: Any, share: Path) -> None:
    process = serve(APP_WAIT_SECONDS="20")
    assert process.stderr.readline() == f"serve: waiting up to 20 s for {share}/current/app.wasm\n"
    activate(share)
    output, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert f"{share}/releases/1.2.3/app.wasm" in output
    assert "waiting" not in errors, "it said so once"


def test_without_a_release_it_names_the_path_and_the_fix(serve: Any, share: Path) -> None:
    process = serve(APP_WAIT_SECONDS="1")
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert f"no release at {share}/current/app.wasm after 1 s" in errors
    assert "publish and activate a release" in errors


def test_serves_the_release_that_it_is_told_to(
    serve: Callable[..., subprocess.Popen[str]], share: Path
) -> None:
    activate(share)
    (share / "releases/1.3.0").mkdir()
    (share / "releases/1.3.0/app.wasm").write_text("wasm")
    output, _ = serve(APP_RELEASE="1.3.0").communicate(timeout=10)
    assert "argument RELEASE=1.3.0\n" in output
    assert f"argument {share}/releases/1.3.0/app.wasm\n" in output


def test_names_the_release_that_is_not_there(
    serve: Callable[..., subprocess.Popen[str]], share: Path
) -> None:
    activate(share)
    process = serve(APP_RELEASE="9.9.9", APP_WAIT_SECONDS="1")
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert f"no release at {share}/releases/9.9.9/app.wasm after 1 s" in errors


def test_a_stop_while_it_waits_is_clean(serve: Any) -> None:
    process = serve()
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0


@pytest.fixture
def serve_from(
    run: Callable[..., Container], serve: Any, share: Path
) -> Callable[..., tuple[str, str]]:
    """What serve and the stand-ins say where the share is mounted as `ro` or `rw`."""

    def start(mode: str, *volumes: str) -> tuple[str, str]:
        container = run(
            "debian:trixie-slim",
            entrypoint="/usr/local/bin/serve",
            volumes=[
                f"{SERVE}:/usr/local/bin/serve:ro",
                f"{share.parent}/bin/wasmtime:/usr/local/bin/wasmtime:ro",
                f"{share}:/mnt/app:{mode}",
                *volumes,
            ],
            detach=True,
        )
        assert container.wait()["StatusCode"] == 0
        output, errors = container.logs(stderr=False), container.logs(stdout=False)
        return output.decode(), errors.decode()

    return start


@pytest.mark.parametrize(
    "volume",
    [
        "/bin/false:/usr/bin/uname:ro",  # it needs no process to know
        *[f"/dev/null:{loader}:ro" for name, loader in LOADER.items() if name != ARCHITECTURE],
    ],
)
def test_the_precompiled_file_of_this_runtime_and_architecture_is_served(
    serve_from: Callable[..., tuple[str, str]], share: Path, volume: str
) -> None:
    activate(share)
    for architecture in LOADER:
        (share / f"releases/1.2.3/aot/wasmtime-12.3.4-{architecture}.cwasm").touch()
    precompiled = f"releases/1.2.3/aot/wasmtime-12.3.4-{ARCHITECTURE}.cwasm"
    output, errors = serve_from("ro", volume)
    assert f"argument --allow-precompiled\nargument /mnt/app/{precompiled}\n" in output
    assert "app.wasm" not in output + errors


@pytest.mark.parametrize(
    ("mode", "name", "reason"),
    [
        ("ro", "wasmtime-12.3.5-{}", "is not there"),
        ("ro", "wasmtime-12.3.4-{}x", "is not there"),
        ("rw", "wasmtime-12.3.4-{}", "is on a writable mount"),
    ],
)
def test_the_component_is_served_when_nothing_precompiled_fits_or_can_be_trusted(
    serve_from: Callable[..., tuple[str, str]], share: Path, mode: str, name: str, reason: str
) -> None:
    activate(share)
    (share / f"releases/1.2.3/aot/{name.format(ARCHITECTURE)}.cwasm").touch()
    output, errors = serve_from(mode)
    assert "argument /mnt/app/releases/1.2.3/app.wasm\n" in output
    assert "--allow-precompiled" not in output
    wanted = f"aot/wasmtime-12.3.4-{ARCHITECTURE}.cwasm of release 1.2.3"
    lines = errors.splitlines()
    assert lines[0] == f"serve: {wanted} {reason}: compiling app.wasm at every start"
    assert len(lines) == 2 and "with wasmtime on" in lines[1]


def test_wasmtime_gets_identity_address_and_reuse(serve: Any, share: Path) -> None:
    activate(share)
    given = {"APP_INSTANCE": "i-1", "APP_LISTEN": "127.0.0.1:1", "APP_INSTANCE_REUSE": "7"}
    output, _ = serve(**given).communicate()
    for argument in ("SERVED_BY=me", "RELEASE=1.2.3", "INSTANCE=i-1", "127.0.0.1:1", "7"):
        assert f"argument {argument}\n" in output


@pytest.mark.parametrize(("reuse", "pooling"), [("1", []), ("128", ["pooling-allocator=n"])])
def test_only_instances_of_one_request_come_from_a_pool(
    serve: Any, share: Path, reuse: str, pooling: list[str]
) -> None:
    """Where there is room for it: wasmtime sees to that by itself, if it is not told."""
    activate(share)
    output, _ = serve(APP_INSTANCE_REUSE=reuse).communicate()
    told = re.findall(r"^argument (pooling-allocator=.*)$", output, re.MULTILINE)
    assert told == pooling
    assert ("argument pooling-pagemap-scan=auto\n" in output) == (reuse == "1")


@pytest.mark.parametrize("indent", [2, None])
@pytest.mark.parametrize(
    ("declared", "environment", "reuse"),
    [
        ({}, {}, "1"),
        ({"instance_reuse": 128}, {}, "128"),
        ({"instance_reuse": 128}, {"APP_INSTANCE_REUSE": "9"}, "9"),
        # What else a release says of itself does not pass for it.
        ({"probes": [{"path": "/", "text": '"instance_reuse": 5'}]}, {}, "1"),
    ],
)
def test_a_release_says_how_often_an_instance_is_used(
    serve: Any,
    share: Path,
    declared: dict[str, Any],
    environment: dict[str, str],
    reuse: str,
    indent: int | None,
) -> None:
    activate(share)
    manifest = {"files": {"app.wasm": {"sha256": "0", "size": 1}}, **declared, "z": None}
    (share / "releases/1.2.3/release.json").write_text(json.dumps(manifest, indent=indent))
    output, _ = serve(**environment).communicate()
    assert f"argument --max-instance-reuse-count\nargument {reuse}\n" in output


def test_spin_gets_a_manifest_that_names_the_component(serve: Any, share: Path) -> None:
    activate(share)
    output, _ = serve(WASM_RUNTIME="spin", APP_INSTANCE="i-1", APP_LISTEN="[::]:1").communicate()
    assert f'source = "{share}/releases/1.2.3/app.wasm"' in output
    for argument in ("up", "--from", "SERVED_BY=me", "RELEASE=1.2.3", "INSTANCE=i-1"):
        assert f"argument {argument}\n" in output
    for variable in ("SPIN_LOG_DIR=", "SPIN_HTTP_LISTEN_ADDR=[::]:1", "HOME=/tmp"):
        assert f"environment {variable}\n" in output


@pytest.mark.parametrize(
    ("environment", "instance"),
    [
        ({"ECS_CONTAINER_METADATA_URI_V4": "http://169.254.170.2/v4/0a1b-2345"}, "0a1b"),
        ({"AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/23/[$LATEST]9f8e"}, "9f8e"),
        ({"AWS_LAMBDA_LOG_STREAM_NAME": "$LATEST"}, platform.node()),
        ({}, platform.node()),
        ({"APP_INSTANCE": "mine", "AWS_LAMBDA_LOG_STREAM_NAME": "[1]9f8e"}, "mine"),
    ],
)
def test_the_instance_is_what_the_platform_calls_it(
    serve: Any, share: Path, environment: dict[str, str], instance: str
) -> None:
    activate(share)
    assert f"argument INSTANCE={instance}\n" in serve(**environment).communicate()[0]


def test_an_unknown_runtime_is_refused(serve: Any) -> None:
    process = serve(WASM_RUNTIME="docker")
    assert "WASM_RUNTIME is 'docker': must be spin or wasmtime" in process.communicate()[1]
    assert process.returncode == 1


def test_a_missing_runtime_is_named(share: Path) -> None:
    environment = {"PATH": "/usr/bin:/bin", "APP_SHARE": str(share), "WASM_RUNTIME": "spin"}
    result = subprocess.run([SERVE], env=environment, capture_output=True, text=True)
    assert result.returncode == 1
    assert "spin is not installed" in result.stderr


@pytest.mark.parametrize("precompiled", [True, False])
def test_the_app_answers_from_a_locked_down_container(
    run: Any, release: Release, tmp_path: Path, precompiled: bool
) -> None:
    version = release.wasmtime_version if precompiled else "0.0.0"
    aot = tmp_path / "aot"
    aot.mkdir()
    for file in (release.directory / "aot").iterdir():
        os.link(file, aot / file.name.replace(release.wasmtime_version, version))
    machine = Machine(
        run(
            "debian:trixie-slim",
            entrypoint="/usr/local/bin/serve",
            volumes=[
                f"{SERVE}:/usr/local/bin/serve:ro",
                f"{release.wasmtime}:/usr/local/bin/wasmtime:ro",
                f"{release.share}:/mnt/app:ro",
                f"{aot}:/mnt/app/releases/{VERSION}/aot:ro",
            ],
            environment={"APP_SERVED_BY": "locked-down"},
            user="1000",
            read_only=True,
            tmpfs={"/tmp": ""},
            cap_drop=["ALL"],
            ports={"8000/tcp": ("127.0.0.1", None)},
            stop_signal="SIGINT",
            detach=True,
        )
    )
    answer = until(machine.ask, 20, "an answer")
    assert (answer.status, answer.body) == (200, "Hello, Fermyon")
    assert answer.headers["x-served-by"] == "locked-down"
    assert answer.headers["x-release"] == VERSION
    assert answer.headers["x-instance"] == machine.container.id[:12]
    assert ("compiling app.wasm" in machine.container.logs().decode()) != precompiled

    start = time.monotonic()
    machine.container.stop(timeout=10)
    assert time.monotonic() - start < 5, "the runtime is the process that gets the signal"
    assert machine.container.wait()["StatusCode"] == 0
