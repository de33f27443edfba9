# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small apps that know nothing of this project, and one that fails as it is told to."""

from __future__ import annotations

from .build import (
    APPS,
    BEHAVIOURS,
    app_python,
    broken,
    demanding,
    javascript,
    spin_sdk,
    waki,
    wasmtime,
)

__all__ = [
    "APPS",
    "BEHAVIOURS",
    "app_python",
    "broken",
    "demanding",
    "javascript",
    "spin_sdk",
    "waki",
    "wasmtime",
]
