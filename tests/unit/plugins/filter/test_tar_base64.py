# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import io
import tarfile

from ansible_collections.multicompute.spin.plugins.filter.tar_base64 import tar_base64

FILES = [
    {"path": "/usr/local/bin/serve", "mode": "0755", "content": "#!/bin/sh\nä\n"},
    {"path": "/etc/systemd/system/a.service", "mode": "0644", "content": "[Unit]\n"},
]


def test_the_files_come_out_as_they_were() -> None:
    packed = io.BytesIO(base64.b64decode(tar_base64(FILES)))
    with tarfile.open(fileobj=packed, mode="r:gz") as archive:
        found = [
            {
                "path": f"/{member.name}",
                "mode": f"{member.mode:04o}",
                "content": archive.extractfile(member).read().decode(),
            }
            for member in archive
        ]
        assert {(member.uid, member.gid, member.mtime) for member in archive} == {(0, 0, 0)}
    assert found == FILES


def test_the_same_files_give_the_same_archive() -> None:
    assert tar_base64(FILES) == tar_base64(FILES)
