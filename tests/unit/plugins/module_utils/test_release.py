from __future__ import annotations

import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.module_utils import _release
from ansible_collections.multicompute.spin.plugins.module_utils._release import (
    COMPONENT_HEADER,
    CORE_MODULE_HEADER,
    ReleaseError,
    activate,
    digest,
    precedence,
    publish,
    remove,
    status,
)
from hypothesis import given
from hypothesis import strategies as st


def component(body: bytes) -> bytes:
    """A component with one custom section."""
    assert len(body) < 0x4000
    size = len(body) + 1
    return COMPONENT_HEADER + bytes([0, size & 0x7F | 0x80, size >> 7, 0]) + body


def make_bundle(
    path: Path,
    version: str = "1.0.0",
    app: bytes | None = None,
    aot: dict[str, bytes] | None = None,
    manifest: dict[str, Any] | None = None,
    extra: list[tarfile.TarInfo] | None = None,
) -> tuple[Path, str]:
    files = {"app.wasm": component(version.encode()) if app is None else app, **(aot or {})}
    description = {
        "version": version,
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            for name, data in files.items()
        },
        "target": "wasm32-wasip1",
        "toolchain": "rustc 1.85.1",
        "wasmtime": "49.0.3",
        "git_revision": None,
        "built_at": "2026-01-02T03:04:05Z",
        **(manifest or {}),
    }
    with tarfile.open(path, "w") as archive:
        for name, data in {"release.json": json.dumps(description).encode(), **files}.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        for member in extra or []:
            archive.addfile(member)
    return path, digest(path)


@pytest.fixture
def share() -> Iterator[Path]:
    # In memory where there is one: what is tested syncs each file, thousands of times.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="share-", dir=memory) as path:
        yield Path(path)


