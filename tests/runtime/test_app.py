# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import docker
import pytest
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import until

from .conftest import APP, RunRole, answer

ZEROS = "0" * 64


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the app, to change."""
    return Path(shutil.copytree(APP, tmp_path / "source", ignore=shutil.ignore_patterns("target")))


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def serve(directory: Path, *options: str) -> tuple[int, str, dict[str, str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [directory / "wasmtime", "serve", "-S", "cli", "-C", "cache=n"]
    server = subprocess.Popen([*command, f"--addr=127.0.0.1:{port}", *options])
    try:
        return answer(port)
    finally:
        server.kill()
        server.wait()


def test_the_release_answers_and_says_who_it_is(app: dict[str, Any], tmp_path: Path) -> None:
    with tarfile.open(app["bundle"]) as bundle:
        bundle.extractall(tmp_path, filter="data")
    release = json.loads((tmp_path / "release.json").read_text())
    assert release["toolchain"] == "rustc 1.85.1" and release["version"] == app["version"]
    assert {name: entry["sha256"] for name, entry in release["files"].items()} == app["files"]
    [precompiled] = [tmp_path / name for name in app["files"] if name != "app.wasm"]
    identity = ["--env", "SERVED_BY=me", "--env", "RELEASE=1.2.3", "--env", "INSTANCE=i-1"]
    for program in (["--allow-precompiled", str(precompiled)], [str(tmp_path / "app.wasm")]):
        status, body, headers = serve(app["directory"], *identity, *program)
        assert (status, body) == (200, "Hello, Fermyon")
        assert headers["x-served-by"] == "me"
        assert headers["x-release"] == "1.2.3"
        assert headers["x-instance"] == "i-1"


def test_versions_agree() -> None:
    versions = {
        re.search(r'(?m)^version = "(.+)"', (APP / name).read_text()).group(1)  # type: ignore[union-attr]
        for name in ("Cargo.toml", "spin.toml")
    }
    assert len(versions) == 1


def test_builds_once_for_each_state_of_the_source(
    role: RunRole, app: dict[str, Any], source: Path, tmp_path: Path
) -> None:
    build = tmp_path / "build"
    variables = {"app_source": str(source), "app_build_dir": str(build)}

    predicted = role("app", check=True, **variables)
    assert predicted.changed and not build.exists()
    assert predicted.facts["app_release"]["bundle_sha256"] == ZEROS

    first = role("app", **variables)
    # The folder that it is built in leaves no trace in it.
    assert first.facts["app_release"]["wasm_sha256"] == app["wasm_sha256"]
    assert list(first.facts["app_release"]["files"]) == ["app.wasm"], "precompiled without wasmtime"

    for check in (True, False):
        again = role("app", check=check, **variables)
        assert again.changed == []
        assert again.facts["app_release"] == first.facts["app_release"]

    # What cargo or an editor's tools leave beside the source is none of it.
    (source / "target").mkdir()
    (source / "target/debris").write_text("")
    assert role("app", check=True, **variables).changed == []

    replace(source / "src/lib.rs", "Hello, Fermyon", "Hello, World")
    before = sorted(build.iterdir())
    predicted = role("app", check=True, **variables)
    assert predicted.changed and sorted(build.iterdir()) == before
    changed = role("app", **variables)
    assert changed.facts["app_release"]["wasm_sha256"] != app["wasm_sha256"]
    assert b"Hello, World" in Path(changed.facts["app_release"]["bundle"]).read_bytes()


def test_source_that_is_older_than_what_was_built_last_is_built(
    role: RunRole, app: dict[str, Any], source: Path, tmp_path: Path
) -> None:
    replace(source / "src/lib.rs", "Hello, Fermyon", "Hello from the archive")
    for path in source.rglob("*"):
        os.utime(path, (0, 0))
    built = role("app", app_source=str(source), app_build_dir=str(tmp_path / "build"))
    assert b"Hello from the archive" in Path(built.facts["app_release"]["bundle"]).read_bytes()


def test_failing_build_shows_the_error_and_leaves_no_release(
    role: RunRole, source: Path, tmp_path: Path
) -> None:
    replace(source / "src/lib.rs", "let mut headers", "let headers")
    play = role("app", app_source=str(source), app_build_dir=str(tmp_path / "build"))
    assert play.message.startswith("app: cargo build failed:\n")
    assert "error[E0596]: cannot borrow `headers` as mutable" in play.message
    assert "src/lib.rs" in play.message and "Compiling" not in play.message
    assert list((tmp_path / "build").iterdir()) == []


def test_a_run_that_is_interrupted_takes_its_container_along(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/main.rs").write_text("fn main() {}\n")
    (tmp_path / "build.rs").write_text(
        'fn main() { std::fs::write("/output/begun", "").unwrap(); loop { std::thread::park(); } }'
    )
    (tmp_path / "Cargo.toml").write_text('[package]\nname = "endless"\nversion = "1.0.0"\n')

    def containers() -> list[Any]:
        running = docker.from_env().containers.list(ignore_removed=True)
        return [c for c in running if str(tmp_path) in str(c.attrs["Mounts"])]

    (tmp_path / "Cargo.lock").write_text(
        'version = 4\n\n[[package]]\nname = "endless"\nversion = "1.0.0"\n'
    )
    variables = {
        "ansible_python_interpreter": sys.executable,
        "builder_name": "endless",
        "builder_command": ["build", "--locked"],
        "builder_environment": {"CARGO_TARGET_DIR": "/output"},
        "builder_source": str(tmp_path),
        "builder_output": str(tmp_path / "output"),
    }
    play = subprocess.Popen(
        [Path(sys.executable).with_name("ansible"), "localhost", "--inventory", "localhost,"]
        + ["--connection", "local", "--extra-vars", json.dumps(variables)]
        + ["--module-name", "ansible.builtin.include_role"]
        + ["--args", "name=multicompute.spin.builder tasks_from=cargo.yml"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        until((tmp_path / "output/begun").exists, 60)
        assert len(containers()) == 1
        os.killpg(play.pid, signal.SIGINT)
        until(lambda: not containers(), 20)
    finally:
        play.kill()
        play.wait()
        for container in containers():
            container.remove(force=True)


def test_source_that_is_no_crate_is_refused(role: RunRole, tmp_path: Path) -> None:
    message = role("app", app_source=str(tmp_path), app_build_dir=str(tmp_path / "build")).message
    assert f"app_source is {tmp_path}, which holds no Cargo.toml" in message


def test_lock_file_that_does_not_fit_is_refused(
    role: RunRole, source: Path, tmp_path: Path
) -> None:
    replace(source / "Cargo.toml", 'wasi = "=0.13.1"', 'wasi = "=0.13.1"\nitoa = "1"')
    play = role("app", app_source=str(source), app_build_dir=str(tmp_path / "build"))
    assert "--locked" in play.message


def test_component_that_the_user_gives(role: RunRole, app: dict[str, Any], tmp_path: Path) -> None:
    with tarfile.open(app["bundle"]) as bundle:
        bundle.extract("app.wasm", tmp_path, filter="data")
    wasm = tmp_path / "app.wasm"
    variables = {"app_build_dir": str(tmp_path / "build"), "app_wasm": str(wasm)}

    def refusal(**options: str) -> str:
        message = role("app", **variables, **options).message
        assert message.startswith(f"app_wasm: {wasm}: ")
        assert not list((tmp_path / "build").glob("*.tar"))
        return message

    good = wasm.read_bytes()
    wasm.write_bytes(good[: len(good) // 2])
    assert "truncated" in refusal()
    # The component holds the module that it was made of: what a wrong linker would have left.
    start = good.index(b"\0asm\x01\0\0\0", 8)
    wasm.write_bytes(good[start:])
    assert "core WebAssembly module, not a component" in refusal()
    wasm.write_bytes(good)
    assert "another file" in refusal(app_wasm_sha256=ZEROS)

    play = role("app", **variables, app_wasm_sha256=app["wasm_sha256"])
    assert play.facts["app_release"]["files"] == {"app.wasm": app["wasm_sha256"]}
    wasm.unlink()
    for check in (True, False):
        assert "does not exist" in role("app", check=check, **variables).message


def test_precompiled_for_another_architecture(role: RunRole, app: dict[str, Any]) -> None:
    play = role(
        "app",
        app_build_dir=str(app["directory"]),
        app_version="2.0.0",
        app_architectures=["amd64", "arm64"],
        wasm_runtime="wasmtime",
    )
    aarch64, x86_64 = 183, 62
    machines = {}
    with tarfile.open(play.facts["app_release"]["bundle"]) as bundle:
        for name in bundle.getnames():
            if name.endswith(".cwasm"):
                header = bundle.extractfile(name).read(20)  # type: ignore[union-attr]
                machines[name.split("-")[-1]] = int.from_bytes(header[18:20], "little")
    assert machines == {"amd64.cwasm": x86_64, "arm64.cwasm": aarch64}
