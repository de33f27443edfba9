"""Lambda: functions are refused what AWS refuses, and name their image by digest.

* An image must be in the registry; CodeSha256 is its digest, also when a tag moves later.
* File systems must exist, be reachable from the function's subnets, and need a VPC.
* While a function is created or updated, another change and a new version are conflicts; its
  old code goes on serving.
* A version or alias has a policy of its own, in which a statement's name may occur once more.
"""

from __future__ import annotations

import contextvars
import json
import re
import threading
import time
from typing import Any

from ministack.core.responses import error_response_json, json_response
from ministack.services import efs, lambda_svc

from ..settings import Cloud
from . import efs_access, lambda_containers, lambda_images

Record = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]


class Refused(Exception):
    """What is wrong with a request."""


def apply(cloud: Cloud) -> None:
    lambda_svc._create_function = _checked(lambda_svc._create_function)
    lambda_svc._build_config = _with_digest(lambda_svc._build_config)
    lambda_svc._update_code = _update(_resolving(lambda_svc._update_code))
    lambda_svc._update_config = _update(_checked_update(lambda_svc._update_config))
    lambda_svc._publish_version = _unless_busy(lambda_svc._publish_version)
    lambda_svc._get_function = _with_resolved_uri(lambda_svc._get_function)
    lambda_svc._delete_function = _with_environments(lambda_svc._delete_function)
    lambda_svc._invoke = _unless_pending(lambda_svc._invoke)
    lambda_svc._add_permission = _by_qualifier(lambda_svc._add_permission)
    lambda_svc._schedule_state_transition = _once_pulled


def _invalid(message: str) -> Response:
    return error_response_json("InvalidParameterValueException", message, 400)


def _conflict(message: str) -> Response:
    text = f"The operation cannot be performed at this time. {message}"
    return error_response_json("ResourceConflictException", text, 409)


def _is_image(name: str) -> bool:
    function = lambda_svc._functions.get(name)
    return bool(function) and function["config"]["PackageType"] == "Image"


# --- Checks -----------------------------------------------------------------------------------


def _checked(create: Any) -> Any:
    def wrapped(data: Record) -> Response:
        try:
            _check_file_systems(data.get("FileSystemConfigs", []), data.get("VpcConfig", {}))
            if uri := data.get("Code", {}).get("ImageUri"):
                lambda_images.digest(uri)
        except (Refused, lambda_images.NoSuchImage) as error:
            return _invalid(str(error))
        return create(data)

    return wrapped


def _checked_update(update: Any) -> Any:
    def wrapped(name: str, data: Record) -> Response:
        config = lambda_svc._functions[name]["config"] | data
        try:
            _check_file_systems(config.get("FileSystemConfigs", []), config.get("VpcConfig", {}))
        except Refused as error:
            return _invalid(str(error))
        return update(name, data)

    return wrapped


def _check_file_systems(configs: list[Record], vpc: Record) -> None:
    if configs and not vpc.get("SubnetIds"):
        raise Refused("Function must be configured to execute in a VPC to reference access points.")
    for config in configs:
        if not re.fullmatch(r"/mnt/[a-zA-Z0-9-_.]+", config["LocalMountPath"]):
            raise Refused(f"LocalMountPath {config['LocalMountPath']} is not below /mnt.")
        point = efs._access_points.get(config["Arn"].rsplit("/", 1)[-1])
        if not point:
            raise Refused(f"EFS access point {config['Arn']} does not exist.")
        try:
            efs_access.require_mount_targets(point["FileSystemId"], vpc["SubnetIds"])
        except efs_access.MountRefused as refusal:
            raise Refused(
                "EFS file system must have mount targets in the available life cycle state in all "
                f"availability zones the function will execute in: {refusal}. Please wait for them "
                "to become available and try the request again."
            ) from None


# --- Digest -----------------------------------------------------------------------------------


def _with_digest(build: Any) -> Any:
    def wrapped(name: str, data: Record, code_zip: bytes | None = None) -> Record:
        config = build(name, data, code_zip)
        if uri := data.get("Code", {}).get("ImageUri"):
            config["CodeSha256"] = lambda_images.digest(uri).removeprefix("sha256:")
        return config

    return wrapped


def _resolving(update: Any) -> Any:
    def wrapped(name: str, data: Record) -> Response:
        config = lambda_svc._functions[name]["config"]
        stale = lambda_svc._check_revision(config, data)
        if stale is None and "ImageUri" in data:
            try:
                config["CodeSha256"] = lambda_images.digest(data["ImageUri"]).removeprefix(
                    "sha256:"
                )
            except lambda_images.NoSuchImage as error:
                return _invalid(str(error))
        return update(name, data)

    return wrapped


