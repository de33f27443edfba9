# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.multicompute.spin.plugins.test import aws


@pytest.mark.parametrize("name", ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"])
def test_regions_of_every_partition(name: str) -> None:
    assert aws.aws_region(name)


@pytest.mark.parametrize("name", ["", "eu-central", "eu-central-1a", "EU-CENTRAL-1", None, 1, []])
def test_what_is_no_region(name: object) -> None:
    assert not aws.aws_region(name)


def test_without_botocore_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws, "MISSING", ImportError("no botocore"))
    with pytest.raises(AnsibleFilterError, match="needs the Python package botocore"):
        aws.aws_region("us-east-1")


def ansible(folder: Path, *command: str) -> str:
    program, *arguments = command
    done = subprocess.run(
        [Path(sys.executable).parent / program, *arguments],
        env={name: value for name, value in os.environ.items() if name != "ANSIBLE_CONFIG"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_ansible_finds_test_and_documentation(tmp_path: Path) -> None:
    assertion = "that=\"'eu-west-1' is multicompute.spin.aws_region\""
    command = ["-i", "localhost,", "-m", "ansible.builtin.assert", "-a", assertion]
    assert "All assertions passed" in ansible(tmp_path, "ansible", "localhost", *command)
    shown = ansible(tmp_path, "ansible-doc", "-t", "test", "multicompute.spin.aws_region")
    assert "endpoint data of the installed botocore" in " ".join(shown.split())