@pytest.fixture
def put(share: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def call(
        version: str = "1.0.0",
        active: bool = True,
        keep: int = 5,
        check: bool = False,
        protect: Sequence[str] = (),
        **bundle: Any,
    ) -> dict[str, Any]:
        path, sha256 = make_bundle(tmp_path / f"{version}.tar", version, **bundle)
        return publish(share, path, sha256, active, keep, check, protect=protect)

    return call


def snapshot(share: Path) -> dict[str, str]:
    """Everything on the share but the note in the lock file."""
    return {
        str(path.relative_to(share)): str(path.readlink())
        if path.is_symlink()
        else path.read_bytes().hex()
        for path in share.rglob("*")
        if path.is_symlink() or (path.is_file() and path.name != _release.LOCK)
    }


def served(share: Path) -> tuple[str | None, bytes | None]:
    app = share / "current" / "app.wasm"
    return status(share)["active"], app.read_bytes() if app.exists() else None


# --- publishing ---------------------------------------------------------------------------------


def test_publish_brings_every_file_and_switches(share: Path, put: Callable[..., Any]) -> None:
    result = put("1.0.0", aot={"aot/wasmtime-49.0.3-amd64.cwasm": b"machine code"})
    assert result["changed"]
    assert result["active"] == "1.0.0"
    assert os.readlink(share / "current") == "releases/1.0.0"
    assert (share / "current/app.wasm").read_bytes() == component(b"1.0.0")
    assert (share / "current/aot/wasmtime-49.0.3-amd64.cwasm").read_bytes() == b"machine code"
    assert result["releases"]["1.0.0"]["sha256"] == digest(share / "current/app.wasm")
    assert result["releases"]["1.0.0"]["toolchain"] == "rustc 1.85.1"
    shown = {key: result[key] for key in ("active", "previous", "releases")}
    assert status(share) == shown


def test_other_users_may_read_what_was_published(share: Path, put: Callable[..., Any]) -> None:
    old = os.umask(0o077)
    try:
        put(aot={"aot/wasmtime-49.0.3-amd64.cwasm": b"machine code"})
    finally:
        os.umask(old)
    for path in (share / "releases/1.0.0", *(share / "releases/1.0.0").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def test_second_run_changes_nothing(share: Path, put: Callable[..., Any]) -> None:
    put()
    inodes = {path: path.stat().st_ino for path in share.rglob("*")}
    assert not put()["changed"]
    assert {path: path.stat().st_ino for path in share.rglob("*")} == inodes


def test_publish_without_activate_leaves_current(share: Path, put: Callable[..., Any]) -> None:
    put("1.0.0")
    result = put("1.1.0", active=False)
    assert result["changed"]
    assert result["active"] == "1.0.0"
    assert list(result["releases"]) == ["1.0.0", "1.1.0"]


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("keep", [1, 5])
def test_check_mode_predicts_and_writes_nothing(
    share: Path, put: Callable[..., Any], version: str, active: bool, keep: int
) -> None:
    put("0.9.0")
    put("1.0.0")
    before = snapshot(share)
    predicted = put(version, active=active, keep=keep, check=True)
    assert snapshot(share) == before
    assert put(version, active=active, keep=keep) == predicted


def test_check_mode_on_a_share_that_is_not_there_yet(tmp_path: Path) -> None:
    bundle, sha256 = make_bundle(tmp_path / "bundle.tar")
    predicted = publish(tmp_path / "missing", bundle, sha256, True, 5, check=True)
    assert predicted["changed"]
    assert predicted["active"] == "1.0.0"
    assert not (tmp_path / "missing").exists()


def test_version_with_another_digest_is_refused(share: Path, put: Callable[..., Any]) -> None:
    put("1.0.0")
    before = snapshot(share)
    with pytest.raises(ReleaseError, match=r"1\.0\.0 exists .* give it a new one"):
        put("1.0.0", app=component(b"another"))
    assert snapshot(share) == before


@pytest.mark.parametrize(
    ("was", "wanted", "message"),
    [
        ({"instance_reuse": 8}, {}, "instance_reuse 8, the bundle has 1"),
        ({}, {"instance_reuse": 2}, "instance_reuse 1, the bundle has 2"),
        ({}, {"health": {"path": "/up"}}, 'health null, the bundle has {"path": "/up"}'),
        ({"health": {"path": "/up"}}, {"health": {"codes": "200"}}, 'health {"path": "/up"}, the'),
        ({"probes": [{"path": "/", "status": "200"}]}, {}, "probes .*, the bundle has null"),
    ],
)
def test_a_version_keeps_what_is_declared_of_it(
    share: Path,
    put: Callable[..., Any],
    was: dict[str, Any],
    wanted: dict[str, Any],
    message: str,
) -> None:
    done = put("1.0.0", manifest=was)
    # Whoever rolls it learns it from here.
    assert done["releases"]["1.0.0"] | was == status(share)["releases"]["1.0.0"]
    assert not put("1.0.0", manifest=was)["changed"]
    before = snapshot(share)
    with pytest.raises(ReleaseError, match=rf"1\.0\.0 exists .* with {message}") as refused:
        put("1.0.0", manifest=wanted)
    assert str(refused.value).endswith("a published version never changes, give it a new one")
    assert snapshot(share) == before


def test_an_instance_per_request_is_the_same_said_or_not(put: Callable[..., Any]) -> None:
    put("1.0.0")
    assert not put("1.0.0", manifest={"instance_reuse": 1})["changed"]


def test_same_app_built_at_another_time_is_the_same_release(put: Callable[..., Any]) -> None:
    put("1.0.0")
    assert not put("1.0.0", manifest={"built_at": "2027-01-01T00:00:00Z"})["changed"]


def test_precompiled_file_for_another_architecture_joins(
    share: Path, put: Callable[..., Any]
) -> None:
    put("1.0.0", aot={"aot/amd64.cwasm": b"amd64"})
    app_inode = (share / "current/app.wasm").stat().st_ino
    result = put("1.0.0", aot={"aot/arm64.cwasm": b"arm64"})
    assert result["changed"]
    assert set(result["releases"]["1.0.0"]["files"]) == {
        "app.wasm",
        "aot/amd64.cwasm",
        "aot/arm64.cwasm",
    }
    assert (share / "current/aot/amd64.cwasm").read_bytes() == b"amd64"
    assert (share / "current/aot/arm64.cwasm").read_bytes() == b"arm64"
    assert (share / "current/app.wasm").stat().st_ino == app_inode
    activate(share, "1.0.0")


@pytest.mark.parametrize("name", ["app.wasm", "aot/amd64.cwasm", "release.json"])
def test_damaged_file_on_the_share_is_repaired(
    share: Path, put: Callable[..., Any], name: str
) -> None:
    aot = {"aot/amd64.cwasm": b"amd64"}
    put(aot=aot)
    whole = snapshot(share)
    damaged = share / "current" / name
    damaged.write_bytes(b"damaged")
    with pytest.raises(ReleaseError, match=f"damaged .*{name}.* publish it again"):
        activate(share, "1.0.0")
    inode = damaged.stat().st_ino
    assert put(aot=aot)["changed"]
    assert snapshot(share) == whole
    assert damaged.stat().st_ino != inode, "a file that may be mapped was written into"


def test_prune_keeps_the_newest_by_precedence(share: Path, put: Callable[..., Any]) -> None:
    for version in ("1.9.0", "1.10.0", "2.0.0-rc.1", "2.0.0"):
        put(version)
    result = put("2.1.0", keep=3)
    assert result["pruned"] == ["1.9.0", "1.10.0"]
    assert list(result["releases"]) == ["2.0.0-rc.1", "2.0.0", "2.1.0"]
    assert {path.name for path in (share / "releases").iterdir()} == {
        *result["releases"],
        _release.HISTORY,
        _release.LOCK,
    }


def test_prune_spares_what_servers_may_have_open(share: Path, put: Callable[..., Any]) -> None:
    put("1.0.0")
    put("1.1.0", active=False)
    result = put("1.2.0", keep=1)
    assert result["pruned"] == ["1.1.0"]
    assert list(result["releases"]) == ["1.0.0", "1.2.0"], "1.0.0 is served until the roll ends"


def test_hotfix_of_an_old_line_is_not_pruned_at_once(put: Callable[..., Any]) -> None:
    put("2.0.0")
    put("2.1.0")
    result = put("1.0.1", keep=1)
    assert result["active"] == "1.0.1"
    assert list(result["releases"]) == ["1.0.1", "2.1.0"]


def test_prune_spares_what_a_primitive_still_serves(put: Callable[..., Any]) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        put(version)
    result = put("1.3.0", keep=1, protect=["1.0.0"])
    assert result["pruned"] == ["1.1.0"]
    assert list(result["releases"]) == ["1.0.0", "1.2.0", "1.3.0"]


# --- activating and removing --------------------------------------------------------------------


def test_the_way_back_leads_past_a_release_that_was_taken_back(
    share: Path, put: Callable[..., Any]
) -> None:
    assert put("1.0.0")["previous"] is None
    assert put("1.1.0")["previous"] == "1.0.0"
    assert put("1.2.0")["previous"] == "1.1.0"
    assert activate(share, "1.1.0", check=True)["previous"] == "1.0.0"
    assert activate(share, "1.1.0")["previous"] == "1.0.0", "1.2.0 failed: no way back to it"
    assert put("1.3.0")["previous"] == "1.1.0"
    remove(share, "1.1.0")
    assert status(share)["previous"] == "1.0.0"
    assert activate(share, "1.0.0")["previous"] is None
    assert activate(share, "1.3.0")["previous"] == "1.0.0", "forward again"


def test_a_lost_or_foreign_history_costs_the_way_back_only(
    share: Path, put: Callable[..., Any]
) -> None:
    put("1.0.0")
    put("1.1.0")
    for text in ("", "{}", "[1"):
        (share / "releases" / _release.HISTORY).write_text(text)
        assert status(share)["previous"] is None
    assert put("1.2.0")["previous"] == "1.1.0"


def test_activate_goes_back_and_is_idempotent(share: Path, put: Callable[..., Any]) -> None:
    put("1.0.0")
    put("1.1.0")
    assert activate(share, "1.0.0", check=True)["changed"]
    assert status(share)["active"] == "1.1.0"
    assert activate(share, "1.0.0")["changed"]
    assert served(share) == ("1.0.0", component(b"1.0.0"))
    assert not activate(share, "1.0.0")["changed"]


def test_activate_names_what_is_there(share: Path, put: Callable[..., Any]) -> None:
    put("1.0.0")
    with pytest.raises(ReleaseError, match=r"2\.0\.0 is not on .*; there: 1\.0\.0"):
        activate(share, "2.0.0")


def test_remove(share: Path, put: Callable[..., Any]) -> None:
    put("1.0.0")
    put("1.1.0")
    with pytest.raises(ReleaseError, match=r"1\.1\.0 .* is the active one"):
        remove(share, "1.1.0")
    assert remove(share, "1.0.0", check=True)["changed"]
    assert list(status(share)["releases"]) == ["1.0.0", "1.1.0"]
    assert remove(share, "1.0.0")["changed"]
    assert list(status(share)["releases"]) == ["1.1.0"]
    assert not remove(share, "1.0.0")["changed"]


@pytest.mark.parametrize("link", ["releases/9.9.9", "/etc", "releases", "../releases/1.0.0"])
def test_a_foreign_or_dangling_link_is_no_active_release(
    share: Path, put: Callable[..., Any], link: str
) -> None:
    put("1.0.0", active=False)
    (share / "current").symlink_to(link)
    assert status(share)["active"] is None
    assert put("1.0.0")["active"] == "1.0.0"


# --- bad input ----------------------------------------------------------------------------------


def test_bundle_with_another_digest(share: Path, tmp_path: Path) -> None:
    bundle, _ = make_bundle(tmp_path / "bundle.tar")
    with pytest.raises(ReleaseError, match="expected 0000"):
        publish(share, bundle, "0" * 64, True, 5)
    assert snapshot(share) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": "1.0"}, "semantic versioning"),
        ({"version": "01.0.0"}, "semantic versioning"),
        ({"version": "../evil"}, "semantic versioning"),
        ({"app": CORE_MODULE_HEADER + b"\0\1\0"}, "core WebAssembly module, not a component"),
        ({"app": b"#!/bin/sh\n"}, "no WebAssembly component"),
        ({"app": component(b"x" * 300)[:-1]}, "truncated"),
        ({"app": COMPONENT_HEADER + b"\0\x80"}, "truncated"),
        ({"manifest": {"files": {}}}, "must list app.wasm"),
        ({"manifest": {"files": {"app.wasm": {"sha256": "0" * 64}}}}, "release.json says 0000"),
        ({"manifest": {"files": ["app.wasm"]}}, "malformed"),
        ({"aot": {"../../evil": b""}}, "which no release may hold"),
        ({"aot": {"aot/../x": b""}}, "which no release may hold"),
    ],
)
def test_bad_bundle(
    share: Path, put: Callable[..., Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ReleaseError, match=message):
        put(**change)
    assert snapshot(share) == {}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_bundle_may_hold_regular_files_only(
    share: Path, put: Callable[..., Any], kind: bytes
) -> None:
    member = tarfile.TarInfo("aot/link")
    member.type = kind
    member.linkname = "/etc/passwd"
    with pytest.raises(ReleaseError, match="which no release may hold"):
        put(extra=[member])


def test_bundle_with_a_file_that_the_manifest_does_not_list(put: Callable[..., Any]) -> None:
    with pytest.raises(ReleaseError, match="disagree about stray"):
        put(extra=[tarfile.TarInfo("stray")])


def test_no_tar_and_no_file(share: Path, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage"
    garbage.write_bytes(b"garbage")
    with pytest.raises(ReleaseError, match="no uncompressed tar"):
        publish(share, garbage, digest(garbage), True, 5)
    with pytest.raises(ReleaseError, match="does not exist"):
        publish(share, tmp_path / "missing", "0" * 64, True, 5)


def test_share_that_is_not_mounted(tmp_path: Path) -> None:
    bundle, sha256 = make_bundle(tmp_path / "bundle.tar")
    with pytest.raises(ReleaseError, match="mount it first"):
        publish(tmp_path / "missing", bundle, sha256, True, 5)


def test_keep_none_is_refused(put: Callable[..., Any]) -> None:
    with pytest.raises(ReleaseError, match="keep is 0"):
        put(keep=0)


# --- the order of versions ----------------------------------------------------------------------


def test_precedence_of_the_semver_specification() -> None:
    ordered = [
        "0.9.9",
        "1.0.0-alpha",
        "1.0.0-alpha.1",
        "1.0.0-alpha.beta",
        "1.0.0-beta",
        "1.0.0-beta.2",
        "1.0.0-beta.11",
        "1.0.0-rc.1",
        "1.0.0",
        "1.0.1",
        "1.2.0",
        "1.10.0",
        "2.0.0",
    ]
    assert sorted(reversed(ordered), key=precedence) == ordered


VERSIONS = st.from_regex(_release.SEMVER, fullmatch=True)


@given(VERSIONS, VERSIONS)
def test_precedence_is_total(one: str, other: str) -> None:
    assert (precedence(one) < precedence(other)) + (precedence(other) < precedence(one)) == (
        one != other
    )


# --- interruption -------------------------------------------------------------------------------


def in_child(action: Callable[[], object]) -> int:
    """Run in a fork; return its exit status (negative: the signal that ended it)."""
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at_line(action: Callable[[], object], line: int) -> int:
    """Run until the library executed the given number of lines, then die at once."""
    left = line

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename not in (_release.__file__, shutil.__file__):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def traced() -> None:
        sys.settrace(trace)
        action()

    return in_child(traced)


def test_killed_at_every_line_the_old_release_is_served_and_a_rerun_repairs(
    share: Path, put: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_release, "CHUNK", 16)  # so that kills fall between the bytes of a file
    put("0.9.0")
    put("1.0.0")
    aot = {"aot/wasmtime-49.0.3-amd64.cwasm": b"machine code"}
    bundle, sha256 = make_bundle(tmp_path / "new.tar", "1.1.0", aot=aot)

    def reset() -> None:
        activate(share, "1.0.0")
        remove(share, "1.1.0")
        put("0.9.0", active=False)

    def act() -> dict[str, Any]:
        return publish(share, bundle, sha256, True, 2)

    old_files = {name for name in snapshot(share) if name.startswith("releases/0.9.0/")}
    act()
    complete = snapshot(share)
    reset()
    old = served(share)
    new = ("1.1.0", component(b"1.1.0"))
    seen = set()
    line = 1
    while killed_at_line(act, line) == -signal.SIGKILL:
        answer = served(share)
        assert answer in (old, new), f"killed at line {line}"
        seen.add(answer)
        assert _release._damaged(share / "current") == []
        result = act()
        left = snapshot(share)
        # Killed between the switch and the history: the link tells as much.
        assert result["previous"] == "1.0.0"
        left[f"releases/{_release.HISTORY}"] = complete[f"releases/{_release.HISTORY}"]
        # Killed after the switch and before pruning: the next release prunes.
        unpruned = {name: data for name, data in left.items() if name in old_files}
        assert left == {**complete, **unpruned}, f"killed at line {line}"
        assert not act()["changed"]
        assert result["active"] == "1.1.0"
        reset()
        assert served(share) == old
        line += 7
    assert line > 200
    assert seen == {old, new}


@pytest.mark.parametrize("seed", range(4))  # 200 kills
def test_killed_at_random_times_nothing_is_lost(
    share: Path, put: Callable[..., Any], tmp_path: Path, seed: int
) -> None:
    put("1.0.0")
    aot = {"aot/big.cwasm": os.urandom(4 << 20)}
    bundle, sha256 = make_bundle(tmp_path / "new.tar", "1.1.0", aot=aot)

    def act() -> None:
        publish(share, bundle, sha256, True, 2)

    start = time.monotonic()
    assert in_child(act) == 0
    duration = time.monotonic() - start
    moments = random.Random(seed)
    killed = 0
    for _ in range(50):
        activate(share, "1.0.0")
        remove(share, "1.1.0")
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, _release.__file__, str(share), str(bundle), sha256],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(moments.uniform(0, duration * 1.2))
        child.kill()
        killed += child.wait() == -signal.SIGKILL
        child.stdout.close()
        active = status(share)["active"]
        assert active in ("1.0.0", "1.1.0")
        activate(share, active)  # verifies every digest
    assert killed > 10
    act()
    assert not list((share / "releases").glob(f"{_release.STAGING_PREFIX}*"))


CHILD = """
import importlib.util, sys, pathlib
spec = importlib.util.spec_from_file_location("release", sys.argv[1])
release = importlib.util.module_from_spec(spec)
spec.loader.exec_module(release)
print("ready", flush=True)
release.publish(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4], True, 2)
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-o", "size=256k,nr_inodes=40"]
    mounted = subprocess.run(["mount", "-t", "tmpfs", *options, "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("mounting needs root; the file size limit below covers the rest")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("free_pages", range(0, 40, 3))
def test_disk_full_leaves_the_old_release_and_a_rerun_repairs(
    small_disk: Path, tmp_path: Path, free_pages: int
) -> None:
    old, old_sha256 = make_bundle(tmp_path / "old.tar", "1.0.0")
    publish(small_disk, old, old_sha256, True, 5)
    aot = {f"aot/{number}.cwasm": os.urandom(16 << 10) for number in range(8)}
    new, new_sha256 = make_bundle(tmp_path / "new.tar", "1.1.0", aot=aot)
    filler = small_disk / "filler"
    room = os.statvfs(small_disk)
    filler.write_bytes(b"\0" * max(0, room.f_bavail * room.f_bsize - free_pages * 4096))
    before = snapshot(small_disk)
    try:
        publish(small_disk, new, new_sha256, True, 5)
        assert free_pages * 4096 >= 8 * (16 << 10)
    except ReleaseError as error:
        assert "no space left" in str(error)
        assert "1.0.0 is still served" in str(error)
        assert snapshot(small_disk) == before
    filler.unlink()
    assert publish(small_disk, new, new_sha256, True, 5)["active"] == "1.1.0"


def test_full_disk_can_still_go_back_and_remove(small_disk: Path, tmp_path: Path) -> None:
    for version in ("1.0.0", "1.1.0", "1.2.0"):
        bundle, sha256 = make_bundle(tmp_path / f"{version}.tar", version)
        publish(small_disk, bundle, sha256, True, 5)
    room = os.statvfs(small_disk)
    (small_disk / "filler").write_bytes(b"\0" * room.f_bavail * room.f_bsize)
    assert activate(small_disk, "1.1.0")["changed"]
    assert remove(small_disk, "1.0.0")["changed"]


@pytest.mark.parametrize("limit", [0, 100, 4096, 300_000])
def test_file_size_limit_leaves_the_old_release(
    share: Path, put: Callable[..., Any], tmp_path: Path, limit: int
) -> None:
    put("1.0.0")
    bundle, sha256 = make_bundle(tmp_path / "new.tar", "1.1.0", aot={"aot/x": bytes(1 << 20)})
    before = snapshot(share)

    def act() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        try:
            publish(share, bundle, sha256, True, 5)
        except ReleaseError as error:
            os._exit(7 if "no space left" in str(error) else 8)

    assert in_child(act) == 7
    assert snapshot(share) == before


# --- two at once --------------------------------------------------------------------------------


def test_lock_names_its_owner_and_age(
    share: Path, put: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    put("1.0.0")
    monkeypatch.setattr(_release, "LOCK_WAIT_SECONDS", 0.2)
    with _release._changing(share, check=False):
        message = rf"being changed by \S+ pid {os.getpid()} \(for \d+ s\): wait"
        with pytest.raises(ReleaseError, match=message):
            put("1.1.0")
        assert put("1.1.0", check=True)["changed"]
    assert put("1.1.0")["notes"] == []


def test_lock_of_a_killed_publisher_is_taken_over_with_a_note(
    share: Path, put: Callable[..., Any]
) -> None:
    def die() -> None:
        with _release._changing(share, check=False):
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(die) == -signal.SIGKILL
    (note,) = put("1.0.0")["notes"]
    assert "took over the lock of" in note
    assert put("1.0.0")["notes"] == []


def test_publishers_side_by_side_all_succeed(
    share: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How long a publisher waits for its turn depends on the machine's load, not on what is tested.
    monkeypatch.setattr(_release, "LOCK_WAIT_SECONDS", 600)
    bundles = [make_bundle(tmp_path / f"{n}.tar", f"1.{n}.0") for n in range(6)]
    errors: list[BaseException] = []

    def act(bundle: Path, sha256: str) -> None:
        try:
            for _ in range(5):
                publish(share, bundle, sha256, True, 10)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=act, args=bundle) for bundle in bundles]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    state = status(share)
    assert len(state["releases"]) == 6
    for version in state["releases"]:
        activate(share, version)
