"""EC2: an instance reads its own id, tags and role's credentials from the metadata service.

MiniStack answers as one made-up instance, whoever asks. Here a request that comes from an
instance's address is answered for that instance: version 2 only (a token first), and with tags
where its InstanceMetadataTags are enabled. Machines find the service by
AWS_EC2_METADATA_SERVICE_ENDPOINT, the SDKs' own variable, since the link-local address of AWS is
not this cloud's to give.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from ministack import app
from ministack.core.responses import request_scope
from ministack.services import ec2, imds

from ..settings import Cloud
from . import ec2_machines

PREFIX = "/latest/"
META_DATA = "/latest/meta-data/"
TAGS = "tags/instance"
CREDENTIALS = "iam/security-credentials"
LIFETIME = 21600

Record = dict[str, Any]
Answer = tuple[int, str]
Asgi = Callable[..., Awaitable[None]]

# Until when a token is good, by its instance.
_tokens: dict[tuple[str, str], float] = {}


def apply(cloud: Cloud) -> None:
    app.app = _for_instances(app.app)


def _for_instances(served: Asgi) -> Asgi:
    async def serve(scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            return await served(scope, receive, send)
        found = _instance_at((scope.get("client") or ("",))[0])
        if found is None:
            return await served(scope, receive, send)
        account, region, instance = found
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        with request_scope(account, region):
            status, text = _answer(instance, scope["method"], scope["path"], headers)
        return await app._send_response(send, status, {"content-type": "text/plain"}, text.encode())

    return serve


def _instance_at(address: str) -> tuple[str, str, Record] | None:
    for (account, region, _unused), instance in ec2._instances.all_items():
        if instance["PrivateIpAddress"] == address and instance["State"]["Name"] != "terminated":
            return account, region, instance
    return None


def _answer(instance: Record, method: str, path: str, headers: dict[str, str]) -> Answer:
    id_ = instance["InstanceId"]
    if path == "/latest/api/token":
        if method != "PUT":
            return 405, "Method Not Allowed"
        return _token(id_, headers.get("x-aws-ec2-metadata-token-ttl-seconds", ""))
    if _tokens.get((id_, headers.get("x-aws-ec2-metadata-token", "")), 0) < time.time():
        return 401, "Unauthorized"
    text = _read(instance, unquote(path.removeprefix(META_DATA)).rstrip("/"))
    return (404, "Not Found") if text is None else (200, text)


def _token(id_: str, seconds: str) -> Answer:
    if not seconds.isdecimal() or not 1 <= int(seconds) <= LIFETIME:
        return 400, "Bad Request"
    token = secrets.token_urlsafe(42)
    _tokens[id_, token] = time.time() + int(seconds)
    return 200, token


def _credentials(instance: Record, name: str) -> str | None:
    """The role's name, or what it signs with."""
    role = (ec2_machines.role_of(instance) or "").rpartition("/")[2]
    if not role or name not in ("", role):
        return None
    return json.dumps(imds._credentials_doc()) if name else role


def _read(instance: Record, item: str) -> str | None:
    if item == "instance-id":
        return str(instance["InstanceId"])
    if item.startswith(CREDENTIALS):
        return _credentials(instance, item.removeprefix(CREDENTIALS).strip("/"))
    if instance["MetadataOptions"]["InstanceMetadataTags"] != "enabled":
        return None
    tags = {tag["Key"]: tag["Value"] for tag in ec2._tags.get(instance["InstanceId"], [])}
    if item == TAGS:
        return "\n".join(tags) if tags else None
    return tags.get(item.removeprefix(f"{TAGS}/"))
