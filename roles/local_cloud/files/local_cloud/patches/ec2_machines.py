"""EC2: an instance's machine is a container with systemd as its first process.

It has a fixed address on the cloud's network, which it keeps while it is stopped. The user data
is there as the seed that cloud-init's NoCloud source reads, and the addresses of the API and of the
metadata service in the environment of all its services. File systems are below
/run/local-cloud/efs, from where the image's `mount.efs` mounts them; what the instance's role
may not write is read-only there.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from ipaddress import IPv4Address, IPv4Network
from random import choice
from typing import Any

import docker
from docker.models.containers import Container
from ministack.core import container_reaper
from ministack.core.responses import get_account_id, get_region
from ministack.services import ec2, efs, iam

from .. import containers
from ..settings import Cloud
from . import efs_access
from .efs import access_point_directory, directory

Record = dict[str, Any]

FILE_SYSTEMS = "/run/local-cloud/efs"
SEED = "var/lib/cloud/seed/nocloud"
ENVIRONMENT = "etc/systemd/system.conf.d/local-cloud.conf"
STOP_SECONDS = 30

_cloud: Cloud
_client: docker.DockerClient


def apply(cloud: Cloud) -> None:
    global _cloud, _client
    _cloud = cloud
    _client = ec2._docker = docker.from_env(timeout=60)
    ec2._ec2_container_name = lambda instance_id: f"{cloud.network}-{instance_id}"


def find(instance: Record) -> Container | None:
    try:
        return _client.containers.get(ec2._ec2_container_name(instance["InstanceId"]))
    except docker.errors.NotFound:
        return None


def free_address() -> str:
    """An address of the half of the network that Docker gives nobody by itself."""
    network = containers.find_network(_client, _cloud)
    _unused, upper = IPv4Network(network.attrs["IPAM"]["Config"][0]["Subnet"]).subnets()
    used = {instance["PrivateIpAddress"] for instance in ec2._instances.all_values()}
    # Any one, so that a former instance's address does not come back at once.
    while str(address := IPv4Address(choice(range(int(upper[1]), int(upper[-1]))))) in used:
        pass
    return str(address)


def boot(instance: Record, image: str) -> Container:
    address = instance["PrivateIpAddress"]
    container = _client.containers.create(
        image,
        name=ec2._ec2_container_name(instance["InstanceId"]),
        hostname=f"ip-{address.replace('.', '-')}",
        networking_config={
            _cloud.network: _client.api.create_endpoint_config(ipv4_address=address)
        },
        # What systemd needs in a container. AppArmor's default profile forbids it to mount.
        cgroupns="host",
        cap_add=["SYS_ADMIN"],
        security_opt=["apparmor=unconfined"],
        tmpfs={"/run": "", "/run/lock": "", "/tmp": "exec"},
        volumes=["/sys/fs/cgroup:/sys/fs/cgroup:rw", *_file_systems(instance)],
        labels={
            **container_reaper.own_labels("ec2"),
            "instance_id": instance["InstanceId"],
            "account_id": get_account_id(),
            "region": get_region(),
        },
        detach=True,
    )
    container.put_archive("/", _seed(instance))
    container.start()
    return container


def is_reachable(container: Container) -> bool:
    """Whether the machine has come up so far that its services start."""
    if container.exec_run(["cat", "/proc/1/comm"]).output.strip() != b"systemd":
        return True
    state = container.exec_run(["systemctl", "is-system-running"]).output.strip()
    return state in (b"starting", b"running", b"degraded")


def _file_systems(instance: Record) -> list[str]:
    role = role_of(instance)
    writable = set()
    for file_system in efs._file_systems.values():
        id_ = file_system["FileSystemId"]
        points = [p for p in efs._access_points.values() if p["FileSystemId"] == id_]
        if efs_access.allowed("ClientWrite", file_system, None, role):
            writable.add(directory(file_system))
        writable |= {
            access_point_directory(point)
            for point in points
            if efs_access.allowed("ClientWrite", file_system, point, role)
        }
    root = _cloud.file_systems
    return [f"{root}:{FILE_SYSTEMS}:ro"] + [
        f"{path}:{FILE_SYSTEMS}/{path.relative_to(root)}:rw" for path in sorted(writable)
    ]


def role_of(instance: Record) -> str | None:
    profile = instance.get("IamInstanceProfile") or {}
    record = iam._lookup_instance_profile(arn=profile.get("Arn", "")) or {}
    roles = [f"arn:aws:iam::{get_account_id()}:role/{name}" for name in record.get("Roles", [])]
    return next(iter(roles), None)


def _seed(instance: Record) -> bytes:
    """Files that the machine finds at its first boot, as a tar."""
    meta_data: Record = {
        "instance-id": instance["InstanceId"],
        "local-hostname": f"ip-{instance['PrivateIpAddress'].replace('.', '-')}",
    }
    if key := ec2._key_pairs.get(instance["KeyName"]):
        meta_data["public-keys"] = [key["PublicKey"]]
    files = {
        f"{SEED}/meta-data": json.dumps(meta_data).encode(),  # YAML, too
        f"{SEED}/user-data": base64.b64decode(instance["UserData"]) or b"#cloud-config\n{}\n",
        ENVIRONMENT: f"[Manager]\nDefaultEnvironment={_endpoints()}\n".encode(),
    }
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o600
            tar.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def _endpoints() -> str:
    """The SDKs' own variables."""
    network = containers.find_network(_client, _cloud)
    url = f"http://{network.attrs['IPAM']['Config'][0]['Gateway']}:{_cloud.port}"
    return f"AWS_EC2_METADATA_SERVICE_ENDPOINT={url} AWS_ENDPOINT_URL={url}"
