# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The README shows no command that no test runs."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
E2E = "tests/e2e/test_site.py"
RELEASE = "tests/e2e/test_release.py"
BAKE = "molecule/packer/molecule.yml"
HOSTS = "tests/runtime_host/test_hosts_playbook.py"
CLUSTER = "tests/kubernetes/test_cluster.py"
# Command without -e and --check, which the tests of the same file cover: who runs it.
RUN_BY = {
    # `make site` and `make destroy` run scripts/setup first, as `make test` does.
    "make site": E2E,
    "make destroy": E2E,
    "make setup": ".ci/run",
    "make test": ".ci/run",
    "make molecule": ".ci/run",
    "curl -i http://127.0.0.1:8080/": E2E,
    "ansible-playbook site.yml": E2E,
    "ansible-playbook site.yml --limit lambda": E2E,
    "ansible-playbook site.yml -i inventories/local -i inventories/local-arm64": RELEASE,
    "ansible-playbook playbooks/status.yml": E2E,
    "ansible-playbook playbooks/destroy.yml": E2E,
    "ansible-playbook playbooks/release.yml": RELEASE,
    "ansible-playbook playbooks/rollback.yml": RELEASE,
    "ansible-playbook playbooks/shift.yml": RELEASE,
    "ansible-playbook playbooks/bake.yml": BAKE,
    # Without an account: that it says so. With one it is the local command on another inventory.
    "ansible-playbook site.yml -i inventories/aws": "tests/e2e/test_bad_input.py",
    "ansible-playbook playbooks/status.yml -i inventories/aws": E2E,
    "ansible-playbook playbooks/destroy.yml -i inventories/aws": E2E,
    "ansible-playbook playbooks/hosts.yml -i inventories/onprem": HOSTS,
    # By `make test-kubernetes`; rendering and refusals by tests/unit/roles/test_kubernetes.py.
    "ansible-playbook playbooks/kubernetes.yml -i inventories/kubernetes": CLUSTER,
    "make test-kubernetes": "Makefile",
    "ansible-test integration --local packer_build wasm_release_info": (
        "tests/integration/test_targets.py"
    ),
    # On inventories of containers and of an EC2 instance.
    "ansible-playbook playbooks/verify.yml -i inventories/onprem": ".config/molecule/config.yml",
}


def commands() -> set[str]:
    text = (ROOT / "README.md").read_text()
    found = re.findall(r"^(?:\| `|  )?((?:make|ansible-\w+|curl) [^`|#\n]+)", text, re.M)
    plain = (re.sub(r" (-e \S+|--check|--diff)", "", command) for command in found)
    return {command.strip() for command in plain}


def test_every_command_of_the_readme_is_run_by_a_test() -> None:
    assert commands() <= RUN_BY.keys()
    assert commands() >= {"make site", "ansible-playbook site.yml"}


def test_the_tests_named_run_the_playbooks() -> None:
    for command, test in RUN_BY.items():
        playbook = re.search(r"\S+\.yml", command)
        assert (ROOT / test).exists()
        if playbook:
            assert playbook[0] in (ROOT / test).read_text(), (command, test)