def _with_resolved_uri(get: Any) -> Any:
    def wrapped(name: str, qualifier: str | None = None) -> Response:
        status, headers, body = get(name, qualifier)
        answer = json.loads(body)
        if "ImageUri" not in answer.get("Code", {}):
            return status, headers, body
        answer["Code"]["ResolvedImageUri"] = lambda_images.resolved_uri(
            answer["Code"]["ImageUri"], answer["Configuration"]["CodeSha256"]
        )
        return json_response(answer, status)

    return wrapped


# --- States -----------------------------------------------------------------------------------


def _busy(name: str) -> Response | None:
    if not _is_image(name):
        return None
    config = lambda_svc._functions[name]["config"]
    if config["State"] == "Pending":
        return _conflict("The function is currently in the following state: Pending")
    if config["LastUpdateStatus"] == "InProgress":
        return _conflict(f"An update is in progress for resource: {config['FunctionArn']}")
    return None


def _unless_busy(change: Any) -> Any:
    def wrapped(name: str, data: Record) -> Response:
        return _busy(name) or change(name, data)

    return wrapped


def _update(change: Any) -> Any:
    """A function stays active while it is updated."""

    def wrapped(name: str, data: Record) -> Response:
        if name not in lambda_svc._functions:
            return change(name, data)
        if busy := _busy(name):
            return busy
        status, headers, body = change(name, data)
        if status >= 400 or not _is_image(name):
            return status, headers, body
        active = {"State": "Active", "StateReason": "", "StateReasonCode": ""}
        lambda_svc._functions[name]["config"].update(active)
        return json_response({**json.loads(body), **active}, status)

    return wrapped


def _unless_pending(invoke: Any) -> Any:
    async def wrapped(name: str, *args: Any, **options: Any) -> Any:
        if _is_image(name) and lambda_svc._functions[name]["config"]["State"] == "Pending":
            return _conflict("The function is currently in the following state: Pending")
        return await invoke(name, *args, **options)

    return wrapped


def _once_pulled(name: str, delay: float) -> None:
    """Active once the image is there; an image that cannot be pulled fails the function."""

    def settle() -> None:
        time.sleep(delay)
        function = lambda_svc._functions.get(name)
        if not function:
            return
        ready = {"State": "Active", "StateReason": "", "StateReasonCode": ""}
        result = {"LastUpdateStatus": "Successful", "LastUpdateStatusReason": ""}
        if function["config"]["PackageType"] == "Image":
            try:
                lambda_containers.pull(function["config"])
            except Exception as error:  # whatever it is, the function's state must say so
                reason = {"Reason": str(error), "ReasonCode": "InvalidImage"}
                ready = {"State": "Failed"} | {f"State{k}": v for k, v in reason.items()}
                result = {"LastUpdateStatus": "Failed"}
                result |= {f"LastUpdateStatus{k}": v for k, v in reason.items()}
        versions = [version["config"] for version in function["versions"].values()]
        for config in (function["config"], *versions):
            if config["State"] == "Pending":
                config.update(ready)
            if config["LastUpdateStatus"] == "InProgress":
                config.update(result)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(settle,), daemon=True).start()


def _with_environments(delete: Any) -> Any:
    def wrapped(name: str, query: Record, path_qualifier: str | None = None) -> Response:
        qualifier = lambda_svc._qualifier_from_path_or_query(path_qualifier, query)
        response = delete(name, query, path_qualifier)
        if response[0] < 400:
            lambda_containers.kill(name, qualifier)
        return response

    return wrapped


# --- Policies ---------------------------------------------------------------------------------


def _by_qualifier(add: Any) -> Any:
    def wrapped(
        name: str, data: Record, query: Record | None = None, path_qualifier: str | None = None
    ) -> Response:
        policy = lambda_svc._functions.get(name, {}).get("policy", {"Statement": []})
        qualifier = lambda_svc._qualifier_from_path_or_query(path_qualifier, query)
        arn = lambda_svc._policy_resource_arn(name, qualifier)
        others = [each for each in policy["Statement"] if each["Resource"] != arn]
        policy["Statement"] = [each for each in policy["Statement"] if each["Resource"] == arn]
        try:
            return add(name, data, query, path_qualifier)
        finally:
            policy["Statement"] += others

    return wrapped
