# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Downloads go through a real HTTP server on loopback."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import archive_binary
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

BINARY = b"#!/bin/sh\necho stand-in\n"
MEMBER = "package/tool"


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.missing = 0  # bytes that are announced and not sent

    def args(self, name: str, path: Path, **options: Any) -> dict[str, Any]:
        return {
            "url": f"http://127.0.0.1:{self.server_port}/{name}",
            "sha256": hashlib.sha256(self.files.get(name, b"")).hexdigest(),
            "member": MEMBER,
            "path": str(path),
            **options,
        }


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.server.requests.append(name)
        content = self.server.files.get(name)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"") + self.server.missing))
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.files = {
            "tool.tar.gz": tar("gz"),
            "tool.tar.xz": tar("xz"),
            "tool.whl": wheel(),
            "next.tar.gz": tar("gz", BINARY + b"# next\n"),
        }
        yield server
        server.shutdown()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tool"


def tar(compression: str, content: bytes = BINARY) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=f"w:{compression}") as archive:
        member = tarfile.TarInfo(MEMBER)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
    return file.getvalue()


def wheel() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MEMBER, BINARY)
    return file.getvalue()


@pytest.mark.parametrize("name", ["tool.tar.gz", "tool.tar.xz", "tool.whl"])
def test_installs_an_executable_and_then_rests(server: Server, path: Path, name: str) -> None:
    args = server.args(name, path)
    predicted = run_module(archive_binary, args, check=True)
    assert predicted["changed"] and not server.requests and not path.exists()

    done = run_module(archive_binary, args)
    assert done["changed"] and done["diff"] == predicted["diff"]
    assert path.read_bytes() == BINARY
    assert path.stat().st_mode & 0o777 == 0o755
    assert done["sha256"] == hashlib.sha256(BINARY).hexdigest()

    for check in (True, False):
        again = run_module(archive_binary, args, check=check)
        assert not again["changed"], again["diff"]
        assert again["sha256"] == done["sha256"]
    assert server.requests == [name]


def test_a_new_pin_replaces_the_file(server: Server, path: Path) -> None:
    run_module(archive_binary, server.args("tool.tar.gz", path))
    done = run_module(archive_binary, server.args("next.tar.gz", path))
    assert done["changed"] and path.read_bytes().endswith(b"# next\n")


def test_another_mirror_of_the_same_archive_changes_nothing(server: Server, path: Path) -> None:
    run_module(archive_binary, server.args("tool.tar.gz", path))
    moved = server.args("tool.tar.gz", path) | {"url": "http://127.0.0.1:1/unreachable"}
    assert not run_module(archive_binary, moved)["changed"]


def test_what_was_tampered_with_is_put_right(server: Server, path: Path) -> None:
    args = server.args("tool.tar.gz", path)
    run_module(archive_binary, args)
    path.write_bytes(BINARY[:5])
    assert run_module(archive_binary, args)["changed"] and path.read_bytes() == BINARY
    path.chmod(0o644)
    assert run_module(archive_binary, args, check=True)["changed"]
    assert run_module(archive_binary, args)["changed"]
    assert path.stat().st_mode & 0o777 == 0o755
    path.unlink()
    assert run_module(archive_binary, args)["changed"] and path.read_bytes() == BINARY


