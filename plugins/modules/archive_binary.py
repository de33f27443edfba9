#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: archive_binary
version_added: 1.0.0
short_description: Install one executable out of a pinned archive
description:
  - Downloads a tar or zip archive (a Python wheel is one), verifies its SHA-256 digest before
    anything is read out of it, and installs one file of it as an executable.
  - Needs no C(tar), C(unzip) or C(xz) on the host.
  - Writes O(path) by rename, and beside it a record C(<path>.origin) of the archive and the
    installed file. Nothing is downloaded when both are as the record says.
options:
  url:
    description: Address of the archive.
    type: str
    required: true
  sha256:
    description: SHA-256 digest that the archive must have.
    type: str
    required: true
  member:
    description: Path of the executable inside the archive.
    type: str
    required: true
  path:
    description: Where to install it. The directory must exist.
    type: path
    required: true
  strip:
    description:
      - Whether to install it without what is only there for debuggers, the symbol tables. Nothing
        else of the executable changes, and what is no 64-bit ELF file stays as it is.
      - The archive's digest is verified before that; the record holds the digest of what is
        installed.
    type: bool
    default: false
  signature:
    description:
      - The executable's signature by a workflow, without a key of its own (Sigstore). It is
        verified where the host has C(cosign), which asks Sigstore's log; elsewhere the digest
        stands alone.
    type: dict
    suboptions:
      member:
        description: Path of the signature inside the archive.
        type: str
        required: true
      certificate:
        description: Path of the certificate inside the archive.
        type: str
        required: true
      identity:
        description: Who must have signed, such as the URL of a workflow at a tag.
        type: str
        required: true
      issuer:
        description: Who must have certified that identity.
        type: str
        required: true
  mode:
    description: Permissions of the installed file.
    type: str
    default: '0755'
  timeout:
    description: Seconds without an answer after which the download fails.
    type: int
    default: 60
attributes:
  check_mode:
    description: Predicts the change without downloading.
    support: full
  diff_mode:
    description: Shows the archives that the installed file came and will come from.
    support: full
  idempotent:
    description: Changes nothing when the file of the pinned archive is installed as asked for.
    support: full
  platform:
    platforms: posix
extends_documentation_fragment:
  - ansible.builtin.action_common_attributes
author:
  - The multicompute.spin authors (@multicompute)
"""

EXAMPLES = r"""
- name: Install Spin
  multicompute.spin.archive_binary:
    url: https://github.com/spinframework/spin/releases/download/v3.5.1/spin-v3.5.1-linux-amd64.tar.gz
    sha256: 07e2ca5caec315a92214d75a9daa8c786c677f1a0423871a36dc67c9911c5a04
    member: spin
    path: /usr/local/bin/spin

- name: Install Spin, verified by cosign where that is installed
  multicompute.spin.archive_binary:
    url: https://github.com/spinframework/spin/releases/download/v3.5.1/spin-v3.5.1-linux-amd64.tar.gz
    sha256: 07e2ca5caec315a92214d75a9daa8c786c677f1a0423871a36dc67c9911c5a04
    member: spin
    path: /usr/local/bin/spin
    signature:
      member: spin.sig
      certificate: crt.pem
      identity: https://github.com/spinframework/spin/.github/workflows/release.yml@refs/tags/v3.5.1
      issuer: https://token.actions.githubusercontent.com
"""

RETURN = r"""
path:
  description: The installed file.
  returned: success
  type: str
  sample: /usr/local/bin/spin
sha256:
  description: SHA-256 digest of the installed file. Empty in check mode when it would change.
  returned: success
  type: str
  sample: 6b1b1cb1f6ee4d3a1d7f7e2a4cf4d8c2f9bb5a7a0f1c60f23d7d6c1d0c8b8f11
signature_verified:
  description: Whether cosign verified the executable in this run.
  returned: success
  type: bool
  sample: false
