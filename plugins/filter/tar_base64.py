# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files for user data, which EC2 limits to 16 KB."""

from __future__ import annotations

DOCUMENTATION = r"""
name: tar_base64
short_description: Pack files for cloud-init
version_added: 1.0.0
author: The multicompute.spin authors
description:
  - Packs files into one compressed archive, which is much smaller than each of them alone, as
    C(write_files) of cloud-init takes it with the encoding C(b64).
  - The same files always give the same result.
positional: _input
options:
  _input:
    description: The files, each with C(path), C(content), and C(mode) as a text such as V(0755).
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ [{'path': '/usr/local/bin/serve', 'mode': '0755',
      'content': lookup('ansible.builtin.file', 'serve')}] | multicompute.spin.tar_base64 }}"
"""

RETURN = r"""
_value:
  description: The archive, to be unpacked in C(/) by C(tar --extract --gzip).
  type: str
  sample: H4sIAAAAAAACA8tIzcnJBwCGphA2BQAAAA==
"""

import base64
import gzip
import io
import tarfile


def tar_base64(files: list[dict[str, str]]) -> str:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for file in files:
            content = file["content"].encode()
            member = tarfile.TarInfo(file["path"].lstrip("/"))
            member.size, member.mode = len(content), int(file["mode"], 8)
            archive.addfile(member, io.BytesIO(content))
    return base64.b64encode(gzip.compress(packed.getvalue(), mtime=0)).decode()


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"tar_base64": tar_base64}
