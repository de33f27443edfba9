# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files for user data, which EC2 limits to 16 KB."""

from __future__ import annotations

DOCUMENTATION = r"""
name: gzip_base64
short_description: Compress a text for cloud-init
version_added: 1.0.0
author: The multicompute.spin authors
description:
  - Compresses a text as C(write_files) of cloud-init takes it with the encoding C(gz+b64).
  - The same text always gives the same result.
positional: _input
options:
  _input:
    description: The text.
    type: str
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.debug:
    msg: "{{ lookup('ansible.builtin.file', 'serve') | multicompute.spin.gzip_base64 }}"
"""

RETURN = r"""
_value:
  description: The compressed text.
  type: str
  sample: H4sIAAAAAAACA8tIzcnJBwCGphA2BQAAAA==
"""

import base64
import gzip


def gzip_base64(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


class FilterModule:
    def filters(self) -> dict[str, object]:
        return {"gzip_base64": gzip_base64}
