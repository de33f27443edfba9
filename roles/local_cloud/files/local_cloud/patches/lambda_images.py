"""Lambda: which image a reference names, by digest, in the local registry."""

from __future__ import annotations

from ministack.core.responses import get_account_id, get_region
from ministack.services import ecr


class NoSuchImage(Exception):
    """A reference that names no image of the local registry."""


def split(uri: str) -> tuple[str, str]:
    """Repository and tag or digest: `host/name:tag` and `host/name@sha256:...`"""
    _unused, _unused, path = uri.partition("/")
    if "@" in path:
        name, _unused, reference = path.partition("@")
        return name.partition(":")[0], reference
    name, _unused, tag = path.partition(":")
    return name, tag or "latest"


def digest(uri: str) -> str:
    name, reference = split(uri)
    key = "imageDigest" if reference.startswith("sha256:") else "imageTag"
    image = ecr._find_image(name, {key: reference}) if name in ecr._repositories else None
    if not image:
        raise NoSuchImage(
            f"Source image {uri} does not exist in {get_account_id()}/{get_region()}. "
            "Provide a valid source image."
        )
    return str(image["imageDigest"])


def resolved_uri(uri: str, code_sha256: str) -> str:
    host = uri.partition("/")[0]
    return f"{host}/{split(uri)[0]}@sha256:{code_sha256}"


def local_reference(uri: str, code_sha256: str, port: int) -> str:
    """What Docker pulls: the registry is this cloud's API, whatever host the reference names."""
    return f"localhost:{port}/{split(uri)[0]}@sha256:{code_sha256}"