def test_a_stripped_executable_does_what_it_did(server: Server, path: Path) -> None:
    source = Path("/usr/bin/python3").resolve().read_bytes()
    server.files["python.tar.gz"] = tar("gz", source + b"symbols")
    args = server.args("python.tar.gz", path, strip=True)
    predicted = run_module(archive_binary, args, check=True)
    done = run_module(archive_binary, args)
    assert done["diff"] == predicted["diff"]
    assert path.stat().st_size < len(source)
    assert done["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    answer = subprocess.run([path, "-c", "print(6 * 7)"], capture_output=True, text=True)
    assert answer.stdout == "42\n", answer.stderr
    assert not run_module(archive_binary, args)["changed"]

    whole = run_module(archive_binary, args | {"strip": False})
    assert whole["changed"] and path.read_bytes() == source + b"symbols"
    run_module(archive_binary, server.args("tool.tar.gz", path, strip=True))
    assert path.read_bytes() == BINARY, "a script has nothing to strip"


def test_another_digest_is_refused_and_nothing_is_installed(server: Server, path: Path) -> None:
    run_module(archive_binary, server.args("tool.tar.gz", path))
    args = server.args("next.tar.gz", path, sha256="0" * 64)
    failed = run_module(archive_binary, args)
    assert failed["failed"] and "pinned is 000" in failed["msg"]
    assert "nothing was installed" in failed["msg"]
    assert path.read_bytes() == BINARY
    assert sorted(file.name for file in path.parent.iterdir()) == ["tool", "tool.origin"]


def test_refusals_say_what_is_wrong(server: Server, path: Path) -> None:
    server.files["broken"] = b"no archive"
    unreachable = server.args("tool.whl", path) | {"url": "http://127.0.0.1:1/tool.whl"}
    for args, message in [
        (server.args("missing.tar.gz", path), "HTTP Error 404"),
        (unreachable, "Connection refused"),
        (server.args("broken", path), "neither tar nor zip"),
        (server.args("tool.whl", path, member="other"), "holds no file 'other'"),
        (server.args("tool.tar.gz", path, member="other"), "holds no file 'other'"),
        (server.args("tool.tar.gz", path, member="folder"), "holds no file 'folder'"),
        (server.args("tool.tar.gz", path.parent / "none/tool"), "none does not exist"),
    ]:
        failed = run_module(archive_binary, args)
        assert failed.get("failed") and message in failed["msg"], (message, failed)
        assert not path.exists()


def test_a_download_that_ends_early_is_refused_and_the_installed_one_stays(
    server: Server, path: Path
) -> None:
    run_module(archive_binary, server.args("tool.tar.gz", path))
    whole = server.args("next.tar.gz", path)
    server.files["next.tar.gz"] = server.files["next.tar.gz"][:-20]
    server.missing = 20
    failed = run_module(archive_binary, whole)
    assert failed["failed"] and "nothing was installed" in failed["msg"], failed
    assert path.read_bytes() == BINARY
    assert sorted(file.name for file in path.parent.iterdir()) == ["tool", "tool.origin"]


SIGNATURE = {"member": "sig", "certificate": "crt.pem", "identity": "who", "issuer": "whose"}

# In place of cosign: believes the signature that is the word "good".
COSIGN = """#!/bin/sh
echo "$@" >"$0.calls"
[ "$(cat "$3")" = good ] && [ "$(cat "$5")" = certificate ] || { echo no match >&2; exit 1; }
"""


def signed(word: bytes) -> bytes:
    file = io.BytesIO()
    members = {MEMBER: BINARY, "sig": word, "crt.pem": b"certificate"}
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


@pytest.fixture
def cosign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    command = tmp_path / "bin/cosign"
    command.parent.mkdir()
    command.write_text(COSIGN)
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(command.parent), prepend=":")
    return command


def test_a_stand_in_for_cosign_verifies_what_is_installed(
    server: Server, path: Path, cosign: Path
) -> None:
    server.files |= {"good": signed(b"good"), "bad": signed(b"bad")}
    done = run_module(archive_binary, server.args("good", path, signature=SIGNATURE))
    assert done["signature_verified"]
    called = cosign.with_name("cosign.calls").read_text()
    assert "--certificate-identity who --certificate-oidc-issuer whose " in called

    path.write_bytes(b"installed")
    failed = run_module(archive_binary, server.args("bad", path, signature=SIGNATURE))
    assert failed["failed"]
    assert f"does not find {MEMBER} signed by who, nothing was installed: no match" in failed["msg"]
    assert path.read_bytes() == b"installed"


def test_without_cosign_the_digest_stands_alone(
    server: Server, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["bad"] = signed(b"bad")
    monkeypatch.setattr(archive_binary.AnsibleModule, "get_bin_path", lambda *_: None)
    done = run_module(archive_binary, server.args("bad", path, signature=SIGNATURE))
    assert done["changed"] and not done["signature_verified"]
