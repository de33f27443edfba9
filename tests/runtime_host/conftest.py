"""Real containers with systemd as PID 1, the real runtime and the real app.

APP_WASM names a component that is built already, so that no toolchain is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import docker
import pytest
import testinfra
from docker.models.containers import Container

from ..local_cloud.conftest import until

CHECKOUT = Path(__file__).parents[2]
HERE = Path(__file__).parent
RUNTIME = CHECKOUT / "runtime"
VERSION = "0.0.1"
FILE_SYSTEM = "fs-0123456789abcdef0"
ACCESS_POINT = "fsap-0123456789abcdef0"

# What lets systemd run as PID 1 without --privileged.
SYSTEMD: dict[str, Any] = {
    "cgroupns": "host",
    "cap_add": ["SYS_ADMIN"],
    "tmpfs": {"/run": "", "/run/lock": "", "/tmp": "exec"},
    "ports": {"8000/tcp": ("127.0.0.1", None)},
    "detach": True,
}

# A machine as it comes: no runtime, unit or user; but, as Amazon Linux, curl and a mount helper.
# And with HAProxy, for a package is nothing that the role takes away.
PLAIN = """
FROM multicompute/test-instance
RUN apt-get -qq update && apt-get -qq install --yes --no-install-recommends curl haproxy \
 && rm -rf /usr/local/bin/* /etc/systemd/system/multicompute* && userdel multicompute
"""


@dataclass(frozen=True)
class Answer:
    status: int
    body: str
    headers: dict[str, str]


@dataclass
class Machine:
    """A container that is a whole machine."""

    container: Container

    @property
    def name(self) -> str:
        return str(self.container.name)

    @property
    def host(self) -> Any:
        return testinfra.get_host(f"docker://{self.name}")

    def run(self, *command: str) -> str:
        code, output = self.container.exec_run(list(command))
        assert code == 0, f"{command}: {output.decode()}"
        return str(output.decode())

    def ask(self, path: str = "/") -> Answer | None:
        """The server's answer, None while there is none."""
        self.container.reload()
        port = int(self.container.ports["8000/tcp"][0]["HostPort"])
        connection = HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(), dict(response.getheaders()))
        except (OSError, ValueError):
            return None
        finally:
            connection.close()

    def answer(self, seconds: float = 30) -> Answer:
        try:
            return until(self.ask, seconds, f"an answer of {self.name}")  # type: ignore[no-any-return]
        except AssertionError:
            print(self.run("journalctl", "--no-pager", "--lines=60"))
            raise


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    return docker.from_env()


@pytest.fixture(scope="module")
def run(engine: docker.DockerClient) -> Iterator[Callable[..., Container]]:
    """Run a container that is gone after the module's tests."""
    started: list[Container] = []

    def start(image: str, **options: Any) -> Container:
        name = f"multicompute-test-{uuid.uuid4().hex[:8]}"
        started.append(engine.containers.run(image, name=name, **options))
        return started[-1]

    yield start
    for container in started:
        container.remove(force=True, v=True)


@pytest.fixture(scope="module")
def boot(run: Callable[..., Container]) -> Callable[..., Machine]:
    """Boot a machine; `volumes` as in docker-py."""

    def start(image: str, volumes: dict[str, dict[str, str]] | None = None) -> Machine:
        cgroup = {"/sys/fs/cgroup": {"bind": "/sys/fs/cgroup", "mode": "rw"}}
        return Machine(run(image, volumes=cgroup | (volumes or {}), **SYSTEMD))

    return start


def files(machine: Machine) -> set[str]:
    """What an administrator would find. Users leave backups of the password file behind."""
    places = "find /etc /home /mnt /opt /root /usr/local /var/lib /srv -xdev"
    ignored = r"-name '*-' -o -path /var/lib/systemd -o -path /root/.ansible"
    return set(machine.run("sh", "-c", f"{places} \\( {ignored} \\) -prune -o -print").split())


@pytest.fixture(scope="module")
def boot_plain(
    boot: Callable[..., Machine], plain_image: str, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Machine]:
    """Boot a machine on which nothing is installed, and wait until it is up."""
    seed = tmp_path_factory.mktemp("seed")
    (seed / "meta-data").write_text("instance-id: on-premises\n")
    (seed / "user-data").write_text("#cloud-config\n")

    def start(volumes: dict[str, dict[str, str]] | None = None) -> Machine:
        cloud_init = {str(seed): {"bind": "/var/lib/cloud/seed/nocloud", "mode": "ro"}}
        machine = boot(plain_image, cloud_init | (volumes or {}))
        machine.host.run("systemctl is-system-running --wait")
        machine.host.run("cloud-init status --wait")
        return machine

    return start


def playbook(name: str, *arguments: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), HERE / name, *arguments]
        + ["--extra-vars", json.dumps(variables)],
        cwd=CHECKOUT,
        env=os.environ | {"ANSIBLE_PIPELINING": "true", "ANSIBLE_NOCOLOR": "true"},
        capture_output=True,
        text=True,
    )


@dataclass
class Converge:
    """Runs the role runtime_host on one machine."""

    machine: Machine
    variables: dict[str, Any] = field(default_factory=dict)
    output: str = ""

    def __call__(self, *arguments: str, fails: bool = False, **variables: Any) -> int:
        """How many tasks changed something."""
        result = playbook(
            "host.yml",
            *("--inventory", f"{self.machine.name},", *arguments),
            ansible_connection="community.docker.docker",
            ansible_python_interpreter="/usr/bin/python3",
            **self.variables | variables,
        )
        self.output = result.stdout + result.stderr
        assert (result.returncode != 0) == fails, self.output
        return int(re.findall(r"changed=(\d+)", result.stdout)[-1])


@dataclass(frozen=True)
class Archive:
    """An archive with a runtime, as the roles' variables name it."""

    file: str
    sha256: str


@dataclass
class Mirror:
    """A web server on the Docker bridge: containers reach it, other machines don't."""

    directory: Path
    url: str

    def add(self, name: str, members: dict[str, Path]) -> Archive:
        path = self.directory / name
        if path.suffix == ".whl":
            with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=1) as wheel:
                for member, source in members.items():
                    wheel.write(source, member)
        else:
            fast = {"preset" if path.suffix == ".xz" else "compresslevel": 1}
            with tarfile.open(path, f"w:{path.suffix[1:]}", **fast) as archive:
                for member, source in members.items():
                    archive.add(source, member)
        return Archive(name, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture(scope="session")
def mirror(
    engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mirror]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    directory = tmp_path_factory.mktemp("mirror")
    bridge = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"]
    address = str(next(ip_network(bridge).hosts()))
    server = ThreadingHTTPServer((address, 0), partial(Quiet, directory=str(directory)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Mirror(directory, f"http://{address}:{server.server_port}")
    server.shutdown()


@pytest.fixture(scope="session")
def mirrored_wasmtime(mirror: Mirror, release: Release) -> dict[str, Any]:
    """Variables with which a machine gets wasmtime from the mirror, not the package index."""
    archive = mirror.add("wasmtime-1.tar.gz", {"wasmtime-1/wasmtime": release.wasmtime})
    return {
        "wasm_runtime": "wasmtime",
        "wasm_runtime_wasmtime_source": "release",
        "wasm_runtime_release_url": mirror.url,
        "wasm_runtime_release_file": archive.file,
        "wasm_runtime_release_sha256": {"amd64": archive.sha256, "arm64": archive.sha256},
    }


@dataclass(frozen=True)
class Release:
    """What is served, and by which wasmtime. `attached` is laid out as the local cloud does."""

    attached: Path
    wasmtime: Path

    @property
    def share(self) -> Path:
        return self.attached / FILE_SYSTEM / "app"

    @property
    def directory(self) -> Path:
        return self.share / "releases" / VERSION

    @property
    def wasmtime_version(self) -> str:
        output = subprocess.run([self.wasmtime, "--version"], capture_output=True, text=True)
        return output.stdout.split()[1]


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    built = playbook(
        "release.yml",
        "--inventory",
        "localhost,",
        app_version=VERSION,
        app_wasm=os.environ.get("APP_WASM", ""),
    )
    assert built.returncode == 0, built.stdout + built.stderr
    made = Release(tmp_path_factory.mktemp("file-systems"), CHECKOUT / "build/wasmtime")
    made.directory.mkdir(parents=True)
    with tarfile.open(CHECKOUT / f"build/app-{VERSION}.tar") as bundle:
        bundle.extractall(made.directory, filter="data")
    (made.share / "current").symlink_to(f"releases/{VERSION}")
    point = {"file_system": FILE_SYSTEM, "path": "/app"}
    (made.attached / "access-points.json").write_text(json.dumps({ACCESS_POINT: point}))
    return made


@pytest.fixture(scope="session")
def instance_image(
    engine: docker.DockerClient, release: Release, tmp_path_factory: pytest.TempPathFactory
) -> str:
    context = tmp_path_factory.mktemp("instance")
    units = RUNTIME.glob("*.service")
    for source in [
        *(RUNTIME / "instance").iterdir(),
        *units,
        RUNTIME / "serve",
        RUNTIME / "follow-tags",
        RUNTIME / "ship-journal",
        release.wasmtime,
    ]:
        shutil.copy(source, context)
    tag = "multicompute/test-instance"
    return str(engine.images.build(path=str(context), tag=tag, rm=True)[0].id)


@pytest.fixture(scope="session")
def plain_image(
    engine: docker.DockerClient, instance_image: str, tmp_path_factory: pytest.TempPathFactory
) -> str:
    context = tmp_path_factory.mktemp("plain")
    (context / "Dockerfile").write_text(PLAIN)
    return str(engine.images.build(path=str(context), tag="multicompute/test-plain", rm=True)[0].id)
