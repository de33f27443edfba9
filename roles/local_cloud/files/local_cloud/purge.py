"""The end of a local cloud: all that it made on this machine, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from . import containers, daemon
from .settings import Cloud, LocalCloudError


def purge(cloud: Cloud) -> bool:
    """Remove it; returns whether there was anything."""
    existed = cloud.home.exists()
    changed = daemon.stop(cloud)
    try:
        client = containers.connect()
    except LocalCloudError:
        if existed:
            raise
        return False  # nothing was ever started here
    network = containers.find_network(client, cloud)
    owned = containers.of_cloud(client, cloud)
    containers.remove(owned)
    label = {"label": f"{containers.LABEL}={cloud.name}"}
    volumes = client.volumes.list(filters=label)
    for volume in volumes:
        volume.remove()
    images = client.images.list(filters=label)
    for image in images:
        client.images.remove(image.id, force=True)
    if network:
        network.remove()
    remove_folder(cloud.home)
    return bool(changed or owned or volumes or images or network or existed)


def remove_folder(folder: Path) -> None:
    """Remove a folder, but nothing that is only mounted below it."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted(mounts, reverse=True):  # the deepest first
        if mount.startswith(f"{folder}/"):
            subprocess.run(["umount", mount], check=True)
    if folder.exists():
        shutil.rmtree(folder)
