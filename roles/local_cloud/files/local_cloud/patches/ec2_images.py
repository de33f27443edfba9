"""EC2: an AMI is a Docker image.

`RegisterImage` with `ImageLocation=<Docker image>` makes an AMI of an image that Docker has, and
`CreateImage` commits an instance. There are no other AMIs: MiniStack invents some, whose
instances have public addresses that are other people's.
"""

from __future__ import annotations

import platform
import re
from typing import Any

import docker
from ministack.services import ec2

from .. import containers
from ..settings import Cloud
from . import ec2_machines

Params = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]

ARCHITECTURES = {"amd64": "x86_64", "arm64": "arm64"}  # Docker's name: EC2's
ROOT_DEVICE = "/dev/xvda"

_cloud: Cloud
_client: docker.DockerClient


def apply(cloud: Cloud) -> None:
    global _cloud, _client
    _cloud = cloud
    _client = docker.from_env(timeout=300)  # committing an instance takes its time
    ec2._STUB_AMIS = []
    ec2._ACTION_MAP |= {
        "RegisterImage": _register(ec2._register_image),
        "CreateImage": _create,
        "DescribeImages": _describe(ec2._describe_images),
        "DeregisterImage": _deregister(ec2._deregister_image),
    }
    ec2._DOCKER_ACTIONS |= {"RegisterImage", "CreateImage", "DeregisterImage"}


def not_found(image_id: str) -> Response:
    return ec2._error("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist", 400)


def _register(register: Any) -> Any:
    def wrapped(p: Params) -> Response:
        location = ec2._p(p, "ImageLocation")
        try:
            image = _client.images.get(location) if location else None
        except docker.errors.ImageNotFound:
            return ec2._error("InvalidManifest", f"Docker has no image {location}", 400)
        response = register(p)
        if response[0] == 200 and image:
            record = ec2._images[re.search(rb"<imageId>(.*?)<", response[2])[1].decode()]
            record.update(
                DockerImage=image.id,  # an AMI stays what it is when the tag moves
                RootDeviceType="ebs",
                RootDeviceName=ec2._p(p, "RootDeviceName") or ROOT_DEVICE,
                VirtualizationType="hvm",
                Architecture=ec2._p(p, "Architecture")
                or ARCHITECTURES.get(image.attrs["Architecture"], platform.machine()),
            )
        return response

    return wrapped


def _create(p: Params) -> Response:
    instance = ec2._instances.get(ec2._p(p, "InstanceId"))
    container = instance and ec2_machines.find(instance)
    if not container:
        id_ = ec2._p(p, "InstanceId")
        return ec2._error(
            "InvalidInstanceID.NotFound", f"The instance ID '{id_}' does not exist", 400
        )
    name = ec2._p(p, "Name")
    repository = f"multicompute/ami/{_cloud.name}"
    tag = re.sub(r"[^A-Za-z0-9_.-]+", "-", name)[:128]
    # The label lets a purge find the image.
    container.commit(repository, tag, changes=f"LABEL {containers.LABEL}={_cloud.name}")
    status, headers, body = ec2._ACTION_MAP["RegisterImage"](
        {**p, "ImageLocation": [f"{repository}:{tag}"]}
    )
    return status, headers, body.replace(b"RegisterImageResponse", b"CreateImageResponse")


def _deregister(deregister: Any) -> Any:
    def wrapped(p: Params) -> Response:
        image = ec2._images.get(ec2._p(p, "ImageId"))
        response = deregister(p)
        if response[0] == 200 and image["ImageLocation"].startswith(
            f"multicompute/ami/{_cloud.name}:"
        ):
            _client.images.remove(image["ImageLocation"], force=True)
        return response

    return wrapped


def _describe(describe: Any) -> Any:
    """MiniStack leaves out the creation date, by which the newest AMI is found."""

    def wrapped(p: Params) -> Response:
        known = {key: image for (_unused, _unused, key), image in ec2._images.all_items()}
        for wanted in ec2._parse_member_list(p, "ImageId"):
            if wanted not in known:
                return not_found(wanted)
        status, headers, body = describe(p)
        for id_, image in known.items():
            element = f"<imageId>{id_}</imageId>"
            date = f"<creationDate>{image['CreationDate']}</creationDate>"
            platform_details = "<platformDetails>Linux/UNIX</platformDetails>"
            body = body.replace(element.encode(), f"{element}{date}{platform_details}".encode())
        return status, headers, body

    return wrapped
