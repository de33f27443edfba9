"""The local cloud's machine image, booted with the user data that the role instance gives it."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from .conftest import (
    ACCESS_POINT,
    CHECKOUT,
    FILE_SYSTEM,
    RUNTIME,
    VERSION,
    Machine,
    Mirror,
    Release,
    playbook,
    until,
)

INSTANCE_ID = "i-0123456789abcdef0"


@pytest.fixture(scope="module")
def user_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A seed directory with rendered user data."""

    def render(**variables: Any) -> Path:
        seed = tmp_path_factory.mktemp("seed")
        (seed / "meta-data").write_text(f"instance-id: {INSTANCE_ID}\n")
        defaults = {
            "role_path": str(CHECKOUT / "roles/instance"),
            "instance_baked": True,
            "deployment_name": "test",
            "deployment_release": VERSION,
            "aws_region": "eu-central-1",
            "instance_file_system_id": FILE_SYSTEM,
            "instance_access_point_id": ACCESS_POINT,
            "instance_runtime": "wasmtime",
            "instance_environment": {},
        }
        rendered = playbook(
            "user_data.yml",
            "--inventory",
            "localhost,",
            user_data=str(seed / "user-data"),
            **defaults | variables,
        )
        assert rendered.returncode == 0, rendered.stdout
        return seed

    return render


