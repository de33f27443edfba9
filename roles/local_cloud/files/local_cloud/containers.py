"""Every Docker container of this cloud is created, labelled, adopted and removed through here.

MiniStack's services (ECS, Lambda, EC2 ...) all end in docker-py's `containers.create`. `attach`
puts one hook there, so whatever creates a container, it

* carries the label `multicompute.local-cloud=<name>`, by which this cloud, and only this cloud,
  finds and removes it,
* is on the cloud's own bridge network, with AWS_ENDPOINT_URL pointing at its gateway,
* publishes its ports on loopback only.

A patch adds what its service needs with `@on_create` (the options of docker-py's `run`, changed
in place; the service stands in `options["labels"]["ministack"]`: ec2, ecs, lambda).

After a restart a patch takes back what still runs with `@on_adopt`: it gets this cloud's
containers and returns the ids that it keeps. The rest are orphans and are removed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker

from .settings import Cloud, LocalCloudError

if TYPE_CHECKING:
    from docker.models.containers import Container
    from docker.models.networks import Network

LABEL = "multicompute.local-cloud"
HOME_LABEL = "multicompute.local-cloud.home"

CreateHook = Callable[[dict[str, Any]], None]
AdoptHook = Callable[[list["Container"]], Iterable[str]]

logger = logging.getLogger("local_cloud")
_create_hooks: list[CreateHook] = []
_adopt_hooks: list[AdoptHook] = []


def connect() -> docker.DockerClient:
    """A client of the engine, which answers."""
    try:
        client = docker.from_env()
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        where = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        raise LocalCloudError(
            f"Docker is not reachable at {where} ({error}): start it (`make setup` does), "
            "or point DOCKER_HOST at a Docker or Podman socket"
        ) from error
    return client


def on_create(hook: CreateHook) -> CreateHook:
    """Run `hook(options)` before each container is created."""
    _create_hooks.append(hook)
    return hook


def on_adopt(hook: AdoptHook) -> AdoptHook:
    """Run `hook(containers)` once the saved state is loaded; the ids it returns are kept."""
    _adopt_hooks.append(hook)
    return hook


def default_mtu(routes: Path = Path("/proc/net/route")) -> int:
    """MTU of the interface with the default route: a larger one on the bridge loses packets."""
    for line in routes.read_text().splitlines()[1:]:
        interface, destination, *_unused = line.split()
        if destination == "00000000":
            return int(Path(f"/sys/class/net/{interface}/mtu").read_text())
    return 1500


def ensure_network(client: docker.DockerClient, cloud: Cloud) -> str:
    """Create the cloud's bridge network when it is not there; returns its gateway address."""
    network = find_network(client, cloud)
    while network is None:
        try:
            network = _create_network(client, cloud)
        except docker.errors.APIError as error:
            if "non-overlapping" in str(error):
                raise LocalCloudError(
                    "Docker has no address range left for one more network: remove those that "
                    "nothing uses (`docker network prune`), or give the engine more "
                    "(`default-address-pools` of dockerd)"
                ) from error
            if "overlaps" not in str(error):
                raise
            # Another cloud that starts now took the same free subnet: find the next one.
    network.reload()
    return str(network.attrs["IPAM"]["Config"][0]["Gateway"])


def _create_network(client: docker.DockerClient, cloud: Cloud) -> Network:
    options = {
        "driver": "bridge",
        "check_duplicate": True,
        "labels": {LABEL: cloud.name, HOME_LABEL: str(cloud.home)},
        "options": {"com.docker.network.driver.mtu": str(default_mtu())},
    }
    # An EC2 instance keeps its address over a stop, and Docker fixes addresses only where the
    # subnet was stated: so let Docker find a free one, then state it. Whatever has no fixed
    # address gets one of the lower half.
    network = client.networks.create(cloud.network, **options)
    network.reload()
    subnet = network.attrs["IPAM"]["Config"][0]["Subnet"]
    network.remove()
    lower_half = next(ip_network(subnet).subnets())
    pool = docker.types.IPAMPool(subnet=subnet, gateway=str(lower_half[1]), iprange=str(lower_half))
    return client.networks.create(
        cloud.network, ipam=docker.types.IPAMConfig(pool_configs=[pool]), **options
    )


def find_network(client: docker.DockerClient, cloud: Cloud) -> Network | None:
    """The cloud's network. Its name is the cloud's claim on all containers of that name, so a
    cloud of the same name but another home is refused, before it removes what is not its own.
    """
    for network in client.networks.list(filters={"label": f"{LABEL}={cloud.name}"}):
        home = network.attrs["Labels"][HOME_LABEL]
        if home != str(cloud.home):
            raise LocalCloudError(
                f"the name belongs to the local cloud in {home}: set local_cloud_name to another"
            )
        return network
    return None


def of_cloud(client: docker.DockerClient, cloud: Cloud) -> list[Container]:
    """All containers of this cloud, whatever their state."""
    return client.containers.list(
        all=True, filters={"label": f"{LABEL}={cloud.name}"}, ignore_removed=True
    )


def remove(containers: Iterable[Container]) -> None:
    for container in containers:
        try:
            container.remove(force=True, v=True)
        except (docker.errors.NotFound, docker.errors.APIError) as error:
            # Docker answers 409 while another removal of the same container is under way.
            if getattr(error, "status_code", None) not in (404, 409):
                raise


def adopt(client: docker.DockerClient, cloud: Cloud) -> None:
    """Give the patches back what still runs, and remove what none of them wants."""
    containers = of_cloud(client, cloud)
    kept = {id_ for hook in _adopt_hooks for id_ in hook(containers)}
    orphans = [container for container in containers if container.id not in kept]
    logger.info("containers: %d re-adopted, %d orphans removed", len(kept), len(orphans))
    remove(orphans)


def attach(cloud: Cloud, gateway: str) -> None:
    """Make every container that this process creates one of `cloud`."""
    from docker.models.containers import ContainerCollection

    create = ContainerCollection.create

    def create_in_cloud(
        self: ContainerCollection, image: str, command: Any = None, **options: Any
    ) -> Container:
        options.update(image=image, command=command)
        _place(options, cloud, gateway)
        for hook in _create_hooks:
            hook(options)
        return create(self, **options)

    ContainerCollection.create = create_in_cloud


def _place(options: dict[str, Any], cloud: Cloud, gateway: str) -> None:
    options["labels"] = {**(options.get("labels") or {}), LABEL: cloud.name}
    environment = options.get("environment") or {}
    if isinstance(environment, list):
        environment = dict(entry.partition("=")[::2] for entry in environment)
    options["environment"] = {**environment, "AWS_ENDPOINT_URL": f"http://{gateway}:{cloud.port}"}
    if "network_mode" not in options:
        options["network"] = cloud.network
    if ports := options.get("ports"):
        options["ports"] = {inside: _on_loopback(outside) for inside, outside in ports.items()}


def _on_loopback(outside: Any) -> Any:
    if isinstance(outside, list):
        return [_on_loopback(one) for one in outside]
    return ("127.0.0.1", outside[1] if isinstance(outside, tuple) else outside)
