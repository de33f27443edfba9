# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packer's machine-readable output, as version 1.6.6 gave it (shortened)."""

from __future__ import annotations

from ansible_collections.multicompute.spin.plugins.module_utils._packer import (
    Record,
    artifacts,
    complaint,
    records,
    temporary,
)

BAKED = """\
1,,ui,say,==> amazon-ebs.spin: Creating temporary keypair: packer_6b04-key
1,,ui,say,==> amazon-ebs.spin: Creating temporary security group for this instance: packer_6b04-gr
1,,ui,message,    docker.spin: Container ID: 0b05eb217047
1,,ui,say,==> amazon-ebs.spin: No volumes to clean up%!(PACKER_COMMA) skipping
1,amazon-ebs.spin,artifact-count,2
1,amazon-ebs.spin,artifact,0,builder-id,mitchellh.amazonebs
1,amazon-ebs.spin,artifact,0,id,us-east-1:ami-a%!(PACKER_COMMA)eu-west-1:ami-b
1,amazon-ebs.spin,artifact,0,string,AMIs were created:\\nus-east-1: ami-a\\neu-west-1: ami-b\\n
1,amazon-ebs.spin,artifact,0,files-count,0
1,amazon-ebs.spin,artifact,0,end
1,amazon-ebs.spin,artifact,1,id,us-east-1:ami-a%!(PACKER_COMMA)eu-west-1:ami-b
1,docker.spin,artifact,0,id,sha256:3924bf62
1,docker.spin,artifact,1,id,multicompute/spin:amd64-1
"""

FAILED = """\
1,,ui,say,==> docker.spin: Provisioning with shell script: packer/clean
1,,ui,message,    docker.spin: an earlier step
1,,ui,say,==> docker.spin: Running local shell script: /tmp/packer-shell1
1,,ui,message,    amazon-ebs.spin: the other build
1,,ui,message,    docker.spin: E   assert 1\\n    docker.spin: E  where 1 = f(a%!(PACKER_COMMA)b)
1,,ui,message,    docker.spin:
1,,ui,error,==> docker.spin: 1 failed
1,,ui,say,==> docker.spin: Provisioning step had errors: Running the cleanup
1,,ui,say,==> docker.spin: Killing the container: 0b05eb
1,,error-count,1
1,docker.spin,error,Script exited with non-zero exit status: 1
"""


def test_images_are_read_by_region_and_id_and_once() -> None:
    assert artifacts(records(BAKED)) == {
        "amazon-ebs.spin": [
            {"region": "us-east-1", "id": "ami-a"},
            {"region": "eu-west-1", "id": "ami-b"},
        ],
        "docker.spin": [{"region": None, "id": "multicompute/spin:amd64-1"}],
    }


def test_an_image_without_a_name_keeps_its_digest() -> None:
    said = records("1,docker.spin,artifact,0,id,sha256:3924bf62\n")
    assert artifacts(said) == {"docker.spin": [{"region": None, "id": "sha256:3924bf62"}]}


def test_escapes_are_undone() -> None:
    said = records(BAKED)
    assert said[3].spoken == ("amazon-ebs.spin", ["No volumes to clean up, skipping"])
    assert said[7].data[-1] == "AMIs were created:\nus-east-1: ami-a\neu-west-1: ami-b\n"


def test_what_a_build_makes_for_itself_is_known_by_name() -> None:
    made = temporary(records(BAKED))
    assert made.key_pairs == ["packer_6b04-key"]
    assert made.groups == ["packer_6b04-gr"]
    assert made.containers == ["0b05eb217047"]


def test_a_complaint_has_the_last_lines_of_the_step_that_failed() -> None:
    assert complaint(records(FAILED)) == [
        "docker.spin: Script exited with non-zero exit status: 1",
        "  Running local shell script: /tmp/packer-shell1",
        "  E   assert 1",
        "  E  where 1 = f(a,b)",
        "  1 failed",
    ]


def test_a_complaint_is_short_whatever_was_said() -> None:
    step, *rest = FAILED.splitlines(keepends=True)[2:]
    chatter = [f"1,,ui,message,    docker.spin: line {n}\n" for n in range(1000)]
    lines = complaint(records("".join([step, *chatter, *rest])))
    assert len(lines) == 22
    assert lines[1] == "  Running local shell script: /tmp/packer-shell1"
    assert lines[-1] == "  1 failed"


def test_what_is_said_before_any_build_is_the_complaint() -> None:
    output = "1,,ui,error,Error: Unset variable 'x'\npanic: runtime error\n"
    assert complaint(records(output)) == [
        "Error: Unset variable 'x'",
        "panic: runtime error",
    ]


def test_a_line_cut_off_by_a_crash_is_no_record() -> None:
    assert records("1,amazon-e") == [Record("", "ui", ("error", "1,amazon-e"))]
