# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is wrong is said once, with the variable, its value and the fix, before anything is
changed or while the release that is served stays."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import BIN, ROOT, environment

Hosts = dict[str, dict[str, Any]]
PRIMITIVES: dict[str, Hosts] = {
    "instances": {"ec2": {}},
    "services": {"ecs": {}},
    "functions": {"lambda": {}},
}


def inventory(
    folder: Path,
    primitives: dict[str, Hosts] | None = None,
    groups: dict[str, Any] | None = None,
    without: str = "",
    **variables: Any,
) -> Path:
    """The local inventory with something changed."""
    known = yaml.safe_load((ROOT / "inventories/local/group_vars/all.yml").read_text())
    known |= variables
    known.pop(without, None)
    kinds = PRIMITIVES if primitives is None else primitives
    children = {
        "cloud": {"hosts": {"account": {}}},
        "builder": {"hosts": {"workstation": {}}},
        "primitives": {"children": {kind: {"hosts": hosts} for kind, hosts in kinds.items()}},
    } | (groups or {})
    (folder / "hosts.yml").write_text(
        yaml.safe_dump({"all": {"children": children}}, sort_keys=False)
    )
    (folder / "group_vars").mkdir()
    (folder / "group_vars/all.yml").write_text(yaml.safe_dump(known))
    return folder


def play(playbook: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "ansible-playbook", playbook, *arguments],
        cwd=ROOT,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


def errors(output: str) -> list[str]:
    """What Ansible says is wrong, in full and unfolded."""
    found = re.findall(
        r"^\[ERROR\]: (?:Task failed: (?:Action failed: |Module failed: )?)?(.*?)(?=^Origin: |^$|\Z)",
        output,
        re.MULTILINE | re.DOTALL,
    )
    return [message.strip() for message in found]


def weights(*given: Any) -> dict[str, Hosts]:
    pairs = zip(PRIMITIVES.items(), given, strict=True)
    return {kind: {name: {"primitive_weight": w} for name in hosts} for (kind, hosts), w in pairs}


def many(count: int) -> dict[str, Hosts]:
    return {"functions": {f"f{number}": {} for number in range(count)}}


VERSION = "set a semantic version such as 1.2.3."
PORT = "set a TCP port, 1 to 65535."
NAME = "use 2 to 20 lower-case letters, digits and hyphens, starting with a letter"
WEIGHT = "set a whole number, 0 to 999."
ONE_KIND = "put it into exactly one of instances, services, functions"
REFUSED = [
    ({"app_version": "1.0"}, f"app_version is '1.0': {VERSION}"),
    ({"app_version": 1.1}, f"app_version is '1.1': {VERSION}"),
    ({"app_version": "01.2.3"}, f"app_version is '01.2.3': {VERSION}"),
    ({"app_version": "latest"}, f"app_version is 'latest': {VERSION}"),
    ({"deployment_name": "My_App"}, f"deployment_name is 'My_App': {NAME}"),
    ({"deployment_name": "a" * 21}, f"deployment_name is '{'a' * 21}': {NAME}"),
    ({"deployment_name": 7}, f"deployment_name is '7': {NAME}"),
    ({"aws_region": "eu-west-99"}, "aws_region is 'eu-west-99', which is no AWS region. Set one"),
    ({"cloud_provider": "gcp"}, "cloud_provider is 'gcp': set local (this machine) or aws."),
    ({"load_balancer_port": "http"}, f"load_balancer_port is 'http': {PORT}"),
    ({"load_balancer_port": 65536}, f"load_balancer_port is '65536': {PORT}"),
    ({"local_cloud_port": 0}, f"local_cloud_port is '0': {PORT}"),
    (
        {"local_cloud_port": 8080},
        "local_cloud_port and load_balancer_port are both 8080: set two different ports.",
    ),
    (
        {"primitives": {"functions": {"f": {"wasm_runtime": "wasmer"}}}},
        "wasm_runtime of 'f' is 'wasmer': set spin or wasmtime.",
    ),
    (
        {"primitives": {"functions": {"f": {"primitive_architecture": "x86_64"}}}},
        "primitive_architecture of 'f' is 'x86_64': set amd64 or arm64.",
    ),
    ({"primitives": weights(1, "half", 1)}, f"primitive_weight of 'ecs' is 'half': {WEIGHT}"),
    ({"primitives": weights(1, 1, -1)}, f"primitive_weight of 'lambda' is '-1': {WEIGHT}"),
    ({"primitives": weights(1000, 1, 1)}, f"primitive_weight of 'ec2' is '1000': {WEIGHT}"),
    ({"primitives": weights(0.5, 1, 1)}, f"primitive_weight of 'ec2' is '0.5': {WEIGHT}"),
    (
        {"primitives": weights(0, 0, 0)},
        "primitive_weight is 0 for every primitive (ec2, ecs, lambda): nobody would answer. "
        "Set it above 0 for at least one.",
    ),
    (
        {"primitives": PRIMITIVES | {"pods": {"web": {}}}},
        f"Primitive 'web' is in no group that says its kind (its groups: pods, primitives): {ONE_KIND}",
    ),
    (
        {"primitives": PRIMITIVES | {"services": {"ec2": {}}}},
        f"Primitive 'ec2' is in the groups instances and services: {ONE_KIND}, under a name of its own.",
    ),
    (
        {"primitives": {"instances": {"ec2_big": {}}}},
        "Primitive 'ec2_big': name it with lower-case letters, digits and hyphens",
    ),
    (
        {"primitives": {"instances": {"e" * 21: {}}}},
        f"Primitive '{'e' * 21}': name it with lower-case letters, digits and hyphens, and shorter "
        "than 20",
    ),
    (
        {"primitives": many(6)},
        "Group 'primitives' has 6 hosts (f0, f1, f2, f3, f4, f5): put one to five into it, "
        "since a load balancer's action takes five target groups.",
    ),
    ({"primitives": {}}, "Group 'primitives' has 0 hosts (): put one to five into it"),
    (
        {"groups": {"cloud": {"hosts": {"a": {}, "b": {}}}}},
        "Group 'cloud' has 2 hosts (a, b): put exactly one into it",
    ),
    ({"groups": {"builder": {}}}, "Group 'builder' has 0 hosts (): put exactly one into it"),
    *(
        (
            {"without": name},
            f"{name} is not set: set it for all hosts in the inventory's group_vars",
        )
        for name in ("deployment_name", "aws_region", "cloud_provider", "aws_environment")
    ),
    ({"aws_region": None}, "aws_region is not set: set it for all hosts"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_inventory_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    run = play("playbooks/checks.yml", "-i", str(inventory(tmp_path, **change)))
    assert run.returncode == 2, run.stdout
    said = errors(run.stdout)
    assert len(said) == 1 and said[0].startswith(message), run.stdout


@pytest.mark.parametrize(
    "change",
    [
        {"primitives": many(5), "app_version": "1.2.3-rc.1+build.5"},
        {"primitives": weights(0, 999, 0), "without": "wasm_runtime"},
        {"without": "app_version", "load_balancer_port": "8081"},
        {"primitives": {"services": {"a": {"primitive_architecture": "arm64"}}}},
    ],
)
def test_what_is_right_is_not_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    run = play("playbooks/checks.yml", "-i", str(inventory(tmp_path, **change)))
    assert run.returncode == 0, run.stdout
