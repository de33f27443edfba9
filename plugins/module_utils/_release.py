# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases on a share directory.

The share holds C(releases/<version>/{app.wasm, aot/..., release.json}), the relative link
C(current), and in C(releases/.history) what was active before, for the way back. What a reader
can see changes only by rename, so whoever is killed, or runs out of disk, leaves the release that
was served before. Only the standard library is used: the module wasm_release and the publisher
image run this same file.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import socket
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import IO, Any

APP = "app.wasm"
MANIFEST = "release.json"
CURRENT = "current"
# Work in progress starts with a dot: no version does, so no reader takes it for a release.
STAGING_PREFIX = ".staging-"
LOCK = ".lock"
HISTORY = ".history"
LOCK_WAIT_SECONDS = 60.0
MANIFEST_LIMIT = 1 << 20
CHUNK = 1 << 20
COMPONENT_HEADER = b"\0asm\x0d\0\x01\0"
CORE_MODULE_HEADER = b"\0asm\x01\0\0\0"
IMPORTS = 10  # number of the section in a component

_NUMBER = r"(0|[1-9]\d*)"
_IDENTIFIER = r"(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)"
SEMVER = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
    rf"(?:-({_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?",
    re.ASCII,
)
SHA256 = re.compile(r"[0-9a-f]{64}")

Manifest = dict[str, Any]


class ReleaseError(Exception):
    """Something that the user can put right; the text says what and how."""


def check_version(version: str) -> str:
    if len(version) > 128 or not SEMVER.fullmatch(version):
        raise ReleaseError(
            f"{version!r} is no release version: use semantic versioning, for example 1.2.0"
        )
    return version


def precedence(version: str) -> tuple[Any, ...]:
    """The order of semantic versioning; build metadata only breaks ties."""
    match = SEMVER.fullmatch(version)
    if match is None:
        raise ReleaseError(f"{version!r} is no release version")
    major, minor, patch, pre = match.groups()
    identifiers = tuple(
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in (pre or "").split(".")
    )
    return int(major), int(minor), int(patch), pre is None, identifiers, version


def status(share: Path) -> dict[str, Any]:
    """The active release, the one before it, and all that are there, oldest first, without
    hashing any file."""
    releases = share / "releases"
    with suppress(FileNotFoundError, NotADirectoryError):
        versions = [
            entry.name
            for entry in releases.iterdir()
            if SEMVER.fullmatch(entry.name) and entry.is_dir()
        ]
        active = _active(share)
        return {
            "active": active,
            "previous": _previous(_history(share, active), versions),
            "releases": {
                version: _summary(_stored_manifest(releases / version))
                for version in sorted(versions, key=precedence)
            },
        }
    return {"active": None, "previous": None, "releases": {}}


def publish(
    share: Path,
    bundle: Path,
    sha256: str,
    activate: bool,
    keep: int,
    check: bool = False,
    version: str | None = None,
    protect: Sequence[str] = (),
    by: str | None = None,
) -> dict[str, Any]:
    """Bring the bundle's release onto the share, and make it the active one if asked.

    Releases in `protect` are never removed for their age. `by` says who publishes it.
    """
    if keep < 1:
        raise ReleaseError(f"keep is {keep}: at least one release must be kept")
    manifest = read_bundle(bundle, sha256)
    if version not in (None, manifest["version"]):
        raise ReleaseError(f"{bundle} holds release {manifest['version']}, not {version}")
    version = manifest["version"]
    with _changing(share, check) as (before, notes):
        missing = _missing(share, before, manifest)
        if missing and not check:
            with _explained(share, f"publish release {version}"):
                _store(share, bundle, _signed(manifest, by), missing)
        switched = activate and _switch(share, version, check)
        changed = bool(missing or switched)
        pruned = _prune(share, before, version, keep, protect, check) if changed else []
        after = _predicted(share, before, manifest, switched, pruned) if check else status(share)
    return _result(version, changed, after, pruned, notes)


def predict(
    share: Path, version: str, activate: bool, keep: int, protect: Sequence[str] = ()
) -> dict[str, Any]:
    """What publishing would do, for a check mode run in which nobody builds the bundle."""
    check_version(version)
    before = status(share)
    new = version not in before["releases"]
    switched = activate and before["active"] != version
    pruned = _prune(share, before, version, keep, protect, True) if new or switched else []
    manifest = {"version": version, "files": {APP: {"sha256": None}}}
    after = _predicted(share, before, manifest, switched, pruned) if new else before
    if switched:
        after = _activated(share, after, version)
    return _result(version, new or switched, after, pruned)