@dataclass
class Aws:
    """What instances ask of AWS: their tags and credentials, and to take what they log."""

    tags: dict[str, str] = field(default_factory=lambda: {"multicompute:8000": VERSION})
    streams: set[str] = field(default_factory=set)
    events: list[dict[str, Any]] = field(default_factory=list)
    refuses: bool = False
    url: str = ""

    def metadata(self, path: str) -> str:
        item = path.removeprefix("/latest/meta-data/")
        if item.startswith("iam/security-credentials"):
            name = item.removeprefix("iam/security-credentials").strip("/")
            return json.dumps(CREDENTIALS) if name else "instance"
        name = item.removeprefix("tags/instance").strip("/")
        return self.tags.get(name, "") if name else "\n".join(self.tags)

    def logs(self, operation: str, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        assert request["logGroupName"] == "/test/localhost"
        stream = request["logStreamName"]
        if self.refuses:
            return 400, {"__type": "AccessDeniedException", "message": "not yet"}
        if operation == "CreateLogStream":
            self.streams.add(stream)
        elif stream not in self.streams:
            return 400, {"__type": "ResourceNotFoundException"}
        else:
            self.events += request["logEvents"]
        return 200, {}

    @property
    def messages(self) -> list[str]:
        return [event["message"] for event in self.events]


CREDENTIALS = {
    "Code": "Success",
    "AccessKeyId": "test",
    "SecretAccessKey": "test",
    "Token": "test",
    "Expiration": "2999-01-01T00:00:00Z",
}


@pytest.fixture(scope="module")
def aws(engine: docker.DockerClient) -> Iterator[Aws]:
    cloud = Aws()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        def do_GET(self) -> None:  # noqa: N802
            self.answer(200, cloud.metadata(self.path))

        do_PUT = do_GET  # noqa: N815 - any token is good

        def do_POST(self) -> None:  # noqa: N802
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            operation = self.headers["x-amz-target"].partition(".")[2]
            status, answer = cloud.logs(operation, body)
            self.answer(status, json.dumps(answer))

        def log_message(self, *_: Any) -> None:
            pass

    bridge = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"]
    server = ThreadingHTTPServer((str(next(ip_network(bridge).hosts())), 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cloud.url = "http://{}:{}".format(*server.server_address)
    yield cloud
    server.shutdown()


@pytest.fixture(scope="module")
def launch(
    boot: Callable[..., Machine],
    release: Release,
    aws: Aws,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Machine]:
    environment = tmp_path_factory.mktemp("systemd") / "local-cloud.conf"
    variables = f"AWS_EC2_METADATA_SERVICE_ENDPOINT={aws.url} AWS_ENDPOINT_URL={aws.url}"
    environment.write_text(f"[Manager]\nDefaultEnvironment={variables}\n")
    settings = "/etc/systemd/system.conf.d/local-cloud.conf"

    def start(image: str, seed: Path, attached: Path = release.attached) -> Machine:
        return boot(
            image,
            {
                str(attached): {"bind": "/run/local-cloud/efs", "mode": "rw"},
                str(seed): {"bind": "/var/lib/cloud/seed/nocloud", "mode": "ro"},
                str(environment): {"bind": settings, "mode": "ro"},
            },
        )

    return start


@pytest.fixture(scope="module")
def instance(launch: Any, instance_image: str, user_data: Any) -> Machine:
    started = time.monotonic()
    machine: Machine = launch(instance_image, user_data())
    machine.answer()
    print(f"boot to first answer: {time.monotonic() - started:.1f} s")
    return machine


def test_it_answers_as_the_instance_that_it_is(instance: Machine) -> None:
    answer = instance.answer()
    assert (answer.status, answer.body) == (200, "Hello, Fermyon")
    assert answer.headers["x-served-by"] == "localhost"
    assert answer.headers["x-release"] == VERSION
    assert answer.headers["x-instance"] == INSTANCE_ID


def test_every_unit_of_the_boot_came_up(instance: Machine) -> None:
    host = instance.host
    state = until(
        lambda: (s := host.run("systemctl is-system-running").stdout.strip()) != "starting" and s
    )
    assert state == "running", host.run("systemctl --failed").stdout
    status = json.loads(host.run("cloud-init status --format json").stdout)
    assert (status["status"], status["errors"]) == ("done", []), status


def test_the_share_is_the_access_point_and_read_only(instance: Machine) -> None:
    mount = instance.host.mount_point("/mnt/app")
    assert "ro" in mount.options
    assert instance.host.file("/mnt/app/current").linked_to == f"/mnt/app/releases/{VERSION}"
    assert instance.host.run("touch /mnt/app/x").rc != 0


def test_the_server_is_locked_down(instance: Machine) -> None:
    process = instance.host.process.get(comm="wasmtime")
    assert process.user == "multicompute"
    exposure = instance.run(
        "systemd-analyze", "security", "--no-pager", "multicompute@8000.service"
    )
    print(exposure)
    level = float(exposure.split("multicompute@8000.service:")[1].split()[0])
    assert level < 2.0, exposure
    limit = instance.run("systemctl", "show", "--property=MemoryMax", "multicompute@8000.service")
    assert limit.strip() == f"MemoryMax={512 * 2**20}"


def test_a_killed_server_comes_back(instance: Machine) -> None:
    before = instance.host.process.get(comm="wasmtime").pid
    instance.run("systemctl", "kill", "--signal=KILL", "multicompute@8000.service")
    until(
        lambda: (p := instance.host.process.filter(comm="wasmtime")) and p[0].pid != before,
        what="another process",
    )
    assert instance.answer().body == "Hello, Fermyon"


def test_a_server_that_hangs_is_replaced(instance: Machine) -> None:
    def shown(name: str) -> int:
        return int(instance.run("systemctl", "show", "-P", name, "multicompute@8000"))

    faster = "/run/systemd/system/multicompute@8000.service.d/faster.conf"
    instance.run("install", "-D", "/dev/null", faster)
    instance.run("sh", "-c", f"printf '[Service]\nWatchdogSec=4\n' >{faster}")
    instance.run("systemctl", "daemon-reload")
    instance.run("systemctl", "restart", "multicompute@8000.service")
    instance.answer()
    # It goes on for as long as it answers.
    for _ in range(3):
        told = shown("WatchdogTimestampMonotonic")
        until(lambda told=told: shown("WatchdogTimestampMonotonic") != told, what="a sign of life")
    assert shown("NRestarts") == 0

    before = shown("MainPID")
    instance.run("kill", "-STOP", str(before))
    until(lambda: shown("MainPID") not in (0, before), what="another process")
    assert instance.answer().body == "Hello, Fermyon"
    assert "Watchdog timeout" in instance.run(
        "journalctl", "--no-pager", "--unit=multicompute@8000"
    )
    instance.run("rm", faster)
    instance.run("systemctl", "daemon-reload")


def test_a_stop_is_clean_and_a_start_serves_again(instance: Machine) -> None:
    started = time.monotonic()
    instance.run("systemctl", "stop", "multicompute@8000.service")
    assert time.monotonic() - started < 5
    assert "Result=success" in instance.run("systemctl", "show", "multicompute@8000.service")
    assert instance.ask() is None

    # The machine as a whole: systemd takes everything down by itself, and the mount comes back.
    started = time.monotonic()
    instance.container.stop(timeout=20)
    assert time.monotonic() - started < 10
    instance.container.start()
    answer = instance.answer()
    assert answer.headers["x-instance"] == INSTANCE_ID
    assert "ro" in instance.host.mount_point("/mnt/app").options


def test_a_release_comes_up_beside_the_one_that_serves(instance: Machine, aws: Aws) -> None:
    def listening() -> set[str]:
        sockets = instance.host.socket.get_listening_sockets()
        return {port for port in ("8000", "8001") if f"tcp://0.0.0.0:{port}" in sockets}

    aws.tags["multicompute:8001"] = VERSION
    until(lambda: listening() == {"8000", "8001"}, what="two servers")
    assert instance.ask() is not None
    del aws.tags["multicompute:8001"]
    until(lambda: listening() == {"8000"}, what="one server")
    assert "Result=success" in instance.run("systemctl", "show", "multicompute@8001.service")


# Its log


def journal(machine: Machine) -> list[str]:
    """What is to be sent of the machine's journal, in its order."""
    fields = "--output-fields=MESSAGE,_SYSTEMD_UNIT,UNIT,OBJECT_SYSTEMD_UNIT"
    text = machine.run("journalctl", "--no-pager", "--all", "--output=json", fields)
    lines = []
    for entry in map(json.loads, text.splitlines()):
        names = [entry.get(key, "") for key in ("_SYSTEMD_UNIT", "UNIT", "OBJECT_SYSTEMD_UNIT")]
        for name in names:
            if name.startswith("multicompute") and "journal" not in name:
                lines.append(f"{name.removesuffix('.service')}: {entry['MESSAGE']}".rstrip())
                break
    return lines


def test_what_its_units_log_arrives_in_its_log_stream(instance: Machine, aws: Aws) -> None:
    until(lambda: any("Serving HTTP" in line for line in aws.messages), 10, "the server's line")
    assert aws.streams == {INSTANCE_ID}
    assert any(line.startswith("multicompute@8000: Serving HTTP") for line in aws.messages)
    assert any(line.startswith("multicompute-tags: follow-tags: ") for line in aws.messages)
    # What systemd says of a unit is told, too.
    assert any("multicompute@8000: Started multicompute@8000" in line for line in aws.messages)
    exposure = instance.run(
        "systemd-analyze", "security", "--no-pager", "multicompute-journal.service"
    )
    level = float(exposure.split("multicompute-journal.service:")[1].split()[0])
    assert level < 2.0, exposure


def test_nothing_is_lost_or_repeated_by_its_restart_its_machines_or_an_absence_of_aws(
    instance: Machine, aws: Aws
) -> None:
    def everything() -> bool:
        return aws.messages == journal(instance)

    until(everything, 10, "what was logged so far")
    instance.run("systemctl", "restart", "multicompute-journal.service")
    instance.run("systemctl", "restart", "multicompute@8000.service")
    until(everything, 15, "what was logged after a restart")

    aws.refuses = True
    before = len(aws.messages)
    instance.run("systemctl", "restart", "multicompute@8000.service")
    time.sleep(3)
    instance.run("systemctl", "restart", "multicompute-journal.service")
    assert len(aws.messages) == before
    aws.refuses = False
    until(everything, 30, "what was logged while AWS refused it")

    # The end of a machine is told before it ends.
    before = len(aws.messages)
    instance.container.stop(timeout=20)
    assert any("Stopped multicompute@8000" in line for line in aws.messages[before:])
    instance.container.start()
    instance.answer()
    until(everything, 30, "what was logged after a boot")


def test_a_flood_arrives_whole_and_hurts_nobody(instance: Machine, aws: Aws) -> None:
    unit = "multicompute@8009.service"
    flood = f"/run/systemd/system/{unit}.d/flood.conf"
    settings = [
        "[Service]",
        "ExecStart=",
        f"ExecStart=/bin/sh -c 'yes {'x' * 520} | head --lines=9900'",
        "Restart=no",
        "WatchdogSec=0",
    ]
    instance.run("install", "-D", "/dev/null", flood)
    instance.run("sh", "-c", f'printf "%s\\n" "$@" >{flood}', "sh", *settings)
    instance.run("systemctl", "daemon-reload")
    instance.run("systemctl", "start", unit)
    assert instance.answer().body == "Hello, Fermyon"

    def arrived() -> int:
        lines = (line for line in aws.messages if line.startswith("multicompute@8009: xxx"))
        return sum(line.count("x") for line in lines)

    # journald may cut a line in two.
    until(lambda: arrived() == 9900 * 520, 60, "5 MB")
    until(lambda: aws.messages == journal(instance), 10, "no more and no less")

    def shown(name: str) -> str:
        return instance.run("systemctl", "show", "-P", name, "multicompute-journal").strip()

    assert shown("NRestarts") == "0"
    status = instance.run("cat", f"/proc/{shown('MainPID')}/status")
    peak = int(status.split("VmHWM:")[1].split()[0]) // 1024
    print(f"peak of memory: {peak} MB")
    assert peak < 100


def test_a_share_that_comes_late_is_mounted(
    launch: Any, instance_image: str, user_data: Any, release: Release, tmp_path: Path
) -> None:
    late = tmp_path / "efs"
    late.mkdir(mode=0o755)
    machine = launch(instance_image, user_data(), late)
    journal = ("journalctl", "--no-pager", "--unit=multicompute-share")
    until(lambda: "mount.efs" in machine.run(*journal), what="the first attempt")
    assert machine.ask() is None
    # Hard links: the release's directory itself is no longer than a rename away.
    for source in sorted(release.attached.rglob("*")):
        target = late / source.relative_to(release.attached)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_dir():
            target.mkdir()
        else:
            target.hardlink_to(source)
    assert machine.answer().body == "Hello, Fermyon"


def test_the_image_has_no_identity_of_its_own(run: Any, instance_image: str) -> None:
    script = "wc -c </etc/machine-id; ls /etc/ssh/ssh_host_* /var/lib/cloud/* /var/lib/apt/lists/*"
    output = run(instance_image, command=["sh", "-c", f"{script} 2>/dev/null; true"], detach=True)
    output.wait()
    assert output.logs().decode().split() == ["0"]


@pytest.mark.parametrize(
    ("file", "member"),
    [
        ("runtime-1-py3-none-any.whl", "wasmtime_cli/wasmtime"),
        ("runtime-v1.tar.gz", "wasmtime-v1/wasmtime"),
    ],
)
def test_a_plain_image_is_brought_up_by_user_data_alone(
    launch: Any,
    plain_image: str,
    user_data: Any,
    release: Release,
    mirror: Mirror,
    file: str,
    member: str,
) -> None:
    archive = mirror.add(file, {member: release.wasmtime})
    seed = user_data(
        instance_baked=False,
        instance_runtime_url=f"{mirror.url}/{archive.file}",
        instance_runtime_sha256=archive.sha256,
    )
    machine = launch(plain_image, seed)
    assert machine.answer(60).body == "Hello, Fermyon"
    for name in ("serve", "wasmtime"):
        assert machine.host.file(f"/usr/local/bin/{name}").mode == 0o755


def test_user_data_of_a_plain_image_is_small_and_carries_the_very_files(user_data: Any) -> None:
    seed = user_data(
        instance_baked=False,
        instance_runtime="spin",
        instance_runtime_url="https://github.com/spinframework/spin/releases/download/v3.5.1/"
        "spin-v3.5.1-static-linux-amd64.tar.gz",
        instance_runtime_sha256="0" * 64,
        instance_environment={"APP_INSTANCE_REUSE": 1},
    )
    text = (seed / "user-data").read_text()
    assert text.startswith("#cloud-config\n")
    assert len(text) < 16 * 1024, "EC2's limit"
    files = {Path(file["path"]).name: file for file in yaml.safe_load(text)["write_files"]}
    assert files["app.env"]["content"].splitlines()[-1] == "APP_INSTANCE_REUSE=1"
    programs = ("serve", "follow-tags", "ship-journal")
    units = [f"multicompute{name}.service" for name in ("@", "-journal", "-share", "-tags")]
    packed = io.BytesIO(base64.b64decode(files["multicompute-files.tar.gz"]["content"]))
    with tarfile.open(fileobj=packed, mode="r:gz") as archive:
        for name in (*programs, *units):
            folder = "usr/local/bin" if name in programs else "etc/systemd/system"
            member = archive.getmember(f"{folder}/{name}")
            assert archive.extractfile(member).read() == (RUNTIME / name).read_bytes()
            assert member.mode == (0o755 if name in programs else 0o644)


def test_a_runtime_with_a_wrong_digest_is_not_installed(
    launch: Any, plain_image: str, user_data: Any, release: Release, mirror: Mirror
) -> None:
    mirror.add("other.tar.gz", {"wasmtime": release.wasmtime})
    seed = user_data(
        instance_baked=False,
        instance_runtime_url=f"{mirror.url}/other.tar.gz",
        instance_runtime_sha256="0" * 64,
    )
    machine = launch(plain_image, seed)
    until(
        lambda: (
            "WASM_RUNTIME asks for it"
            in machine.run("journalctl", "--no-pager", "--unit=multicompute@8000")
        ),
        60,
        "the server's complaint",
    )
    assert not machine.host.file("/usr/local/bin/wasmtime").exists
