# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real Packer, against a local cloud of the tests' own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.multicompute.spin.tests.local_cloud.conftest import (
    REGION,
    LocalCloud,
    local_cloud,
    make_local_cloud,
)

__all__ = ["local_cloud", "make_local_cloud"]

CHECKOUT = Path(__file__).parents[2]
TEMPLATES = Path(__file__).parent / "templates"
MACHINE = "multicompute/test-machine"


def ansible(program: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(Path(sys.executable).with_name(program)), *arguments],
        cwd=CHECKOUT,
        env=os.environ | {"ANSIBLE_NOCOLOR": "true"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@dataclass
class Run:
    """One task that runs packer_build."""

    process: subprocess.Popen[str]
    _end: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def progress(self) -> str:
        return self._ended()[0].partition("RESULT")[0]

    @property
    def result(self) -> dict[str, Any]:
        output, errors = self._ended()
        assert "=> {" in output, output + errors
        return json.loads("{" + output.split("=> {", 1)[1])  # type: ignore[no-any-return]

    def _ended(self) -> tuple[str, str]:
        self._end = self._end or self.process.communicate(timeout=120)
        return self._end


@pytest.fixture
def packer_build(local_cloud: LocalCloud) -> Callable[..., Run]:
    """Start the module packer_build; options whose name begins with PACKER_ are environment."""

    def start(*flags: str, **options: Any) -> Run:
        environment = {name: options.pop(name) for name in list(options) if name.isupper()}
        connection = {
            "endpoint_url": local_cloud.endpoint,
            "region": REGION,
            "access_key": "test",
            "secret_key": "test-secret-key",
        }
        process = ansible(
            "ansible",
            *("localhost", "--inventory", "localhost,", "--connection", "local"),
            *("--extra-vars", f"ansible_python_interpreter={sys.executable}"),
            *("--module-name", "multicompute.spin.packer_build", *flags),
            *("--args", json.dumps(connection | options)),
            ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal",
            ANSIBLE_CALLBACK_RESULT_FORMAT="json",
            ANSIBLE_LOAD_CALLBACK_PLUGINS="true",
            **environment,
        )
        return Run(process)

    return start
