"""EFS: file systems are directories, and they take time to come and go.

* `<home>/efs/<fs-id>/` is the root of a file system; `access-points.json` beside them maps each
  access point to its file system and path (an instance's `mount.efs` reads it).
* File systems, mount targets and access points are `creating` for a moment before they are
  `available`, and `deleting` before they are gone, so that a missing waiter shows up here.
* Unknown ids are errors, tokens are unique, listings have pages, several tag keys go at once.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ministack.services import efs

from ..settings import Cloud

Record = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]

SETTLE_SECONDS = 0.4
ACCESS_POINTS = "access-points.json"

_root = Path()
_due: dict[str, float] = {}  # id -> when its creation or deletion is complete


def apply(cloud: Cloud) -> None:
    global _root
    _root = cloud.file_systems
    _root.mkdir(parents=True, exist_ok=True)
    handle_request = efs.handle_request

    async def settled(
        method: str, path: str, headers: Any, body: bytes, query: dict[str, list[str]]
    ) -> Response:
        settle()
        if method == "DELETE" and "/resource-tags/" in path:
            # Several keys arrive as several values; MiniStack takes the first.
            query = {**query, "tagKeys": [",".join(query.get("tagKeys", []))]}
        return await handle_request(method, path, headers, body, query)

    efs.handle_request = settled
    efs._create_file_system = _create_file_system(efs._create_file_system)
    efs._create_mount_target = _creating(efs._create_mount_target, "MountTargetId")
    efs._create_access_point = _create_access_point(efs._create_access_point)
    efs._delete_file_system = _delete_file_system
    efs._delete_mount_target = _delete_mount_target
    efs._delete_access_point = _delete_access_point
    efs._describe_file_systems = _describe_file_systems
    efs._describe_mount_targets = _describe_mount_targets
    efs._describe_access_points = _describe_access_points


def directory(file_system: Record) -> Path:
    path = _root / file_system["FileSystemId"]
    path.mkdir(parents=True, exist_ok=True)
    return path


def access_point_directory(access_point: Record) -> Path:
    """The access point's root; created as its CreationInfo says when it is not there."""
    root = access_point["RootDirectory"]
    path = directory({"FileSystemId": access_point["FileSystemId"]}) / root["Path"].lstrip("/")
    creation = root.get("CreationInfo")
    if creation and not path.exists():
        path.mkdir(parents=True)
        path.chmod(int(creation["Permissions"], 8))
        if os.geteuid() == 0:
            os.chown(path, creation["OwnerUid"], creation["OwnerGid"])
    return path


# --- States -----------------------------------------------------------------------------------


def _begin(record: Record, id_: str, state: str) -> None:
    record["LifeCycleState"] = state
    _due[id_] = time.monotonic() + SETTLE_SECONDS


def settle() -> None:
    """Complete what is due; after a restart that is everything."""
    for store in (efs._mount_targets, efs._access_points, efs._file_systems):
        for id_, record in list(store.items()):
            if _due.get(id_, 0.0) > time.monotonic():
                continue
            if record["LifeCycleState"] == "creating":
                record["LifeCycleState"] = "available"
            elif record["LifeCycleState"] == "deleting":
                del store[id_]
                _forget(id_, record)
            _due.pop(id_, None)


def _forget(id_: str, record: Record) -> None:
    if id_.startswith("fsmt-"):
        file_system = efs._file_systems.get(record["FileSystemId"])
        if file_system:
            file_system["NumberOfMountTargets"] -= 1
    elif id_.startswith("fs-"):
        efs._lifecycle_configs.pop(id_, None)
        efs._backup_policies.pop(id_, None)
        shutil.rmtree(_root / id_, ignore_errors=True)


# --- Create and delete ------------------------------------------------------------------------


def _creating(create: Any, id_key: str) -> Any:
    def wrapped(body: Record) -> Response:
        status, headers, answer = create(body)
        if status >= 400:
            return status, headers, answer
        created = json.loads(answer)
        _begin(_find(created[id_key]), created[id_key], "creating")
        return efs._json(status, {**created, "LifeCycleState": "creating"})

    return wrapped


def _find(id_: str) -> Record:
    for store in (efs._file_systems, efs._mount_targets, efs._access_points):
        if id_ in store:
            return store[id_]
    raise KeyError(id_)


def _create_file_system(create: Any) -> Any:
    create = _creating(create, "FileSystemId")

    def wrapped(body: Record) -> Response:
        token = body.get("CreationToken")
        for known in efs._file_systems.values():
            if known["CreationToken"] == token:
                return _exists("FileSystem", known["FileSystemId"], token)
        response = create(body)
        if response[0] < 400:
            directory(json.loads(response[2]))
        return response

    return wrapped


