# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import functools
import hashlib
import io
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from .conftest import RunRole

STAND_IN = b"#!/bin/sh\necho spin 3.5.1\n"


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Variables for a mirror with stand-ins for the archives that no registry has."""
    root = tmp_path / "mirror"
    (root / "v3.5.1").mkdir(parents=True)
    spin = root / "v3.5.1/spin-v3.5.1-linux-amd64.tar.gz"
    with tarfile.open(spin, "w:gz") as archive:
        for name in ("LICENSE", "spin"):
            member = tarfile.TarInfo(name)
            member.size = len(STAND_IN)
            archive.addfile(member, io.BytesIO(STAND_IN))
    (root / "v49.0.3").mkdir()
    wasmtime = root / "v49.0.3/wasmtime-v49.0.3-x86_64-linux.tar.xz"
    with tarfile.open(wasmtime, "w:xz") as archive:
        member = tarfile.TarInfo("wasmtime-v49.0.3-x86_64-linux/wasmtime")
        member.size = len(STAND_IN)
        archive.addfile(member, io.BytesIO(STAND_IN))
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(root))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        yield {
            "wasm_runtime_path": str(tmp_path / "binary"),
            "wasm_runtime_spin_url": url,
            "wasm_runtime_spin_sha256": {"amd64": digest(spin)},
            "wasm_runtime_release_url": url,
            "wasm_runtime_release_sha256": {"amd64": digest(wasmtime)},
        }
        server.shutdown()


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    "choice",
    [
        {"wasm_runtime": "spin"},
        {"wasm_runtime": "wasmtime", "wasm_runtime_wasmtime_source": "release"},
    ],
    ids=["spin", "wasmtime release"],
)
def test_stand_in_archive_is_installed_once(
    role: RunRole, mirror: dict[str, Any], choice: dict[str, str]
) -> None:
    binary = Path(mirror["wasm_runtime_path"])
    assert role("wasm_runtime", check=True, **mirror, **choice).changed and not binary.exists()
    assert role("wasm_runtime", **mirror, **choice).changed
    assert subprocess.check_output([binary]) == b"spin 3.5.1\n"
    assert role("wasm_runtime", **mirror, **choice).changed == []


def test_stand_in_archive_with_another_digest_is_refused(
    role: RunRole, mirror: dict[str, Any]
) -> None:
    # The digest pinned in the role is that of the real archive.
    del mirror["wasm_runtime_spin_sha256"]
    play = role("wasm_runtime", wasm_runtime="spin", **mirror)
    assert "nothing was installed" in play.message
    assert not Path(mirror["wasm_runtime_path"]).exists()


def test_archive_without_a_pin_is_refused(role: RunRole, mirror: dict[str, Any]) -> None:
    del mirror["wasm_runtime_release_sha256"]
    choice = {"wasm_runtime": "wasmtime", "wasm_runtime_wasmtime_source": "release"}
    play = role("wasm_runtime", **mirror, **choice)
    assert "wasm_runtime_release_sha256 has no SHA-256 digest for amd64" in play.message


def test_wasmtime_of_the_package_index_runs(app: dict[str, Any]) -> None:
    version = subprocess.check_output([app["directory"] / "wasmtime", "--version"], text=True)
    assert version.startswith("wasmtime 49.0.3 ")
