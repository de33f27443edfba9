# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names what is built by what it is built from, without a process per question."""

from __future__ import annotations

DOCUMENTATION = r"""
name: content_digest
short_description: One digest of files and directories
version_added: 1.0.0
author: The multicompute.spin authors (@multicompute)
description:
  - SHA-256 over the names and contents of files. Owners, times and where the files are leave it as
    it is.
options:
  _terms:
    description: Files, and directories of which every file counts, hidden ones too.
    type: list
    elements: path
    required: true
  root:
    description: Directory that relative terms are meant from. Default is the one of the command.
    type: path
    default: .
  exclude:
    description: Names of files and directories that do not count, in whatever directory.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Name the component by its source
  ansible.builtin.set_fact:
    component: "build/{{ lookup('multicompute.spin.content_digest', 'app', exclude=['target']) }}"
"""

RETURN = r"""
_raw:
  description: The digest, as one element.
  type: list
  elements: str
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase


def named_files(term: Path, exclude: list[str]) -> Iterator[tuple[str, Path]]:
    """Each file with what its path adds to that of the term."""
    if term.is_file():
        yield term.name, term
        return
    for folder, folders, files in os.walk(term, onerror=fail):
        folders[:] = sorted(set(folders) - set(exclude))
        for name in sorted(set(files) - set(exclude)):
            path = Path(folder, name)
            yield str(path.relative_to(term)), path


def fail(error: OSError) -> None:
    raise error


def content_digest(terms: list[str], root: str, exclude: list[str]) -> str:
    total = hashlib.sha256()
    for term in terms:
        for name, path in named_files(Path(root, term), exclude):
            # Digests are of one length, and no name holds a NUL: two inputs never run together.
            total.update(hashlib.sha256(path.read_bytes()).digest() + name.encode() + b"\0")
    return total.hexdigest()


class LookupModule(LookupBase):
    def run(
        self, terms: list[str], variables: dict[str, Any] | None = None, **options: Any
    ) -> list[str]:
        self.set_options(var_options=variables, direct=options)
        try:
            return [content_digest(terms, self.get_option("root"), self.get_option("exclude"))]
        except OSError as error:
            raise AnsibleLookupError(f"Taking the digest of {', '.join(terms)}: {error}") from error
