# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Against a registry of the test's own, which gives tokens as Docker Hub, GHCR and others do."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import oci_component
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

WASM = b"\0asm\x0d\0\x01\0 the component"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
SPIN = "application/vnd.wasm.content.layer.v1+wasm"
USER = "Basic " + base64.b64encode(b"ann:secret").decode()


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Registry:
    """Content by its path below /v2/acme/hello/."""

    content: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    user: str | None = None
    asked: list[str] = field(default_factory=list)
    address: str = ""

    def add(self, kind: str, data: bytes, media_type: str, *names: str) -> dict[str, Any]:
        for name in (digest(data), *names):
            self.content[f"{kind}/{name}"] = media_type, data
        return {"mediaType": media_type, "digest": digest(data), "size": len(data)}

    def push(self, tag: str, *layers: tuple[str, bytes]) -> dict[str, Any]:
        described = [self.add("blobs", data, media_type) for media_type, data in layers]
        data = json.dumps({"schemaVersion": 2, "layers": described}).encode()
        return self.add("manifests", data, MANIFEST, tag)

    def answer(self, path: str, authorization: str | None) -> tuple[int, str, bytes]:
        if path.startswith("/token?"):
            assert "scope=repository" in path
            good = self.user in (None, authorization)
            return (200, "", b'{"token": "good"}') if good else (401, "", b"")
        if authorization != "Bearer good":
            return 401, "", b""
        self.asked.append(path.removeprefix("/v2/acme/hello/"))
        return (
            (200, *self.content[self.asked[-1]])
            if self.asked[-1] in self.content
            else (404, "", b"{}")
        )


@pytest.fixture
def registry() -> Iterator[Registry]:
    state = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            status, media_type, data = state.answer(self.path, self.headers.get("Authorization"))
            self.send_response(status)
            if status == 401:
                scope = 'service="test",scope="repository:acme/hello:pull"'
                realm = f'Bearer realm="http://{state.address}/token",{scope}'
                self.send_header("WWW-Authenticate", realm)
            self.send_header("Content-Type", media_type)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    server.shutdown()


def pull(registry: Registry, tmp_path: Path, tag: str = ":1.0.0", **options: Any) -> dict[str, Any]:
    reference = f"{registry.address}/acme/hello{tag}"
    args = {"reference": reference, "dest": str(tmp_path / "app.wasm"), **options}
    return run_module(oci_component, args, check=options.pop("check", False))


@pytest.mark.parametrize("media_type", ["application/wasm", SPIN])
def test_the_component_of_an_artifact_is_pulled_once(
    registry: Registry, tmp_path: Path, media_type: str
) -> None:
    manifest = registry.push("1.0.0", (media_type, WASM), ("application/json", b"{}"))
    result = pull(registry, tmp_path)
    assert result["changed"], result
    assert (tmp_path / "app.wasm").read_bytes() == WASM
    assert result["sha256"] == hashlib.sha256(WASM).hexdigest()
    assert result["reference"] == f"{registry.address}/acme/hello@{manifest['digest']}"

    registry.asked.clear()
    assert not pull(registry, tmp_path)["changed"]
    assert registry.asked == ["manifests/1.0.0"]
    assert not pull(registry, tmp_path, f"@{manifest['digest']}")["changed"]


def test_check_mode_looks_and_writes_nothing(registry: Registry, tmp_path: Path) -> None:
    registry.push("1.0.0", ("application/wasm", WASM))
    args = {
        "reference": f"{registry.address}/acme/hello:1.0.0",
        "dest": str(tmp_path / "app.wasm"),
    }
    predicted = run_module(oci_component, args, check=True)
    assert predicted["changed"] and not list(tmp_path.iterdir())
    assert run_module(oci_component, args) == predicted


def test_an_index_of_one_artifact_is_that_artifact(registry: Registry, tmp_path: Path) -> None:
    manifest = registry.push("inner", ("application/wasm", WASM))
    registry.add("manifests", json.dumps({"manifests": [manifest]}).encode(), INDEX, "1.0.0")
    assert pull(registry, tmp_path)["sha256"] == hashlib.sha256(WASM).hexdigest()


def test_a_registry_that_knows_its_users(registry: Registry, tmp_path: Path) -> None:
    registry.push("1.0.0", ("application/wasm", WASM))
    registry.user = USER
    assert "gives no token (401): check user and password" in pull(registry, tmp_path)["msg"]
    assert pull(registry, tmp_path, username="ann", password="secret")["changed"]


def test_what_is_no_component_is_refused(registry: Registry, tmp_path: Path) -> None:
    registry.push("image", ("application/vnd.oci.image.layer.v1.tar+gzip", b"layer"))
    registry.push("two", ("application/wasm", b"one"), ("application/wasm", b"two"))
    for tag, message in (
        (":image", "it has to hold one WebAssembly component, and holds application/vnd.oci.image"),
        (":two", "and holds application/wasm, application/wasm"),
        (":none", "has no acme/hello with manifests/none"),
        ("@sha256:0", "it is not like registry/name:tag"),
    ):
        assert message in pull(registry, tmp_path, tag)["msg"]
    assert not list(tmp_path.iterdir())


def test_damaged_content_is_never_kept(registry: Registry, tmp_path: Path) -> None:
    manifest = registry.push("1.0.0", ("application/wasm", WASM))
    registry.content[f"blobs/{digest(WASM)}"] = "application/wasm", b"other"
    assert "it is damaged" in pull(registry, tmp_path)["msg"]
    registry.content[f"manifests/{manifest['digest']}"] = MANIFEST, b"{}"
    assert "it is damaged" in pull(registry, tmp_path, f"@{manifest['digest']}")["msg"]
    assert not list(tmp_path.iterdir())