"""

import hashlib
import json
import os
import shutil
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import fetch_url

CHUNK = 1 << 20
ELF64 = b"\x7fELF\x02\x01"  # little-endian, as amd64 and arm64 are


class ArchiveError(Exception):
    """Something that the user can put right; the text says what and how."""


def digest(path: Path) -> str:
    sha256 = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            sha256.update(chunk)
    return sha256.hexdigest()


def record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.origin")


def installed(path: Path) -> dict[str, Any]:
    """What the record says about the file at O(path); empty if the file is not that one."""
    try:
        record = json.loads(record_of(path).read_text())
        intact = digest(path) == record["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return record if intact else {}


def wanted(params: dict[str, Any]) -> dict[str, Any]:
    """What tells one installed file from another."""
    return {"archive_sha256": params["sha256"].lower(), "stripped": params["strip"]}


@contextmanager
def opened(archive: Path, member: str) -> Iterator[IO[bytes]]:
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as bundle, bundle.open(member) as file:
                yield file
        else:
            with tarfile.open(archive) as tar:
                found = tar.extractfile(member)
                if found is None:
                    raise KeyError(member)
                yield found
    except KeyError as error:
        raise ArchiveError(f"the archive holds no file {member!r}") from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise ArchiveError(f"the archive is neither tar nor zip: {error}") from error


def download(module: AnsibleModule, url: str, archive: Path) -> None:
    response, info = fetch_url(module, url, timeout=module.params["timeout"])
    if response is None or info["status"] not in (200, None):  # None: a file: URL
        raise ArchiveError(
            f"could not download {url}: {info['msg']}. Give the address of a mirror that this host "
            "can reach"
        )
    try:
        with archive.open("wb") as file:
            shutil.copyfileobj(response, file, CHUNK)
    except HTTPException as error:
        raise ArchiveError(f"{url} ended too early, nothing was installed: {error!r}") from error


def verify(archive: Path, url: str, sha256: str) -> None:
    actual = digest(archive)
    if actual != sha256.lower():
        raise ArchiveError(
            f"{url} has sha256 {actual}, pinned is {sha256}: nothing was installed. The download "
            "is damaged or another file; pin its digest only if you trust it"
        )


def strip(binary: Path) -> None:
    """Keep what is loaded: all of it lies before the sections that only debuggers read."""
    with binary.open("r+b") as file:
        header = file.read(64)
        if not header.startswith(ELF64):
            return
        (table,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        file.seek(table)
        segments = [struct.unpack("<8xQ16xQ", file.read(size)[:40]) for _unused in range(count)]
        file.truncate(max(offset + length for offset, length in segments))
        # Names neither the place nor the number of sections any more.
        file.seek(40)
        file.write(bytes(8))
        file.seek(60)
        file.write(bytes(4))


def extract(archive: Path, member: str, target: Path) -> Path:
    with opened(archive, member) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, CHUNK)
    return target


def verify_signature(module: AnsibleModule, archive: Path, binary: Path) -> bool:
    """Whether cosign vouches for the binary; False where there is nothing to ask."""
    signature, cosign = module.params["signature"], module.get_bin_path("cosign")
    if not signature or not cosign:
        return False
    work = archive.parent
    command = [cosign, "verify-blob"]
    command += ["--signature", str(extract(archive, signature["member"], work / "signature"))]
    command += ["--certificate", str(extract(archive, signature["certificate"], work / "cert"))]
    command += ["--certificate-identity", signature["identity"]]
    command += ["--certificate-oidc-issuer", signature["issuer"], str(binary)]
    code, _unused, complaint = module.run_command(command)
    if code != 0:
        raise ArchiveError(
            f"cosign does not find {module.params['member']} signed by {signature['identity']}, "
            f"nothing was installed: {complaint.strip()}"
        )
    return True


def install(module: AnsibleModule, work: Path) -> dict[str, Any]:
    """Bring the executable to its path; an interruption leaves the old one or a new whole one."""
    params = module.params
    path = Path(params["path"])
    if not path.parent.is_dir():
        raise ArchiveError(f"the directory {path.parent} does not exist: create it first")
    archive, binary, record = work / "archive", work / "binary", work / "record"
    download(module, params["url"], archive)
    verify(archive, params["url"], params["sha256"])
    extract(archive, params["member"], binary)
    verified = verify_signature(module, archive, binary)
    if params["strip"]:
        strip(binary)
    sha256 = digest(binary)
    origin = {**wanted(params), "url": params["url"], "sha256": sha256}
    record.write_text(json.dumps(origin, indent=2) + "\n")
    module.atomic_move(str(binary), str(path))
    module.atomic_move(str(record), str(record_of(path)))
    return {"sha256": sha256, "signature_verified": verified}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "url": {"type": "str", "required": True},
            "sha256": {"type": "str", "required": True},
            "member": {"type": "str", "required": True},
            "path": {"type": "path", "required": True},
            "strip": {"type": "bool", "default": False},
            "signature": {
                "type": "dict",
                "options": {
                    name: {"type": "str", "required": True}
                    for name in ("member", "certificate", "identity", "issuer")
                },
            },
            "mode": {"type": "str", "default": "0755"},
            "timeout": {"type": "int", "default": 60},
        },
        supports_check_mode=True,
    )
    params = module.params
    path = Path(params["path"])
    before = installed(path)
    same = wanted(params).items() <= before.items()
    changed = not same
    made = {"sha256": before.get("sha256", ""), "signature_verified": False}
    if changed and module.check_mode:
        made["sha256"] = ""
    elif changed:
        try:
            with tempfile.TemporaryDirectory(dir=module.tmpdir) as work:
                made = install(module, Path(work))
        except (ArchiveError, OSError) as error:
            module.fail_json(msg=f"Installing {path}: {error}")
    if os.path.exists(path):
        changed = module.set_mode_if_different(str(path), params["mode"], changed)
    module.exit_json(
        changed=changed,
        path=str(path),
        **made,
        diff={
            "before": {"path": str(path)} | {key: before.get(key) for key in wanted(params)},
            "after": {"path": str(path)} | wanted(params),
        },
    )


if __name__ == "__main__":
    main()
