# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bundle with a stand-in for wasmtime; the real one compiles in tests/runtime."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.module_utils import _release
from ansible_collections.multicompute.spin.plugins.modules import wasm_bundle
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

HEADER = b"\0asm\x0d\0\x01\0"
CORE_MODULE = b"\0asm\x01\0\0\0"
EXPORT = b"wasi:http/incoming-handler@0.2.0"
ZEROS = "0" * 64


def section(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number, len(content)]) + content


def component(text: bytes = b"hello") -> bytes:
    return HEADER + section(0, text) + section(11, EXPORT)


# Serves as wasmtime does: each word is a status, from its place in the row of requests on.
SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

folder, answers = Path(sys.argv[1]), sys.argv[2].split()
asked = folder / "asked"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with asked.open("a") as file:
            file.write(self.path + "\\n")
        count = len(asked.read_text().splitlines())
        status = int(answers[min(count, len(answers)) - 1])
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"Serving HTTP on http://127.0.0.1:{server.server_port}/", file=sys.stderr, flush=True)
server.serve_forever()
"""


@pytest.fixture
def args(tmp_path: Path) -> dict[str, Any]:
    source = tmp_path / "source"
    (source / "src").mkdir(parents=True)
    (source / "src/lib.rs").write_text("// app\n")
    wasm = tmp_path / "app.wasm"
    wasm.write_bytes(component())
    os.utime(source / "src/lib.rs", (1_600_000_000, 1_600_000_000))
    wasmtime = tmp_path / "wasmtime"
    wasmtime.write_text(
        "#!/bin/sh\n"
        'if [ "$1" = --version ]; then echo "wasmtime 1.2.3 (0a1b2c 2025-01-01)"; exit; fi\n'
        f'if [ "$1" = serve ]; then echo "$@" >>{tmp_path}/served; '
        f'exec {sys.executable} {tmp_path}/server.py {tmp_path} "$(cat {tmp_path}/answers)"; fi\n'
        f"echo run >>{tmp_path}/compilations\n"
        'if grep -q invalid "$6"; then echo "error: not valid" >&2; exit 1; fi\n'
        'echo "$1 $2 $3" >"$5"\n'
    )
    wasmtime.chmod(0o755)
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "answers").write_text("200")
    return {
        "wasm": str(wasm),
        "version": "1.0.0",
        "dest": str(tmp_path / "app.tar"),
        "source": str(source),
        "toolchain": "rustc 1.85.1",
        "wasmtime": str(wasmtime),
        "architectures": ["arm64", "amd64"],
    }


def members(args: dict[str, Any]) -> dict[str, bytes]:
    with tarfile.open(args["dest"], "r:") as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]


def git(args: dict[str, Any], *command: str) -> str:
    identity = {
        "GIT_AUTHOR_DATE": "2024-05-06T07:08:09Z",
        "GIT_COMMITTER_DATE": "2024-05-06T07:08:09Z",
    }
    identity |= {
        f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    run = ["git", "-C", args["source"], *command]
    return subprocess.run(
        run, check=True, text=True, capture_output=True, env=os.environ | identity
    ).stdout.strip()


def test_bundle_holds_what_release_json_says(args: dict[str, Any]) -> None:
    done = run_module(wasm_bundle, args)
    assert done["changed"]
    files = members(args)
    release = json.loads(files.pop("release.json"))
    assert release == done["release"]
    assert set(files) == {
        "app.wasm",
        "aot/wasmtime-1.2.3-amd64.cwasm",
        "aot/wasmtime-1.2.3-arm64.cwasm",
    }
    assert release["files"] == {
        name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        for name, content in files.items()
    }
    assert {key: release[key] for key in release if key != "files"} == {
        "version": "1.0.0",
        "target": "wasm32-wasip1",
        "toolchain": "rustc 1.85.1",
        "wasmtime": "1.2.3",
        "git_revision": None,
        "built_at": "2020-09-13T12:26:40Z",
    }
    assert (
        files["aot/wasmtime-1.2.3-arm64.cwasm"] == b"compile --target aarch64-unknown-linux-gnu\n"
    )
    assert files["aot/wasmtime-1.2.3-amd64.cwasm"] == b"compile --target x86_64-unknown-linux-gnu\n"
    assert done["wasm_sha256"] == hashlib.sha256(component()).hexdigest()
    assert done["bundle_sha256"] == hashlib.sha256(Path(args["dest"]).read_bytes()).hexdigest()


def test_a_release_carries_how_often_an_instance_is_used(args: dict[str, Any]) -> None:
    assert "instance_reuse" not in run_module(wasm_bundle, args)["release"]
    args["instance_reuse"] = 1
    assert run_module(wasm_bundle, args)["release"]["instance_reuse"] == 1
    assert not run_module(wasm_bundle, args)["changed"]
    # As runtime/serve, which has no parser of JSON, looks for it.
    assert b'\n  "instance_reuse": 1,\n' in members(args)["release.json"]
    refused = run_module(wasm_bundle, args | {"instance_reuse": 0})
    assert "instance_reuse is '0': set a whole number, 1 or more." in refused["msg"]


def test_a_release_carries_how_it_is_asked(args: dict[str, Any]) -> None:
    said = {
        "health_path": "/healthz",
        "health_codes": "200,302",
        "probes": [{"path": "/"}, {"path": "/x", "status": 404, "text": "no"}],
    }
    declared = {
        "health": {"path": "/healthz", "codes": "200,302"},
        "probes": [
            {"path": "/", "status": "200-499"},
            {"path": "/x", "status": "404", "text": "no"},
        ],
    }
    plain = run_module(wasm_bundle, args)
    assert plain["declared"] == {} and not {"health", "probes"} & set(plain["release"])
    predicted = run_module(wasm_bundle, args | said, check=True)
    done = run_module(wasm_bundle, args | said)
    assert predicted["changed"] and done["changed"]
    assert predicted["declared"] == done["declared"] == declared
    assert done["release"] | declared == done["release"]
    assert json.loads(members(args)["release.json"]) == done["release"]
    assert not run_module(wasm_bundle, args | said)["changed"]
    for options, message in (
        ({"health_path": "healthz"}, "health_path is 'healthz': set a path that begins with /"),
        ({"health_codes": "500"}, "health_codes is '500': set status codes such as 200"),
        ({"probes": [{"path": "x"}]}, "probes[0].path is 'x': set a path"),
    ):
        assert message in run_module(wasm_bundle, args | options)["msg"]


def test_a_crate_says_it_in_its_own_folder(args: dict[str, Any]) -> None:
    cargo = Path(args["source"]) / "Cargo.toml"
    cargo.write_text(
        '[package]\nname = "x"\n[package.metadata.multicompute]\ninstance-reuse = 7\n'
        'health-path = "/healthz"\nprobes = [{path = "/x", status = "404"}]\n'
    )
    declared = {
        "instance_reuse": 7,
        "health": {"path": "/healthz"},
        "probes": [{"path": "/x", "status": "404"}],
    }
    # Also where the component is built only later.
    wasm = Path(args["wasm"])
    content = wasm.read_bytes()
    wasm.unlink()
    assert run_module(wasm_bundle, args, check=True)["declared"] == declared
    wasm.write_bytes(content)
    assert run_module(wasm_bundle, args)["declared"] == declared
    # What is given goes before it, and the rest stays.
    given = run_module(wasm_bundle, args | {"instance_reuse": 1, "health_codes": "204"})["declared"]
    health = {"path": "/healthz", "codes": "204"}
    assert given == declared | {"instance_reuse": 1, "health": health}

    for wrong, message in (
        ("instance-reuse = 0", "instance_reuse is '0': set a whole number, 1 or more."),
        ('reuse = "often"', "reuse is not known"),
        ("instance-reuse =", "Invalid value"),
    ):
        cargo.write_text(f"[package.metadata.multicompute]\n{wrong}\n")
        refused = run_module(wasm_bundle, args)["msg"]
        assert message in refused and "Cargo.toml" in refused


@pytest.mark.parametrize(
    ("answers", "first", "bad"),
    [
        ("200 500", "2", "500, where the first one was with 200"),
        ("200 200 404", "3", "404, where the first one was with 200"),
        ("200 200 200 0", "4", "no answer (RemoteDisconnected), where the first one was with 200"),
    ],
)
def test_a_component_that_does_not_survive_reuse_is_refused(
    args: dict[str, Any], tmp_path: Path, answers: str, first: str, bad: str
) -> None:
    (tmp_path / "answers").write_text(answers)
    refused = run_module(wasm_bundle, args | {"instance_reuse": 8})
    assert (
        f"app_instance_reuse is 8, and request {first} of 200, for /, was answered with {bad}: "
        "set 1, an instance per request" in refused["msg"]
    )
    assert not Path(args["dest"]).exists()
    [served] = (tmp_path / "served").read_text().splitlines()
    assert "--max-instance-reuse-count=8 --allow-precompiled" in served
    (Path(args["source"]) / "Cargo.toml").write_text(
        "[package.metadata.multicompute]\ninstance-reuse = 8\n"
    )
    (tmp_path / "asked").unlink()
    refused = run_module(wasm_bundle, args)
    assert "instance-reuse in [package.metadata.multicompute] of Cargo.toml is 8" in refused["msg"]
    assert run_module(wasm_bundle, args | {"instance_reuse": 1})["changed"]


def test_what_answers_alike_survives_and_is_tried_once(
    args: dict[str, Any], tmp_path: Path
) -> None:
    # Also where what it needs is not at hand here.
    for count, answers in enumerate(("200 204", "500", "404"), 1):
        (tmp_path / "answers").write_text(answers)
        args["version"] = f"{count}.0.0"
        probes = [{"path": "/"}, {"path": "/x"}]
        done = run_module(wasm_bundle, args | {"instance_reuse": 8, "probes": probes})
        assert done["changed"], done
        assert not run_module(wasm_bundle, args | {"instance_reuse": 8, "probes": probes})[
            "changed"
        ]
        assert (tmp_path / "served").read_text().count("serve ") == count
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked.count("/") == asked.count("/x") == 300


def test_nothing_is_tried_that_declares_nothing_or_without_wasmtime(
    args: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "answers").write_text("200 500")
    assert run_module(wasm_bundle, args)["changed"]
    spin = args | {"wasmtime": None, "runtimes": ["spin"], "instance_reuse": 8}
    assert run_module(wasm_bundle, spin)["changed"]
    assert not (tmp_path / "served").exists()


def test_same_input_gives_the_same_bytes_and_is_not_compiled_again(
    args: dict[str, Any], tmp_path: Path
) -> None:
    done = run_module(wasm_bundle, args)
    other = run_module(wasm_bundle, args | {"dest": str(tmp_path / "other.tar")})
    assert other["bundle_sha256"] == done["bundle_sha256"]
    assert (tmp_path / "compilations").read_text().count("run") == 4
    for check in (True, False):
        again = run_module(wasm_bundle, args, check=check)
        assert not again["changed"] and again["diff"]["before"] == again["diff"]["after"]
        assert again["bundle_sha256"] == done["bundle_sha256"]
    assert (tmp_path / "compilations").read_text().count("run") == 4


def test_check_mode_predicts_each_change(args: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "next.wasm").write_bytes(component(b"next"))
    for change in (
        {},
        {"version": "1.1.0"},
        {"wasm": str(tmp_path / "next.wasm")},
        {"toolchain": "rustc 1.86.0"},
        {"architectures": ["amd64"]},
        {"wasmtime": None},
    ):
        args |= change
        before = Path(args["dest"]).read_bytes() if Path(args["dest"]).exists() else None
        predicted = run_module(wasm_bundle, args, check=True)
        assert before == (Path(args["dest"]).read_bytes() if before else None)
        done = run_module(wasm_bundle, args)
        assert predicted["changed"] and done["changed"], change
        assert predicted["wasm_sha256"] == done["wasm_sha256"]
        assert predicted["bundle_sha256"] == ZEROS
        assert predicted["diff"]["before"] == done["diff"]["before"]
        assert set(predicted["release"]["files"]) == set(done["release"]["files"])
        assert not run_module(wasm_bundle, args)["changed"]


def test_check_mode_before_the_component_is_built(args: dict[str, Any]) -> None:
    Path(args["wasm"]).unlink()
    predicted = run_module(wasm_bundle, args, check=True)
    assert predicted["changed"] and predicted["wasm_sha256"] == ZEROS
    assert "does not exist" in run_module(wasm_bundle, args)["msg"]
    # A component that the user gives is not built by any task before.
    assert "does not exist" in run_module(wasm_bundle, args | {"source": None}, check=True)["msg"]


def test_a_damaged_bundle_is_made_again(args: dict[str, Any]) -> None:
    done = run_module(wasm_bundle, args)
    dest = Path(args["dest"])
    dest.write_bytes(dest.read_bytes().replace(b"hello", b"jello"))
    repaired = run_module(wasm_bundle, args)
    assert repaired["changed"] and repaired["bundle_sha256"] == done["bundle_sha256"]


def test_revision_and_time_come_from_git_only_when_all_is_committed(args: dict[str, Any]) -> None:
    git(args, "init", "--quiet")
    git(args, "add", ".")
    assert run_module(wasm_bundle, args)["release"]["git_revision"] is None
    git(args, "commit", "--quiet", "-m", "x")
    release = run_module(wasm_bundle, args)["release"]
    assert release["git_revision"] == git(args, "rev-parse", "HEAD")
    assert release["built_at"] == "2024-05-06T07:08:09Z"
    (Path(args["source"]) / "src/lib.rs").write_text("// changed\n")
    assert run_module(wasm_bundle, args)["release"]["git_revision"] is None


def test_what_cargo_wrote_is_not_the_time_of_the_source(args: dict[str, Any]) -> None:
    (Path(args["source"]) / "target").mkdir()
    (Path(args["source"]) / "target/new").write_text("")
    assert run_module(wasm_bundle, args)["release"]["built_at"].startswith("2020-09-13")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (CORE_MODULE + section(1, b"x"), {}, "core WebAssembly module, not a component"),
        (component()[:-3], {}, "truncated"),
        (component()[: len(HEADER) + 7], {}, "does not answer HTTP requests"),
        (b"ELF", {}, "no WebAssembly component"),
        (b"", {}, "no WebAssembly component"),
        (component(b"invalid"), {}, "cannot be compiled for amd64: error: not valid"),
        (component(), {"wasm_sha256": ZEROS}, "expected 000"),
        (component(), {"version": "1.0"}, "semantic versioning"),
    ],
)
def test_what_is_no_release_is_refused_and_leaves_no_bundle(
    args: dict[str, Any], content: bytes, options: dict[str, Any], message: str
) -> None:
    Path(args["wasm"]).write_bytes(content)
    failed = run_module(wasm_bundle, args | options)
    assert failed["failed"] and message in failed["msg"] and args["wasm"] in failed["msg"]
    assert not Path(args["dest"]).exists()


def imported(*names: str) -> bytes:
    """The imports of a component, each an instance."""
    entries = b"".join(b"\0" + bytes([len(name)]) + name.encode() + b"\x05\0" for name in names)
    return section(10, bytes([len(names)]) + entries)


@pytest.mark.parametrize(
    ("runtime", "missing"),
    [
        (
            "wasmtime",
            "wasi:keyvalue/store@0.2.0-draft, fermyon:spin/llm@2.0.0, wasi:http/types@0.3.0",
        ),
        ("spin", "wasi:http/types@0.3.0"),
    ],
)
def test_a_component_that_imports_what_a_runtime_lacks_is_refused(
    args: dict[str, Any], runtime: str, missing: str
) -> None:
    names = ["wasi:io/streams@0.2.0", "wasi:cli/environment@0.2.6"]
    wasm = Path(args["wasm"])
    wasm.write_bytes(HEADER + imported(*names) + section(11, EXPORT))
    assert run_module(wasm_bundle, args | {"runtimes": [runtime]})["changed"]

    Path(args["dest"]).unlink()
    lacked = ["wasi:keyvalue/store@0.2.0-draft", "fermyon:spin/llm@2.0.0", "wasi:http/types@0.3.0"]
    more = b"".join(imported(name) for name in lacked)
    wasm.write_bytes(HEADER + imported(*names) + more + section(11, EXPORT))
    result = run_module(wasm_bundle, args | {"runtimes": [runtime]})
    assert f"app.wasm imports {missing}, which {runtime} lacks" in result["msg"]
    assert not Path(args["dest"]).exists()


def test_every_kind_of_import_is_read(tmp_path: Path) -> None:
    kinds = [b"\0\x11\x05", b"\x01\x05", b"\x02\0\x05", b"\x02\x01\x7f", b"\x03\0\x05", b"\x03\x01"]
    kinds += [b"\x04\x05", b"\x05\x05"]
    names = [f"n{number}" for number in range(len(kinds))]
    entries = b"".join(
        b"\x01\x02" + name.encode() + kind for name, kind in zip(names, kinds, strict=True)
    )
    wasm = tmp_path / "app.wasm"
    wasm.write_bytes(HEADER + section(10, bytes([len(kinds)]) + entries))
    assert _release.imports(wasm) == names
