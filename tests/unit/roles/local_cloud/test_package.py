"""What every container gets, who holds a port, and the command line."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import docker
import pytest
from local_cloud import cli, containers, ports
from local_cloud.settings import Cloud, LocalCloudError

CLOUD = Cloud(name="test", port=4567, home=Path("/home/test"))


def placed(**options: Any) -> dict[str, Any]:
    containers._place(options, CLOUD, "172.20.0.1")
    return options


def test_a_container_is_labelled_attached_and_told_the_endpoint() -> None:
    options = placed(labels={"ministack": "ecs"}, environment={"A": "1"})
    assert options["labels"] == {"ministack": "ecs", "multicompute.local-cloud": "test"}
    assert options["network"] == "multicompute-test"
    endpoint = "http://172.20.0.1:4567"
    assert options["environment"] == {"A": "1", "AWS_ENDPOINT_URL": endpoint}


def test_environment_as_a_list_and_another_endpoint() -> None:
    options = placed(environment=["A=1=2", "AWS_ENDPOINT_URL=http://elsewhere"])
    assert options["environment"]["A"] == "1=2"
    assert options["environment"]["AWS_ENDPOINT_URL"] == "http://172.20.0.1:4567"


def test_an_engine_without_room_for_a_network_says_what_to_do_by_a_stand_in() -> None:
    class Full:
        networks: Any = None

        def list(self, **_options: Any) -> list[Any]:
            return []

        def create(self, *_arguments: Any, **_options: Any) -> None:
            raise docker.errors.APIError("could not find an available, non-overlapping IPv4 pool")

    engine = Full()
    engine.networks = engine
    with pytest.raises(LocalCloudError, match="docker network prune"):
        containers.ensure_network(engine, CLOUD)


def test_a_chosen_network_mode_stays() -> None:
    assert "network" not in placed(network_mode="none")


@pytest.mark.parametrize(
    ("asked", "published"),
    [
        (8080, ("127.0.0.1", 8080)),
        (None, ("127.0.0.1", None)),
        (("0.0.0.0", 8080), ("127.0.0.1", 8080)),
        ([8080, 8081], [("127.0.0.1", 8080), ("127.0.0.1", 8081)]),
    ],
)
def test_ports_are_published_on_loopback_only(asked: Any, published: Any) -> None:
    assert placed(ports={"80/tcp": asked})["ports"] == {"80/tcp": published}


def test_mtu_is_that_of_the_default_route(tmp_path: Path) -> None:
    routes = tmp_path / "route"
    routes.write_text("Iface\tDestination\nother\t0011A8C0\nlo\t00000000\n")
    assert containers.default_mtu(routes) == int(Path("/sys/class/net/lo/mtu").read_text())
    routes.write_text("Iface\tDestination\n")
    assert containers.default_mtu(routes) == 1500


def test_the_holder_of_a_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
        assert ports.holder(port).endswith(f"(pid {os.getpid()})")
    assert ports.is_free(port)
    assert ports.holder(port) == "another process"


def test_another_local_cloud_that_holds_a_port_is_named() -> None:
    listen = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); "
    listen += "print(s.getsockname()[1], flush=True); time.sleep(60)"
    command = [sys.executable, "-c", listen, "local_cloud", "serve", "--name", "other"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            port = int(process.stdout.readline())
            assert ports.holder(port) == f"local cloud other (pid {process.pid})"
        finally:
            process.kill()


def test_the_command_line_names_the_cloud(tmp_path: Path) -> None:
    given = ["start", "--name", "x", "--port", "5", "--home", str(tmp_path), "--rie", str(tmp_path)]
    command, cloud = cli.parse(given)
    assert (command, cloud) == ("start", Cloud("x", 5, tmp_path, tmp_path))
    assert cloud.arguments() == given[1:]


def test_the_home_is_named_after_the_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    _, cloud = cli.parse(["status", "--name", "x"])
    assert cloud.home == Path("/home/me/.local/state/multicompute/x")
    assert cloud.port == 4566
