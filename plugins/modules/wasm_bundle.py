#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: wasm_bundle
version_added: 1.0.0
short_description: Make a release bundle of a WebAssembly component
description:
  - Checks that a file is a whole WebAssembly component that answers HTTP requests, precompiles it
    for the given architectures, and writes the bundle that M(multicompute.spin.wasm_release)
    publishes, an uncompressed tar of C(app.wasm), C(aot/) and C(release.json).
  - The same input gives the same bundle, byte for byte.
options:
  wasm:
    description: The component.
    type: path
    required: true
  wasm_sha256:
    description: SHA-256 digest that the component must have.
    type: str
  version:
    description: Version of the release, in semantic versioning.
    type: str
    required: true
  dest:
    description: The bundle to write. The directory must exist.
    type: path
    required: true
  source:
    description:
      - Directory that the component was built from. When git knows its exact state, the release
        carries the revision and its time, otherwise the time of the newest file.
      - Without it, the release carries the time of O(wasm).
      - A crate says in C([package.metadata.multicompute]) of its C(Cargo.toml) what O(health_path),
        O(health_codes), O(probes) and O(instance_reuse) are where they are not given.
    type: path
  toolchain:
    description: What the component was built with, for example C(rustc 1.85.1).
    type: str
  wasmtime:
    description: The wasmtime to precompile with. Without it nothing is precompiled.
    type: path
  runtimes:
    description:
      - The runtimes that are to serve it. A component that imports what one of them lacks is
        refused, with the names of these imports, for it would fail at every start.
    type: list
    elements: str
    choices: [spin, wasmtime]
    default: []
  architectures:
    description: Architectures to precompile for.
    type: list
    elements: str
    choices: [amd64, arm64]
    default: []
  instance_reuse:
    description:
      - How many requests wasmtime gives one instance of the component, at most; 1 for an app that
        must begin each request anew, or does not survive a second one.
      - Without it, and without C(instance-reuse) in the crate, each request gets an instance of its
        own. Spin makes one for each request anyway.
      - With O(wasmtime), more than 1 is tried when the bundle is made, by 200 requests for the
        paths of O(probes) to one instance. A component that answers a later one worse than the
        first is refused.
    type: int
  health_path:
    description:
      - Path that is asked to learn whether the app is well. Without it, and without C(health-path)
        in the crate, the runtime's default.
    type: str
  health_codes:
    description:
      - Status codes of an app that is well, as a load balancer's matcher has them, C(200),
        C(200,302) or C(200-499). Without it, and without C(health-codes) in the crate, the
        runtime's default.
    type: str
  probes:
    description:
      - What the release has to answer before it gets requests. Without it, and without C(probes) in
        the crate, C(/) with any status below 500.
    type: list
    elements: dict
    suboptions:
      path:
        description: Path, with a query if need be.
        type: str
        required: true
      status:
        description: Status codes of a good answer. Without it, any below 500.
        type: str
      text:
        description: What the answer's body has to hold.
        type: str
attributes:
  check_mode:
    description:
      - Nothing is compiled or written, and digests of what does not exist yet are given as zeros.
        O(wasmtime) may be missing, and with O(source) or O(wasm_sha256) so may O(wasm), for tasks
        before this one would have made them.
    support: full
  diff_mode:
    description: Shows C(release.json).
    support: full
  idempotent:
    description: A bundle that is whole and made of the same input stays.
    support: full
  platform:
    platforms: posix
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
author:
  - The multicompute.spin authors (@multicompute)
"""

EXAMPLES = r"""
- name: Bundle release 1.0.0, precompiled for Graviton too
  multicompute.spin.wasm_bundle:
    wasm: build/app.wasm
    version: 1.0.0
    dest: build/app-1.0.0.tar
    source: runtime/app
    toolchain: rustc 1.85.1
    wasmtime: /usr/local/bin/wasmtime
    architectures: [amd64, arm64]
    runtimes: [wasmtime]
"""

RETURN = r"""
bundle:
  description: The bundle.
  returned: success
  type: str
  sample: build/app-1.0.0.tar
bundle_sha256:
  description: SHA-256 digest of the bundle.
  returned: success
  type: str
  sample: 0f343b0931126a20f133d67c2b018a3b5f8d1f2f7b0a2b6ad0ad2c1d4dd8f7f8
wasm_sha256:
  description: SHA-256 digest of the component.
  returned: success
  type: str
  sample: 6b1b1cb1f6ee4d3a1d7f7e2a4cf4d8c2f9bb5a7a0f1c60f23d7d6c1d0c8b8f11
declared:
  description:
    - What the release says of itself, the C(health), C(probes) and C(instance_reuse) of
      C(release.json). What nobody declared is not there.
  returned: success
  type: dict
  sample: {health: {path: /healthz}, instance_reuse: 128}
release:
  description: Content of C(release.json).
  returned: success
  type: dict
  sample: {version: 1.0.0, target: wasm32-wasip1}
