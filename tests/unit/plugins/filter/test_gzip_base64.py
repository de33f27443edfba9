# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import base64
import gzip

from ansible_collections.multicompute.spin.plugins.filter.gzip_base64 import gzip_base64


def test_a_text_comes_back_and_is_always_packed_alike() -> None:
    text = "#!/bin/sh\necho ü\n" * 100
    packed = gzip_base64(text)
    assert gzip.decompress(base64.b64decode(packed)).decode() == text
    assert len(packed) < len(text) / 2
    assert gzip_base64(text) == packed