def _create_access_point(create: Any) -> Any:
    create = _creating(create, "AccessPointId")

    def wrapped(body: Record) -> Response:
        token = body.get("ClientToken")
        for known in efs._access_points.values():
            if known["ClientToken"] == token:
                return _exists("AccessPoint", known["AccessPointId"], token)
        file_system = efs._file_systems.get(body.get("FileSystemId"))
        if file_system and file_system["LifeCycleState"] != "available":
            id_ = file_system["FileSystemId"]
            return efs._error(
                409, "IncorrectFileSystemLifeCycleState", f"File system '{id_}' is not available."
            )
        response = create(body)
        if response[0] < 400:
            # AWS makes the directory at the first mount. Before that nobody can look.
            access_point_directory(json.loads(response[2]))
            _write_access_points()
        return response

    return wrapped


def _exists(kind: str, id_: str, token: str | None) -> Response:
    status, headers, body = efs._error(
        409, f"{kind}AlreadyExists", f"{kind} '{id_}' already exists with creation token '{token}'"
    )
    return status, headers, json.dumps({**json.loads(body), f"{kind}Id": id_}).encode()


def _write_access_points() -> None:
    points = {
        point["AccessPointId"]: {
            "file_system": point["FileSystemId"],
            "path": point["RootDirectory"]["Path"],
        }
        for point in efs._access_points.all_values()
        if point["LifeCycleState"] != "deleting"
    }
    new = _root / f".{ACCESS_POINTS}"
    new.write_text(json.dumps(points, indent=2, sort_keys=True))
    new.chmod(0o644)
    new.replace(_root / ACCESS_POINTS)


def _delete_file_system(id_: str) -> Response:
    record = efs._file_systems.get(id_)
    if not record:
        return _not_found("FileSystem", id_)
    if record["NumberOfMountTargets"] or efs._replication_of(id_):
        return efs._error(
            409, "FileSystemInUse", f"File system '{id_}' has mount targets or a replication."
        )
    for point in [p for p in efs._access_points.values() if p["FileSystemId"] == id_]:
        _delete_access_point(point["AccessPointId"])
    _begin(record, id_, "deleting")
    return efs._json(204, {})


def _delete_mount_target(id_: str) -> Response:
    record = efs._mount_targets.get(id_)
    if not record:
        return _not_found("MountTarget", id_)
    _begin(record, id_, "deleting")
    return efs._json(204, {})


def _delete_access_point(id_: str) -> Response:
    record = efs._access_points.get(id_)
    if not record:
        return _not_found("AccessPoint", id_)
    _begin(record, id_, "deleting")
    _write_access_points()
    return efs._json(204, {})


def _not_found(kind: str, id_: str) -> Response:
    return efs._error(404, f"{kind}NotFound", f"{kind} '{id_}' does not exist.")


# --- Describe ---------------------------------------------------------------------------------


def _page(
    records: Iterable[Record], key: str, query: dict[str, str], size: str, token: str
) -> Response:
    """One page; `size` and `token` are the request's names, and EFS has two sets of them."""
    records = list(records)
    start = int(query.get(token) or 0)
    end = start + int(query.get(size) or 100)
    answer: Record = {key: records[start:end]}
    if end < len(records):
        answer["NextMarker" if token == "Marker" else token] = str(end)
    return efs._json(200, answer)


def _describe_file_systems(query: dict[str, str]) -> Response:
    id_, token = query.get("FileSystemId"), query.get("CreationToken")
    if id_ and id_ not in efs._file_systems:
        return _not_found("FileSystem", id_)
    found = (
        efs._fs_response(record)
        for record in efs._file_systems.values()
        if id_ in (None, record["FileSystemId"]) and token in (None, record["CreationToken"])
    )
    return _page(found, "FileSystems", query, "MaxItems", "Marker")


def _describe_mount_targets(query: dict[str, str]) -> Response:
    id_, file_system = query.get("MountTargetId"), query.get("FileSystemId")
    point = query.get("AccessPointId")
    if id_ and id_ not in efs._mount_targets:
        return _not_found("MountTarget", id_)
    if point and point not in efs._access_points:
        return _not_found("AccessPoint", point)
    file_system = efs._access_points[point]["FileSystemId"] if point else file_system
    if file_system and file_system not in efs._file_systems:
        return _not_found("FileSystem", file_system)
    found = (
        efs._mt_response(record)
        for record in efs._mount_targets.values()
        if id_ in (None, record["MountTargetId"]) and file_system in (None, record["FileSystemId"])
    )
    return _page(found, "MountTargets", query, "MaxItems", "Marker")


def _describe_access_points(query: dict[str, str]) -> Response:
    id_, file_system = query.get("AccessPointId"), query.get("FileSystemId")
    if id_ and id_ not in efs._access_points:
        return _not_found("AccessPoint", id_)
    if file_system and file_system not in efs._file_systems:
        return _not_found("FileSystem", file_system)
    found = (
        record
        for record in efs._access_points.values()
        if id_ in (None, record["AccessPointId"]) and file_system in (None, record["FileSystemId"])
    )
    return _page(found, "AccessPoints", query, "MaxResults", "NextToken")