"""

import io
import json
import platform
import re
import tarfile
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multicompute.spin.plugins.module_utils import _trial
from ansible_collections.multicompute.spin.plugins.module_utils._declaration import (
    CARGO,
    KEYS,
    declaration,
    in_crate,
    problems,
)
from ansible_collections.multicompute.spin.plugins.module_utils._release import (
    APP,
    MANIFEST,
    ReleaseError,
    check_component,
    check_version,
    digest,
    imports,
    read_bundle,
)

TARGET = "wasm32-wasip1"
HTTP_EXPORT = b"wasi:http/incoming-handler@"
TRIPLES = {"amd64": "x86_64-unknown-linux-gnu", "arm64": "aarch64-unknown-linux-gnu"}
UNKNOWN = "0" * 64
# Packages of interfaces that each runtime has without being told to.
WASI = r"wasi:(cli|clocks|filesystem|http|io|random|sockets)/.*@0\.2\..*"
OFFERED = {
    "wasmtime": re.compile(WASI),
    "spin": re.compile(f"{WASI}|(fermyon:spin/|spin:|wasi:config/|wasi:keyvalue/).*"),
}


def check_imports(wasm: Path, runtimes: list[str]) -> None:
    for runtime in runtimes:
        if missing := [name for name in imports(wasm) if not OFFERED[runtime].fullmatch(name)]:
            raise ReleaseError(
                f"{APP} imports {', '.join(missing)}, which {runtime} lacks: build it without, or "
                "serve it with a runtime that has it (wasm_runtime)"
            )


def check_wasm(wasm: Path, expected: str | None, runtimes: list[str]) -> str:
    """Return the component's digest, or say what is wrong with the file."""
    try:
        sha256 = digest(wasm)
        with wasm.open("rb") as file:
            check_component(file, wasm.stat().st_size)
    except FileNotFoundError as error:
        raise ReleaseError("the file does not exist") from error
    if HTTP_EXPORT not in wasm.read_bytes():
        raise ReleaseError(
            f"{APP} is a component that does not answer HTTP requests: it must export "
            "wasi:http/incoming-handler (in Rust, #[http_component] of spin-sdk)"
        )
    if expected and sha256 != expected.lower():
        raise ReleaseError(f"{APP} has sha256 {sha256}, expected {expected}: it is another file")
    check_imports(wasm, runtimes)
    return sha256


def git_state(module: AnsibleModule, source: Path) -> tuple[str, int] | None:
    """Revision and time of the last change to the source, if all of it is committed."""
    git = module.get_bin_path("git")
    if git is None:
        return None
    status = module.run_command([git, "-C", str(source), "status", "--porcelain", "--", "."])
    log = module.run_command([git, "-C", str(source), "log", "-1", "--format=%H %ct", "--", "."])
    if status[:2] != (0, "") or log[0] != 0 or not log[1].strip():
        return None
    revision, seconds = log[1].split()
    return revision, int(seconds)


def origin(module: AnsibleModule, wasm: Path) -> dict[str, str | None]:
    """Where the component comes from; never the time of this run, which would change the bundle."""
    revision = None
    if module.params["source"]:
        source = Path(module.params["source"])
        state = git_state(module, source)
        if state:
            revision, seconds = state
        else:
            files = [path for path in source.rglob("*") if path.is_file()]
            own = [path for path in files if "target" not in path.relative_to(source).parts]
            seconds = int(max(path.stat().st_mtime for path in own))
    else:
        seconds = int(wasm.stat().st_mtime)
    built_at = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"git_revision": revision, "built_at": built_at}


def wasmtime_version(module: AnsibleModule) -> str | None:
    if not module.params["wasmtime"]:
        return None
    _rc, out, _err = module.run_command([module.params["wasmtime"], "--version"], check_rc=True)
    return out.split()[1]


def precompile(module: AnsibleModule, wasm: Path, architecture: str, output: Path) -> None:
    """Always for a named target: the file must not demand the features of this machine's CPU."""
    command = [module.params["wasmtime"], "compile", "--target", TRIPLES[architecture]]
    rc, _out, err = module.run_command([*command, "-o", str(output), str(wasm)])
    if rc:
        raise ReleaseError(f"{APP} cannot be compiled for {architecture}: {err.strip()}")


def entry(path: Path) -> dict[str, Any]:
    return {"sha256": digest(path), "size": path.stat().st_size}


def write_bundle(dest: Path, files: dict[str, Path], release: dict[str, Any]) -> None:
    """Nothing of this run or of this machine's users goes into the archive."""
    with tarfile.open(dest, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, path in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = path.stat().st_size
            with path.open("rb") as file:
                archive.addfile(member, file)
        content = json.dumps(release, indent=2, sort_keys=True).encode() + b"\n"
        member = tarfile.TarInfo(MANIFEST)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))


def current_release(dest: Path) -> dict[str, Any]:
    """release.json of the bundle that is there, if every file in it is as listed."""
    try:
        return read_bundle(dest, digest(dest))
    except (ReleaseError, OSError):
        return {}


def same_input(current: dict[str, Any], wanted: dict[str, Any], names: list[str]) -> bool:
    """Precompiled files follow from the component and the wasmtime version."""
    if not current or set(current["files"]) != {APP, *names}:
        return False
    return {**current, "files": {APP: current["files"][APP]}} == wanted


