# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is wrong is said once, with the variable, its value and the fix, before anything is
changed or while the release that is served stays."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import BIN, ROOT, Deployment, Run, environment

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


def play(playbook: str, *arguments: str, **variables: str) -> Run:
    ended = subprocess.run(
        [BIN / "ansible-playbook", playbook, *arguments],
        cwd=ROOT,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return Run(ended.returncode, ended.stdout, 0)


def refusal(run: Run) -> str:
    """The one thing that a run complained about, in full and unfolded."""
    said = re.findall(
        r"^\[ERROR\]: (?:Task failed: (?:Action|Module) failed: )?(.*?)(?=^Origin: |\Z)",
        run.output,
        re.MULTILINE | re.DOTALL,
    )
    assert run.code != 0 and len(said) == 1, run.output
    return str(said[0]).strip()


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
STRANGER = "which the inventory does not have as a primitive: there are ec2, ecs, lambda."
REFUSED = [
    ({"app_version": "1.0"}, f"app_version is '1.0': {VERSION}"),
    ({"app_version": "01.2.3"}, f"app_version is '01.2.3': {VERSION}"),
    ({"deployment_name": "My_App"}, f"deployment_name is 'My_App': {NAME}"),
    ({"deployment_name": "a" * 21}, f"deployment_name is '{'a' * 21}': {NAME}"),
    ({"aws_region": "eu-west-99"}, "aws_region is 'eu-west-99', which is no AWS region. Set one"),
    ({"cloud_provider": "gcp"}, "cloud_provider is 'gcp': set local (this machine) or aws."),
    (
        {"app_build_host": "ec2"},
        "app_build_host is 'ec2', a primitive, which nobody logs in to: put a host that SSH",
    ),
    (
        {"app_build_host": "pi"},
        "app_build_host is 'pi', which is no machine of the inventory: put a host that SSH",
    ),
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
    (
        {"primitives": {"instances": {"i": {"primitive_architecture": "arm64"}}}},
        "primitive_architecture of 'i' is 'arm64', and this machine is amd64: set amd64",
    ),
    (
        {
            "app_health_path": "healthz",
            "app_health_codes": "5xx",
            "app_probes": [{"path": "/", "status": 99}],
            "app_instance_reuse": -1,
        },
        "app_health_path is 'healthz': set a path that begins with /, such as /healthz, without "
        "spaces.\napp_health_codes is '5xx': set status codes such as 200, 200,302 or 200-499, "
        "within 200-499.\napp_probes[0].status is '99': set status codes such as 200, 200,302 or "
        "200-499, within 100-599.\napp_instance_reuse is '-1': set a whole number, 1 or more.",
    ),
    ({"canary": "gcp"}, f"canary names gcp, {STRANGER}"),
    (
        {
            "release_order": ["lambda", "gcp"],
            "release_serial": 0,
            "release_pause": "1 min",
            "release_proof_requests": 0,
            "canary_weight": 50,
        },
        f"release_order names gcp, {STRANGER}\n"
        "release_serial is '0': set a whole number, 1 or more.\n"
        "release_pause is '1 min': set a whole number, 0 or more.\n"
        "release_proof_requests is '0': set a whole number, 1 or more.\n"
        "canary_weight is '50': set a whole number, 1 to 49, of per cent.",
    ),
    ({"primitives": weights(1, "half", 1)}, f"primitive_weight of 'ecs' is 'half': {WEIGHT}"),
    ({"primitives": weights(1, 1, -1)}, f"primitive_weight of 'lambda' is '-1': {WEIGHT}"),
    ({"primitives": weights(1000, 1, 1)}, f"primitive_weight of 'ec2' is '1000': {WEIGHT}"),
    (
        {"primitives": weights(0, 0, 0)},
        "primitive_weight is 0 for every primitive (ec2, ecs, lambda): nobody would answer. "
        "Set it above 0 for at least one.",
    ),
    (
        {"primitives": PRIMITIVES | {"pods": {"web": {}}}},
        "Primitive 'web' is in no group that says its kind (its groups: pods, primitives): "
        f"{ONE_KIND}",
    ),
    (
        {"primitives": PRIMITIVES | {"services": {"ec2": {}}}},
        f"Primitive 'ec2' is in the groups instances and services: {ONE_KIND}, under a name of its "
        "own.",
    ),
    (
        {"primitives": {"instances": {"ec2_big": {}}}},
        "Primitive 'ec2_big': name it with lower-case letters, digits and hyphens",
    ),
    (
        {"primitives": {"instances": {"e" * 21: {}}}},
        f"Primitive '{'e' * 21}': name it with lower-case letters, digits and hyphens, and shorter "
        "than 14",
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
    # All that is wrong, at once.
    (
        {"primitives": weights(-1, 1, "half"), "app_version": "1.0", "local_cloud_port": 0},
        f"local_cloud_port is '0': {PORT}\napp_version is '1.0': {VERSION}\n"
        f"primitive_weight of 'ec2' is '-1': {WEIGHT}\n"
        f"primitive_weight of 'lambda' is 'half': {WEIGHT}",
    ),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_inventory_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    run = play("playbooks/checks.yml", "-i", str(inventory(tmp_path, **change)))
    assert refusal(run).startswith(message)


@pytest.mark.parametrize(
    "change",
    [
        {"primitives": many(5), "app_version": "1.2.3-rc.1+build.5"},
        {"primitives": weights(0, 999, 0), "without": "wasm_runtime"},
        {
            "cloud_provider": "aws",
            "primitives": {"instances": {"a": {"primitive_architecture": "arm64"}}},
        },
        {"without": "app_version", "load_balancer_port": "8081"},
        {
            "app_health_path": "/up",
            "app_health_codes": 200,
            "app_probes": [{"path": "/", "status": 401, "text": "log in"}],
            "app_instance_reuse": 128,
        },
        {"groups": {"machines": {"hosts": {"pi": {}}}}, "app_build_host": "pi"},
    ],
)
def test_what_is_right_is_not_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    run = play("playbooks/checks.yml", "-i", str(inventory(tmp_path, **change)))
    assert run.code == 0, run.output


@pytest.mark.parametrize("registered", [False, True])
def test_another_architecture_needs_an_emulator(tmp_path: Path, registered: bool) -> None:
    hosts = {"services": {"s": {"primitive_architecture": "arm64"}}}
    run = play(
        *("playbooks/checks.yml", "-i", str(inventory(tmp_path, primitives=hosts))),
        *("--extra-vars", f"__deployment_emulation={tmp_path if registered else '/nowhere'}"),
    )
    assert (run.code == 0) == registered
    if not registered:
        assert refusal(run) == (
            "primitive_architecture of 's' is 'arm64', and this machine is amd64: run "
            "scripts/arm64-emulation (as root, once after each boot), or set amd64."
        )


@pytest.mark.parametrize("file", ["hosts.yml", "group_vars/all.yml"])
def test_a_name_that_is_there_twice_is_named(tmp_path: Path, file: str) -> None:
    folder = inventory(tmp_path)
    name = {"hosts.yml": "lambda", "group_vars/all.yml": "app_version"}[file]
    text = (folder / file).read_text()
    [line] = re.findall(rf"^ *{name}: .*$", text, re.MULTILINE)
    (folder / file).write_text(text.replace(line, f"{line}\n{line}"))
    run = play("playbooks/checks.yml", "-i", str(folder))
    assert run.code != 0
    assert f"Found duplicate mapping key '{name}'" in run.output


@pytest.fixture
def nothing(tmp_path: Path) -> Iterator[Deployment]:
    """A deployment of which there must be nothing at the end either."""
    made = Deployment("nothing", tmp_path / "cloud", tmp_path / "build")
    yield made
    assert list(tmp_path.iterdir()) == []
    assert made.containers() == [] and made.networks() == [] and made.processes() == []


@pytest.mark.parametrize("mode", [[], ["--check"]])
def test_site_looks_at_the_inventory_first(nothing: Deployment, mode: list[str]) -> None:
    run = nothing.run("site.yml", *mode, "--extra-vars", "app_version=latest")
    assert refusal(run) == f"app_version is 'latest': {VERSION}"
    assert re.findall(r"^PLAY \[(.+)\]", run.output, re.MULTILINE) == ["Check the inputs"]


@pytest.mark.parametrize("mode", [[], ["--check"]])
@pytest.mark.parametrize("variable", ["local_cloud_port", "load_balancer_port"])
def test_a_port_in_use_is_said_before_anything_is_made(
    nothing: Deployment, variable: str, mode: list[str]
) -> None:
    port = {"local_cloud_port": nothing.api_port, "load_balancer_port": nothing.port}[variable]
    with socket.create_server(("127.0.0.1", port)):
        message = refusal(nothing.run("site.yml", *mode))
    assert re.search(rf"port {port} is in use by \S+ \(pid {os.getpid()}\)", message)
    assert f"set {variable} to a free port" in message


def test_an_engine_that_does_not_answer_is_said_before_anything_is_made(
    nothing: Deployment,
) -> None:
    run = play("site.yml", *nothing.variables(), DOCKER_HOST="unix:///nowhere/docker.sock")
    message = refusal(run)
    assert "Docker is not reachable at unix:///nowhere/docker.sock" in message
    assert "`make setup`" in message and "DOCKER_HOST" in message


def test_aws_needs_a_region_and_a_name_only() -> None:
    given = yaml.safe_load((ROOT / "inventories/aws/group_vars/all.yml").read_text())
    how = {"cloud_provider", "aws_environment", "ansible_connection", "ansible_python_interpreter"}
    assert given.keys() - how == {"aws_region", "deployment_name"}
    assert ": {" not in (ROOT / "inventories/aws/hosts.yml").read_text().partition("all:")[2]


@pytest.mark.parametrize("mode", [[], ["--check"]])
def test_aws_without_credentials_says_what_is_missing(tmp_path: Path, mode: list[str]) -> None:
    run = play(
        *["site.yml", "-i", "inventories/aws", *mode],
        HOME=str(tmp_path),
        AWS_EC2_METADATA_DISABLED="true",
    )
    message = refusal(run)
    assert message.startswith("No AWS account to deploy to: ")
    assert "Unable to locate credentials. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and" in message
    assert run.changed == 0


# --- while a release is served ------------------------------------------------------------------

PUBLISH = "tests/e2e/publish.yml"
Playbook = Callable[..., Run]


@pytest.fixture(scope="module")
def playbook(
    deployment: Deployment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Playbook]:
    """Runs a playbook on a deployment of one service, which serves release 1.0.0."""
    folder = inventory(tmp_path_factory.mktemp("inventory"), {"services": {"ecs": {}}})

    def run(name: str, *arguments: str, **variables: str) -> Run:
        extra = ["--extra-vars", json.dumps(variables)]
        return deployment.run(name, "-i", str(folder), *extra, *arguments)

    first = run("site.yml")
    assert first.code == 0, first.output
    yield run
    # The short way, which leaves the images to `deployment`; test_site.py is about the long one.
    cloud = ["--name", deployment.name, "--home", str(deployment.home)]
    subprocess.run(
        [BIN / "python", "-m", "local_cloud", "purge", *cloud],
        env=environment(PYTHONPATH=str(ROOT / "roles/local_cloud/files")),
        check=True,
    )


def served(deployment: Deployment) -> dict[str, Any]:
    """All that a run that fails must leave as it was."""
    [bucket] = deployment.client("s3").list_buckets()["Buckets"]
    objects = deployment.client("s3").list_objects_v2(Bucket=bucket["Name"])["Contents"]
    return {
        "answer": deployment.ask(),
        "containers": deployment.running(),
        "share": sorted((deployment.home / "efs").rglob("*")),
        "bucket": {item["Key"]: item["ETag"] for item in objects},
    }


@pytest.fixture
def component(deployment: Deployment, playbook: Playbook, tmp_path: Path) -> Path:
    with tarfile.open(deployment.build / "app-1.0.0.tar") as bundle:
        bundle.extract("app.wasm", tmp_path, filter="data")
    return tmp_path / "app.wasm"


def truncated(good: bytes) -> bytes:
    return good[: len(good) // 2]


def core_module(good: bytes) -> bytes:
    """The component holds the module that it was made of: what a wrong linker would leave."""
    return good[good.index(b"\0asm\x01\0\0\0", 8) :]


def other(good: bytes) -> bytes:
    """As good, but for a custom section named `x`."""
    return good + b"\0\x02\x01x"


@pytest.mark.parametrize(
    ("change", "digest", "message"),
    [
        (truncated, "", "app.wasm is truncated"),
        (core_module, "", "app.wasm is a core WebAssembly module, not a component"),
        (other, "0" * 64, f", expected {'0' * 64}: it is another file"),
        (None, "", "the file does not exist"),
    ],
)
def test_a_component_that_is_not_good_is_not_published(
    deployment: Deployment,
    playbook: Playbook,
    component: Path,
    change: Callable[[bytes], bytes] | None,
    digest: str,
    message: str,
) -> None:
    before = served(deployment)
    if change:
        component.write_bytes(change(component.read_bytes()))
    else:
        component.unlink()
    given = {"app_wasm": str(component), "app_wasm_sha256": digest, "app_version": "1.0.1"}
    said = refusal(playbook("site.yml", "--limit", "builder", **given))
    assert said.startswith(f"app_wasm: {component}: ") and message in said
    assert served(deployment) == before


def test_a_release_never_changes(
    deployment: Deployment, playbook: Playbook, component: Path
) -> None:
    before = served(deployment)
    old = sha256(component.read_bytes()).hexdigest()
    component.write_bytes(other(component.read_bytes()))
    new = sha256(component.read_bytes()).hexdigest()
    assert refusal(playbook(PUBLISH, app_wasm=str(component))) == (
        f"Release 1.0.0 exists with another file (sha256 {old}, this one is {new}). "
        "Releases never change: set app_version to a new version."
    )
    assert served(deployment) == before


def test_a_build_that_fails_publishes_nothing(
    deployment: Deployment, playbook: Playbook, tmp_path: Path
) -> None:
    before = served(deployment)
    source = tmp_path / "app"
    shutil.copytree(ROOT / "runtime/app", source, ignore=shutil.ignore_patterns("target"))
    code = source / "src/lib.rs"
    code.write_text(code.read_text().replace("let mut headers", "let headers"))
    run = playbook("site.yml", app_source=str(source), app_version="1.0.1")
    assert run.code != 0
    assert "app: cargo build failed:\nerror[E0596]: cannot borrow `headers`" in run.output
    assert "Nothing was published, and the release that is served stays" in run.text
    assert served(deployment) == before


@pytest.fixture
def small_share(deployment: Deployment, playbook: Playbook) -> Iterator[Path]:
    """The share on a disk of its own, with room for one release but not for two."""
    [share] = (deployment.home / "efs").glob("fs-*/app")
    files = deployment.home / "files"
    subprocess.run(["cp", "--archive", share, files], check=True)
    release = sum(file.stat().st_size for file in (share / "releases").rglob("*") if file.is_file())
    room = f"size={release * 3 // 2},uid=1000,gid=1000,mode=755"
    mount = ["mount", "-t", "tmpfs", "-o", room, "tmpfs", str(share)]
    if subprocess.run(mount, check=False).returncode:
        pytest.skip("mounting needs root")
    subprocess.run(["cp", "--archive", f"{files}/.", share], check=True)
    yield share
    subprocess.run(["umount", "--lazy", str(share)], check=True)


# Last: what it publishes is gone with its disk.
def test_a_full_share_leaves_the_old_release_and_a_second_run_repairs(
    deployment: Deployment, playbook: Playbook, small_share: Path
) -> None:
    before = deployment.ask()
    run = playbook(PUBLISH, app_version="1.0.1")
    assert "could not publish release 1.0.1: no space left on /mnt/app. " in run.text, run.output
    assert "Release 1.0.0 is still served. Remove old releases or give the share" in run.text
    assert deployment.ask() == before
    assert (small_share / "current").readlink().name == "1.0.0"
    assert [path.name for path in (small_share / "releases").glob("[!.]*")] == ["1.0.0"]

    subprocess.run(["mount", "-o", "remount,size=64m", str(small_share)], check=True)
    again = playbook(PUBLISH, app_version="1.0.1")
    assert again.code == 0, again.output
    assert (small_share / "current").readlink().name == "1.0.1"
    published = (small_share / "current/app.wasm").read_bytes()
    assert published == (small_share / "releases/1.0.0/app.wasm").read_bytes()