def activate(share: Path, version: str, check: bool = False) -> dict[str, Any]:
    """Make a release that is on the share the active one, after verifying every file of it."""
    check_version(version)
    with _changing(share, check) as (before, notes):
        _require(share, before, version)
        if damaged := _damaged(share / "releases" / version):
            raise ReleaseError(
                f"release {version} on {share} is damaged ({', '.join(damaged)}): "
                "publish it again from its bundle"
            )
        switched = _switch(share, version, check)
        after = _activated(share, before, version) if check else status(share)
    return _result(version, switched, after, [], notes)


def remove(share: Path, version: str, check: bool = False) -> dict[str, Any]:
    """Remove a release that is not the active one."""
    check_version(version)
    with _changing(share, check) as (before, notes):
        if before["active"] == version:
            raise ReleaseError(
                f"release {version} on {share} is the active one: activate another one first"
            )
        removed = [version] if version in before["releases"] else []
        if removed and not check:
            _discard(share, version)
    left = {name: info for name, info in before["releases"].items() if name != version}
    after = _activated(share, {**before, "releases": left}, None)
    return _result(version, bool(removed), after, removed, notes)


def _result(
    version: str,
    changed: bool,
    state: dict[str, Any],
    pruned: list[str],
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    return {
        "changed": changed,
        "version": version,
        "pruned": pruned,
        "notes": list(notes),
        **state,
    }


# --- the bundle ---------------------------------------------------------------------------------


def read_bundle(bundle: Path, sha256: str) -> Manifest:
    """Verify the bundle and everything in it; return its release.json."""
    try:
        actual = digest(bundle)
        if actual != sha256.lower():
            raise ReleaseError(
                f"{bundle} has sha256 {actual}, expected {sha256}: it is damaged or another file"
            )
        with tarfile.open(bundle, "r:") as archive:
            members = _members(archive)
            if MANIFEST not in members:
                raise ReleaseError(f"{bundle} holds no {MANIFEST}: it is no release bundle")
            manifest = _parse_manifest(_bytes(archive, members[MANIFEST]))
            _verify_members(archive, members, manifest)
    except FileNotFoundError as error:
        raise ReleaseError(f"the bundle {bundle} does not exist: build the app first") from error
    except (tarfile.TarError, EOFError) as error:
        raise ReleaseError(f"{bundle} is no uncompressed tar file: {error}") from error
    return manifest


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return _digest(file)


def _digest(file: IO[bytes]) -> str:
    # hashlib.file_digest would do, but hosts with Python 3.9 (Amazon Linux 2023) lack it.
    sha256 = hashlib.sha256()
    while chunk := file.read(CHUNK):
        sha256.update(chunk)
    return sha256.hexdigest()


def check_component(file: IO[bytes], size: int) -> None:
    """Refuse what is no WebAssembly component, or was cut short: its sections must add up."""
    header = file.read(8)
    if header == CORE_MODULE_HEADER:
        raise ReleaseError(
            f"{APP} is a core WebAssembly module, not a component: build it as a wasi:http "
            "component (for Rust: linker wasm-component-ld)"
        )
    if header != COMPONENT_HEADER:
        raise ReleaseError(f"{APP} is no WebAssembly component")
    for _section in _sections(file, size):
        pass


def imports(wasm: Path) -> list[str]:
    """Names of what a whole component imports, such as C(wasi:http/types@0.2.0)."""
    names: list[str] = []
    with wasm.open("rb") as file:
        for section, length in _sections(file, wasm.stat().st_size):
            if section == IMPORTS:
                names += _imported(io.BytesIO(file.read(length)))
    return names


def _sections(file: IO[bytes], size: int) -> Iterator[tuple[int, int]]:
    """Number and length of each section, with the file at its content."""
    end = len(COMPONENT_HEADER)
    while end < size:
        file.seek(end)
        number = _byte(file)
        length = _leb128(file)
        start = file.tell()
        end = start + length
        yield number, length
    if end != size:
        raise ReleaseError(f"{APP} is truncated: build it again")


def _imported(section: IO[bytes]) -> Iterator[str]:
    """https://github.com/WebAssembly/component-model/blob/main/design/mvp/Binary.md"""
    for _unused in range(_leb128(section)):
        # Of the two forms of a name, the second one says a version's rest behind it.
        form = _byte(section)
        yield section.read(_leb128(section)).decode(errors="replace")
        if form == 2:
            section.read(_leb128(section))
        _skip_description(section)


def _skip_description(section: IO[bytes]) -> None:
    sort = _byte(section)
    if sort == 0:  # a core module, of a type
        section.read(1)
    elif sort in (2, 3) and _byte(section) and sort == 3:
        return  # a type of its own has no index
    _leb128(section)


def _byte(file: IO[bytes]) -> int:
    byte = file.read(1)
    if not byte:
        raise ReleaseError(f"{APP} is truncated: build it again")
    return byte[0]


def _leb128(file: IO[bytes]) -> int:
    value = shift = 0
    while True:
        byte = _byte(file)
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value


def _members(archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    members: dict[str, tarfile.TarInfo] = {}
    for member in archive:
        if member.isdir():
            continue
        name = str(PurePosixPath(member.name))
        if not member.isreg() or not _is_inside(name) or name in members:
            raise ReleaseError(f"the bundle holds {member.name!r}, which no release may hold")
        members[name] = member
    return members


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return str(path) == name and not path.is_absolute() and not {"..", "."} & set(path.parts)


def _bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MANIFEST_LIMIT:
        raise ReleaseError(f"{MANIFEST} in the bundle is larger than {MANIFEST_LIMIT} bytes")
    with _reader(archive, member) as file:
        return file.read()


def _reader(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    if file is None:
        raise ReleaseError(f"{member.name!r} in the bundle is no regular file")
    return file


def _parse_manifest(data: bytes) -> Manifest:
    try:
        manifest = json.loads(data)
        files = manifest["files"]
        well_formed = all(
            _is_inside(name) and name != MANIFEST and SHA256.fullmatch(entry["sha256"])
            for name, entry in files.items()
        )
        version = str(manifest["version"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ReleaseError(f"{MANIFEST} is malformed: {error!r}") from error
    check_version(version)
    if not well_formed or APP not in files:
        raise ReleaseError(f"{MANIFEST} is malformed: it must list {APP} and a sha256 per file")
    return {**manifest, "version": version}


def _verify_members(
    archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], manifest: Manifest
) -> None:
    listed = {MANIFEST, *manifest["files"]}
    if unlike := sorted(listed ^ set(members)):
        raise ReleaseError(f"{MANIFEST} and the bundle disagree about {', '.join(unlike)}")
    for name, entry in manifest["files"].items():
        with _reader(archive, members[name]) as file:
            actual = _digest(file)
        if actual != entry["sha256"]:
            raise ReleaseError(
                f"{name} in the bundle has sha256 {actual}, {MANIFEST} says {entry['sha256']}"
            )
    with _reader(archive, members[APP]) as file:
        check_component(file, members[APP].size)


# --- the share ----------------------------------------------------------------------------------


def _active(share: Path) -> str | None:
    try:
        link = PurePosixPath(os.readlink(share / CURRENT))
    except OSError:
        return None
    there = link.parts[:-1] == ("releases",) and SEMVER.fullmatch(link.name)
    return link.name if there and (share / link).is_dir() else None


def _stored_manifest(release: Path) -> Manifest | None:
    try:
        return _parse_manifest((release / MANIFEST).read_bytes())
    except (OSError, ReleaseError):
        return None


def _summary(manifest: Manifest | None) -> dict[str, Any]:
    if manifest is None:
        return {"sha256": None, "files": {}}
    digests = {name: entry["sha256"] for name, entry in sorted(manifest["files"].items())}
    facts = {key: value for key, value in manifest.items() if key not in ("version", "files")}
    return {"sha256": digests[APP], "files": digests, **facts}


def _damaged(release: Path) -> list[str]:
    manifest = _stored_manifest(release)
    if manifest is None:
        return [MANIFEST]
    files = manifest["files"].items()
    return [name for name, entry in files if not _is_intact(release / name, entry["sha256"])]


def _is_intact(path: Path, sha256: str) -> bool:
    try:
        return digest(path) == sha256
    except OSError:
        return False


def _require(share: Path, state: dict[str, Any], version: str) -> None:
    if version not in state["releases"]:
        there = ", ".join(state["releases"]) or "none"
        raise ReleaseError(f"release {version} is not on {share}; there: {there}")


def _missing(share: Path, state: dict[str, Any], manifest: Manifest) -> list[str]:
    """Files of the bundle that the share lacks or holds damaged.

    app.wasm and what is declared of it are what a version stands for and never change. Precompiled
    files are derived from it: those for another architecture or runtime may join later.
    """
    version, files = manifest["version"], manifest["files"]
    present = state["releases"].get(version)
    lasting = {"sha256": files[APP]["sha256"], **_declared(manifest)}
    there = {**_declared(present), "sha256": present["sha256"]} if present else {}
    for fact, wanted in lasting.items():
        if there.get("sha256") and there[fact] != wanted:
            raise ReleaseError(
                f"release {version} exists on {share} with {fact} {_told(there[fact])}, the bundle "
                f"has {_told(wanted)}: a published version never changes, give it a new one"
            )
    release = share / "releases" / version
    listed = present["files"] if present else {}
    return [
        name
        for name, entry in files.items()
        if listed.get(name) != entry["sha256"] or not _is_intact(release / name, entry["sha256"])
    ]


def _declared(manifest: Manifest) -> dict[str, Any]:
    """How a release is to be served and asked, which is as much part of it as its files."""
    return {
        "instance_reuse": manifest.get("instance_reuse", 1),
        "health": manifest.get("health"),
        "probes": manifest.get("probes"),
    }


def _told(fact: Any) -> str:
    return fact if isinstance(fact, str) else json.dumps(fact)


def _signed(manifest: Manifest, by: str | None) -> Manifest:
    """What only the share knows of a release: the bundle is the same whoever makes it."""
    if by is None:
        return manifest
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {**manifest, "published_by": by, "published_at": now}


def _store(share: Path, bundle: Path, manifest: Manifest, missing: list[str]) -> None:
    target = share / "releases" / manifest["version"]
    stored = _stored_manifest(target)
    if stored:
        first: Manifest = {
            key: stored[key] for key in ("published_by", "published_at") if key in stored
        }
        manifest = {**manifest, **first, "files": {**stored["files"], **manifest["files"]}}
    with _staging(share) as staging:
        with tarfile.open(bundle, "r:") as archive:
            members = _members(archive)
            for name in missing:
                with _reader(archive, members[name]) as source:
                    _write(staging / name, source)
        content = json.dumps(manifest, indent=2, sort_keys=True).encode() + b"\n"
        _write(staging / MANIFEST, io.BytesIO(content))
        if target.is_dir():
            # Never write into a file that may be mapped: a new one takes its name.
            for name in [*missing, MANIFEST]:
                _make_directory((target / name).parent)
                (staging / name).replace(target / name)
                _sync_directory((target / name).parent)
            return
        for directory in {path.parent for path in staging.rglob("*")}:
            _sync_directory(directory)
        staging.rename(target)
        _sync_directory(target.parent)


def _write(path: Path, source: IO[bytes]) -> None:
    _make_directory(path.parent)
    with path.open("xb") as file:
        shutil.copyfileobj(source, file, CHUNK)
        file.flush()
        os.fchmod(file.fileno(), 0o644)
        os.fsync(file.fileno())


def _make_directory(path: Path) -> None:
    """Readable for the servers, whatever the umask."""
    if not path.is_dir():
        _make_directory(path.parent)
        path.mkdir(exist_ok=True)  # another publisher may be as far
        path.chmod(0o755)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _switch(share: Path, version: str, check: bool) -> bool:
    active = _active(share)
    if active == version:
        return False
    if not check:
        history = _history(share, active)
        with _explained(share, f"activate release {version}"), _staging(share) as staging:
            link = staging / CURRENT
            link.symlink_to(f"releases/{version}")
            link.replace(share / CURRENT)
            _sync_directory(share)
            # A full disk must not stop the way back, which the old history tells as well.
            with suppress(OSError):
                text = json.dumps(_gone_to(history, version)).encode() + b"\n"
                _write(staging / HISTORY, io.BytesIO(text))
                (staging / HISTORY).replace(share / "releases" / HISTORY)
    return True


def _history(share: Path, active: str | None) -> list[str]:
    """The releases that were active, one before the other, up to the active one.

    Whoever goes back takes those after it out: so a release that failed is not one to go back to.
    """
    try:
        history = json.loads((share / "releases" / HISTORY).read_bytes())
    except (OSError, ValueError):
        history = []
    if not isinstance(history, list):
        history = []
    # The link is what counts: a run may have died before it wrote the history.
    return _gone_to(history, active) if active else []


def _gone_to(history: list[str], version: str) -> list[str]:
    return (
        [*history[: history.index(version)], version] if version in history else [*history, version]
    )


def _previous(history: list[str], there: Iterable[str]) -> str | None:
    return next((version for version in reversed(history[:-1]) if version in there), None)


def _prune(
    share: Path,
    before: dict[str, Any],
    version: str,
    keep: int,
    protect: Sequence[str],
    check: bool,
) -> list[str]:
    """Remove all but the newest; never one that servers may have open.

    The release that was active before is still served until every server is rolled. So an
    unchanged run must not come here: to it that release is as old as any.
    """
    newest_last = sorted({*before["releases"], version}, key=precedence)
    in_use = {before["active"], version, *protect}
    pruned = [old for old in newest_last[:-keep] if old not in in_use]
    if not check:
        for old in pruned:
            _discard(share, old)
    return pruned


def _discard(share: Path, version: str) -> None:
    with _explained(share, f"remove release {version}"), _staging(share) as staging:
        (share / "releases" / version).rename(staging / version)


def _predicted(
    share: Path, before: dict[str, Any], manifest: Manifest, switched: bool, pruned: list[str]
) -> dict[str, Any]:
    version = manifest["version"]
    releases = {**before["releases"]}
    present = releases.get(version, {"files": {}})
    summary = _summary(manifest)
    releases[version] = {**summary, "files": {**present["files"], **summary["files"]}}
    there = {
        name: releases[name] for name in sorted(releases, key=precedence) if name not in pruned
    }
    return _activated(share, {**before, "releases": there}, version if switched else None)


def _activated(share: Path, state: dict[str, Any], version: str | None) -> dict[str, Any]:
    """What the state is going to be, with this release as the active one."""
    history = _history(share, state["active"])
    if version:
        history = _gone_to(history, version)
    active = history[-1] if history else None
    return {**state, "active": active, "previous": _previous(history, state["releases"])}


@contextmanager
def _staging(share: Path) -> Iterator[Path]:
    """A private directory on the share's own file system, so that rename is atomic."""
    path = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=share / "releases"))
    try:
        path.chmod(0o755)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _explained(share: Path, action: str) -> Iterator[None]:
    """What a file system refuses is told in the user's terms."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            served = _active(share)
            raise ReleaseError(
                f"could not {action}: no space left on {share}. "
                + (f"Release {served} is still served. " if served else "")
                + "Remove old releases or give the share more space, then run this again"
            ) from error
        raise ReleaseError(f"could not {action} on {share}: {error}") from error


# --- one writer at a time -----------------------------------------------------------------------


@contextmanager
def _changing(share: Path, check: bool) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Hold the share for a change; yield its state and what the user should know."""
    if check:
        yield status(share), []
        return
    if not share.is_dir():
        raise ReleaseError(f"the share {share} does not exist or is no directory: mount it first")
    with _explained(share, "lock the releases"):
        _make_directory(share / "releases")
        lock = (share / "releases" / LOCK).open("a+b", buffering=0)
    with lock:
        notes = _lock(share, lock)
        try:
            for stale in (share / "releases").glob(f"{STAGING_PREFIX}*"):
                shutil.rmtree(stale, ignore_errors=True)
            yield status(share), notes
        finally:
            _sign(lock, b"")


def _lock(share: Path, lock: FileIO) -> list[str]:
    """Take the kernel's lock, which ends with its process, on NFS too.

    So a text that is left in the lock file means that its owner died, whatever its age.
    """
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise ReleaseError(
                    f"the releases on {share} are being changed by {_owner(lock)}: "
                    "wait until it has ended, or stop it"
                ) from error
            time.sleep(0.1)
        except OSError as error:
            raise ReleaseError(f"could not lock the releases on {share}: {error}") from error
    left = _owner(lock)
    me = {"owner": f"{socket.gethostname()} pid {os.getpid()}", "since": round(time.time())}
    _sign(lock, json.dumps(me).encode())
    return [f"took over the lock of {left}, which ended without giving it back"] if left else []


def _sign(lock: FileIO, note: bytes) -> None:
    # The note only serves messages: a full disk must not stop what would free it.
    with suppress(OSError):
        lock.truncate(0)
        lock.write(note)


def _owner(lock: FileIO) -> str:
    """Who wrote the lock file, and how long ago; empty if nobody did."""
    lock.seek(0)
    text = lock.read()
    try:
        note = json.loads(text)
        return f"{note['owner']} (for {max(0, round(time.time() - note['since']))} s)"
    except (ValueError, KeyError, TypeError):
        return "an unknown owner" if text else ""