def awaits_input(params: dict[str, Any]) -> bool:
    made_before = [
        params["wasmtime"],
        (params["source"] or params["wasm_sha256"]) and params["wasm"],
    ]
    return not all(Path(path).exists() for path in made_before if path)


def declared(params: dict[str, Any]) -> dict[str, Any]:
    """What is given goes before what the crate says."""
    given = {key: params[key] for key in KEYS if params[key] is not None}
    if found := problems(given):
        raise ReleaseError(" ".join(found))
    try:
        own = in_crate(Path(params["source"])) if params["source"] else {}
    except ValueError as error:
        raise ReleaseError(str(error)) from error
    return declaration({**own, **given})


def bundle(module: AnsibleModule, wasm: Path, work: Path) -> dict[str, Any]:
    params = module.params
    dest = Path(params["dest"])
    check_version(params["version"])
    said = declared(params)
    if module.check_mode and awaits_input(params):
        return report(True, params, said, UNKNOWN, UNKNOWN, current_release(dest), {})
    sha256 = check_wasm(wasm, params["wasm_sha256"], params["runtimes"])
    version = wasmtime_version(module)
    wanted = {
        "version": params["version"],
        "files": {APP: {"sha256": sha256, "size": wasm.stat().st_size}},
        "target": TARGET,
        "toolchain": params["toolchain"],
        "wasmtime": version,
        **origin(module, wasm),
        **said,
    }
    architectures = params["architectures"] if version else []
    names = {f"aot/wasmtime-{version}-{name}.cwasm": name for name in sorted(architectures)}
    current = current_release(dest)
    if same_input(current, wanted, list(names)):
        return report(False, params, said, sha256, digest(dest), current, current)
    if module.check_mode:
        unknown = {name: {"sha256": UNKNOWN, "size": 0} for name in names}
        release = {**wanted, "files": {**wanted["files"], **unknown}}
        return report(True, params, said, sha256, UNKNOWN, current, release)
    files = {APP: wasm}
    for name, architecture in names.items():
        files[name] = work / f"{architecture}.cwasm"
        precompile(module, wasm, architecture, files[name])
    try_reuse(module, said, wasm, files, work)
    release = {**wanted, "files": {name: entry(path) for name, path in files.items()}}
    write_bundle(work / "bundle", files, release)
    module.atomic_move(str(work / "bundle"), str(dest))
    return report(True, params, said, sha256, digest(dest), current, release)


def try_reuse(
    module: AnsibleModule,
    said: dict[str, Any],
    wasm: Path,
    files: dict[str, Path],
    work: Path,
) -> None:
    """An app that does not survive a second request must not be served so. Where there is no
    wasmtime it is not either: Spin makes an instance for each request."""
    reuse = said.get("instance_reuse", 1)
    if reuse == 1 or not module.params["wasmtime"]:
        return
    own = [
        path for name, path in files.items() if name.endswith(f"-{machine_architecture()}.cwasm")
    ]
    program = ["--allow-precompiled", str(own[0])] if own else [str(wasm)]
    paths = [probe["path"] for probe in said.get("probes", [])] or ["/"]
    if bad := _trial.complaint(module.params["wasmtime"], program, reuse, paths, work / "log"):
        given = module.params["instance_reuse"]
        name = "app_instance_reuse" if given else f"instance-reuse in {CARGO}"
        raise ReleaseError(f"{name} is {reuse}, and {bad}: set 1, an instance per request")


def machine_architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "")


def report(
    changed: bool,
    params: dict[str, Any],
    said: dict[str, Any],
    wasm_sha256: str,
    bundle_sha256: str,
    before: dict[str, Any],
    after: dict[str, Any],
) -> dict[str, Any]:
    return {
        "changed": changed,
        "bundle": params["dest"],
        "bundle_sha256": bundle_sha256,
        "wasm_sha256": wasm_sha256,
        "declared": said,
        "release": after,
        "diff": {"before": before, "after": after},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "wasm": {"type": "path", "required": True},
            "wasm_sha256": {"type": "str"},
            "version": {"type": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "source": {"type": "path"},
            "toolchain": {"type": "str"},
            "wasmtime": {"type": "path"},
            "runtimes": {
                "type": "list",
                "elements": "str",
                "choices": list(OFFERED),
                "default": [],
            },
            "architectures": {
                "type": "list",
                "elements": "str",
                "choices": list(TRIPLES),
                "default": [],
            },
            "instance_reuse": {"type": "int"},
            "health_path": {"type": "str"},
            "health_codes": {"type": "str"},
            "probes": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "path": {"type": "str", "required": True},
                    "status": {"type": "str"},
                    "text": {"type": "str"},
                },
            },
        },
        supports_check_mode=True,
    )
    wasm = Path(module.params["wasm"])
    try:
        with tempfile.TemporaryDirectory(dir=module.tmpdir) as work:
            module.exit_json(**bundle(module, wasm, Path(work)))
    except (ReleaseError, OSError) as error:
        module.fail_json(msg=f"{wasm}: {error}")


if __name__ == "__main__":
    main()
