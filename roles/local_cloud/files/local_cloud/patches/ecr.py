"""ECR: a repository's URI is where the registry really answers, and layers are files.

MiniStack serves the registry on its own port but names the repository as AWS would, under a host
that is not there, so that nothing can be pushed to what the API returns. And it keeps layers
within its state, which would then be hundreds of megabytes of JSON at every save. Who asks for an
image that is not there gets an error, not an empty list.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ministack.core.responses import (
    AccountRegionScopedDict,
    error_response_json,
    get_account_id,
    get_region,
)
from ministack.services import ecr

from ..settings import Cloud


def apply(cloud: Cloud) -> None:
    # Docker takes only "localhost" and 127.0.0.0/8 for registries without TLS.
    ecr._repo_uri = lambda name: f"localhost:{cloud.port}/{name}"
    ecr._layer_blobs = Registry(cloud.home / "registry")
    ecr._delete_repository = _with_layers(ecr._delete_repository)
    ecr._get_lifecycle_policy = _evaluated_daily(ecr._get_lifecycle_policy)
    ecr._describe_images = _all_there(ecr._describe_images)


def _all_there(describe: Any) -> Any:
    def wrapped(data: dict[str, Any]) -> Any:
        name = data.get("repositoryName", "")
        for image in data.get("imageIds") or [] if name in ecr._repositories else []:
            if not ecr._find_image(name, image):
                text = f"The image with imageId {image} does not exist within the repository {name}"
                return error_response_json("ImageNotFoundException", text, 400)
        return describe(data)

    return wrapped


def _evaluated_daily(get_policy: Any) -> Any:
    """ECR evaluates a policy about once a day; MiniStack says with each answer that it just has."""

    def wrapped(data: dict[str, Any]) -> Any:
        status, headers, body = get_policy(data)
        answer = json.loads(body)
        if "lastEvaluatedAt" in answer:
            answer["lastEvaluatedAt"] -= answer["lastEvaluatedAt"] % 86400
        return status, headers, json.dumps(answer).encode()

    return wrapped


def _with_layers(delete: Any) -> Any:
    def wrapped(data: dict[str, Any]) -> Any:
        response = delete(data)
        if response[0] < 400:
            ecr._layer_blobs.delete(data["repositoryName"])
        return response

    return wrapped


class Layers(MutableMapping[str, bytes]):
    """A repository's layers: files by digest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, digest: str) -> bytes:
        try:
            return (self.folder / digest).read_bytes()
        except FileNotFoundError:
            raise KeyError(digest) from None

    def __setitem__(self, digest: str, content: bytes) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self.folder / f".{digest}"
        new.write_bytes(content)
        new.replace(self.folder / digest)

    def __delitem__(self, digest: str) -> None:
        (self.folder / digest).unlink()

    def __iter__(self) -> Iterator[str]:
        return (path.name for path in self.folder.glob("sha256:*"))

    def __len__(self) -> int:
        return sum(1 for _unused in self)


class Registry:
    """The layers of all repositories, in place of MiniStack's store in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, name: str, default: object = None) -> Layers:
        return Layers(self.folder / get_account_id() / get_region() / quote(name, safe=""))

    setdefault = get

    def delete(self, name: str) -> None:
        shutil.rmtree(self.get(name).folder, ignore_errors=True)

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def update(self, saved: object) -> None:
        """Nothing was saved: the files are there."""

    def __deepcopy__(self, memo: object) -> AccountRegionScopedDict:
        return AccountRegionScopedDict()
