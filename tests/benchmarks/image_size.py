#!/usr/bin/env python3
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each MB of the runtime image is. Arguments: other images of it, say for arm64."""

from __future__ import annotations

import sys
import tarfile
import tempfile
from collections import Counter

import docker
from _subjects import created, prepare, table

# By the start of a path; what the engine adds to every container is none of the image.
PARTS = {
    "usr/local/bin/wasmtime": "wasmtime, without symbols",
    "opt/extensions/lambda-adapter": "Lambda Web Adapter, static",
    "lib": "glibc: six libraries, the loader twice",
    "bin": "shell, cat, sleep, uname",
    "usr/local/bin/serve": "entry point",
}


def parts(image: str) -> Counter[str]:
    sizes: Counter[str] = Counter()
    with tempfile.TemporaryFile() as archive, created(image) as container:
        archive.writelines(container.export())
        archive.seek(0)
        with tarfile.open(fileobj=archive) as files:
            for file in files:
                for start, part in PARTS.items():
                    if file.name.startswith(start):
                        sizes[part] += file.size
    return sizes


def main() -> None:
    engine = docker.from_env()
    for image in [prepare().images["runtime"], *sys.argv[1:]]:
        found = engine.images.get(image).attrs
        rows = [[part, f"{size / 1e6:.2f}"] for part, size in parts(image).most_common()]
        total = found["Size"] / 1e6
        table([f"runtime image, {found['Architecture']}", "MB"], [*rows, ["all", f"{total:.2f}"]])
        print(f"{total:.1f} MB (wanted: 60 or less)\n")


if __name__ == "__main__":
    main()
