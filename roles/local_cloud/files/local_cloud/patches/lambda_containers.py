"""Lambda: an image function's containers are its execution environments.

The image has no runtime interface emulator: AWS's is mounted and wraps the image's own entry
point. The root is read-only but for /tmp, file systems are mounted, output goes to CloudWatch
Logs under the environment's own stream. Versions have containers of their own, and those of a
version outlive updates of the function, until the version is deleted. Few start at once: AWS has a
machine for each request that finds none free, here they would keep each other from getting ready.
"""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container
from ministack.core import container_reaper
from ministack.core.lambda_runtime import execution_credentials
from ministack.core.responses import get_region
from ministack.services import efs, lambda_svc

from ..settings import Cloud
from . import container_logs, efs_access
from .lambda_images import local_reference

Record = dict[str, Any]

RIE = "/usr/local/bin/aws-lambda-rie"
# A listening socket of /proc/net/tcp: 127.0.0.1:9001, the emulator's API for what runs in it.
RUNTIME_API = "0100007F:2329 00000000:0000 0A"
START_SECONDS = 30
STARTS = 2  # environments of a version that start at once
PATIENCE_SECONDS = 5  # that a request waits for a free one meanwhile

# Environments of a version that are being created.
_created: Counter[str] = Counter()

_cloud: Cloud
_client: docker.DockerClient


class EFSMountFailureException(Exception):
    """A function's file system cannot be mounted."""


def apply(cloud: Cloud) -> None:
    global _cloud, _client
    _cloud = cloud
    _client = lambda_svc._cached_docker_client = docker.from_env(timeout=60)
    lambda_svc._spawn_lambda_container = _for_images(lambda_svc._spawn_lambda_container, _spawn)
    lambda_svc._invoke_rie = _invoke
    lambda_svc._emit_lambda_logs = _for_images(
        lambda_svc._emit_lambda_logs, lambda *_unused, **__: None
    )
    lambda_svc._warm_pool_key = _with_version(lambda_svc._warm_pool_key)
    lambda_svc._pool_acquire = _acquire(lambda_svc._pool_acquire)
    lambda_svc._pool_release = _or_remove(lambda_svc._pool_release)
    lambda_svc._kill_pool_entry = _remove
    lambda_svc._pool_kill_function = _kill_function


def _for_images(original: Any, ours: Any) -> Any:
    def wrapped(function: Record, *args: Any, **options: Any) -> Any:
        config = function.get("config") or function
        chosen = ours if config.get("PackageType") == "Image" else original
        return chosen(function, *args, **options)

    return wrapped


# --- Choose -----------------------------------------------------------------------------------


def _acquire(acquire: Any) -> Any:
    """MiniStack asks Docker about each environment, and starts one for each request without."""

    def wrapped(key: str, most: int | None) -> tuple[Record | None, str]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            entry, count, starting = _take(key)
            if entry and lambda_svc._is_container_running(entry["container"]):
                return entry, "reused"
            if entry:
                lambda_svc._pool_remove(entry)
            elif starting < STARTS or count == most or time.monotonic() > deadline:
                return acquire(key, most)
            else:
                time.sleep(0.01)

    return wrapped


def _take(key: str) -> tuple[Record | None, int, int]:
    """A free environment if there is one, how many there are, and how many of them start."""
    with lambda_svc._warm_pool_lock:
        entries = lambda_svc._warm_pool.setdefault(key, [])
        starting = sum(not entry.get("has_answered") for entry in entries) + _created[key]
        free = next((entry for entry in reversed(entries) if not entry["in_use"]), None)
        if free:
            free.update(in_use=True, last_used=time.time())
        return free, len(entries), starting


# --- Start ------------------------------------------------------------------------------------


def _spawn(config: Record, *_unused: Any) -> tuple[Container, None]:
    key = lambda_svc._warm_pool_key(config["FunctionName"], config)
    _created[key] += 1
    try:
        return _start(config), None
    finally:
        _created[key] -= 1


def _start(config: Record) -> Container:
    image = pull(config)
    stream = f"{datetime.now(UTC):%Y/%m/%d}/[{config['Version']}]{uuid.uuid4().hex}"
    group = config["LoggingConfig"]["LogGroup"]
    container = _client.containers.run(
        image,
        entrypoint=[RIE, "--log-level", "warn"],  # AWS's own log has no more than START to REPORT
        command=_command(config, image),
        working_dir=_overrides(config).get("WorkingDirectory"),
        environment=_environment(config, group, stream),
        volumes=[f"{_emulator(config)}:{RIE}:ro", *_file_systems(config)],
        read_only=True,
        tmpfs={"/tmp": f"size={config['EphemeralStorage']['Size']}m,mode=1777,exec"},
        mem_limit=f"{config['MemorySize']}m",
        platform=_platform(config),
        labels={**container_reaper.own_labels("lambda"), "function": config["FunctionArn"]},
        detach=True,
    )
    container_logs.create_group(group)
    container_logs.follow(container, group, stream)
    _until_its_api_listens(container)
    return container


def _until_its_api_listens(container: Container) -> None:
    """The emulator takes requests before that; an extension that the first one starts may then
    find nobody to register with, end, and be waited for until the request times out.
    """
    container.reload()
    sockets = Path(f"/proc/{container.attrs['State']['Pid']}/net/tcp")
    deadline = time.monotonic() + START_SECONDS
    with suppress(OSError):  # it has ended, which the request will report, or isn't on this machine
        while RUNTIME_API not in sockets.read_text() and time.monotonic() < deadline:
            time.sleep(0.005)


def pull(config: Record) -> str:
    """The function's image, in Docker; its reference."""
    reference = local_reference(config["ImageUri"], config["CodeSha256"], _cloud.port)
    try:
        _client.images.get(reference)
    except docker.errors.ImageNotFound:
        _client.images.pull(reference, platform=_platform(config))
    return reference


def _overrides(config: Record) -> Record:
    return (config.get("ImageConfigResponse") or {}).get("ImageConfig") or {}


def _command(config: Record, image: str) -> list[str]:
    built, overrides = _client.images.get(image).attrs["Config"], _overrides(config)
    entry_point = overrides.get("EntryPoint") or built["Entrypoint"] or []
    return [*entry_point, *(overrides.get("Command") or built["Cmd"] or [])]


def _emulator(config: Record) -> str:
    if not _cloud.rie:
        raise RuntimeError("no --rie: the folder of AWS's runtime interface emulator")
    return str(_cloud.rie / f"aws-lambda-rie-{config['Architectures'][0]}")


def _platform(config: Record) -> str:
    return "linux/arm64" if config["Architectures"] == ["arm64"] else "linux/amd64"


def _environment(config: Record, group: str, stream: str) -> dict[str, str]:
    return {
        **lambda_svc._runtime_env_vars(config),
        **execution_credentials(config),
        "AWS_REGION": get_region(),
        "AWS_DEFAULT_REGION": get_region(),
        "AWS_LAMBDA_FUNCTION_NAME": config["FunctionName"],
        "AWS_LAMBDA_FUNCTION_VERSION": config["Version"],
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(config["MemorySize"]),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(config["Timeout"]),  # the emulator's own name
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": group,
        "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        "TZ": ":UTC",
    }


def _file_systems(config: Record) -> list[str]:
    binds = []
    for one in config.get("FileSystemConfigs", []):
        point = efs._access_points.get(one["Arn"].rsplit("/", 1)[-1])
        try:
            if not point:
                raise efs_access.MountRefused(f"{one['Arn']} does not exist")
            mount = efs_access.mount(
                point["FileSystemId"],
                access_point_id=point["AccessPointId"],
                role_arn=config["Role"],
                subnets=config["VpcConfig"]["SubnetIds"],
            )
        except efs_access.MountRefused as refusal:
            raise EFSMountFailureException(
                f"The function couldn't mount the file system: {refusal}"
            ) from None
        mode = "ro" if mount.read_only else "rw"
        binds.append(f"{mount.source}:{one['LocalMountPath']}:{mode}")
    return binds


# --- Invoke -----------------------------------------------------------------------------------


def _invoke(container: Container, event: Record, timeout: int, request_id: str) -> Record:
    """Like MiniStack's, but without reading the container's whole log at every request."""
    body = json.dumps(event).encode()
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            return _post(container, body, timeout, request_id)
        except TimeoutError:
            message = f"Task timed out after {timeout}.00 seconds"
            return {**_failure("Sandbox.Timedout", message), "timeout": True}
        except (OSError, http.client.HTTPException):
            container.reload()
            if container.status != "running":
                break
            time.sleep(0.02)
    output = container.logs(tail=20).decode(errors="replace").strip()
    return _failure("Runtime.ExitError", f"The function's container ended: {output}")


def _post(container: Container, body: bytes, timeout: int, request_id: str) -> Record:
    connection = http.client.HTTPConnection(_address(container), 8080, timeout=START_SECONDS)
    try:
        connection.connect()
        # The emulator times a request out itself; this is for one that does not answer at all.
        connection.sock.settimeout(timeout + 5)
        path = "/2015-03-31/functions/function/invocations"
        connection.request("POST", path, body, {"X-Amzn-RequestId": request_id})
        response = connection.getresponse()
        return _result(response, response.read().decode(errors="replace"))
    finally:
        connection.close()


def _address(container: Container) -> str:
    networks = container.attrs["NetworkSettings"]["Networks"]
    if not networks[_cloud.network]["IPAddress"]:
        container.reload()
        networks = container.attrs["NetworkSettings"]["Networks"]
    return str(networks[_cloud.network]["IPAddress"])


def _result(response: http.client.HTTPResponse, text: str) -> Record:
    try:
        result: Record = {"body": json.loads(text)}
    except json.JSONDecodeError:
        result = {"body": text, "raw_payload": True}
    payload = result["body"]
    if isinstance(payload, str) and lambda_svc._RIE_TIMEOUT_TEXT_RE.fullmatch(payload):
        return {**_failure("Sandbox.Timedout", payload), "timeout": True}
    header = response.headers.get("Lambda-Runtime-Function-Error-Type") or ""
    error = lambda_svc._classify_function_error(payload, header)
    if response.status >= 400 and not error:
        return _failure("Runtime.ExitError", text)
    return {**result, "error": True, "function_error": error} if error else result


def _failure(kind: str, message: str) -> Record:
    body = {"errorMessage": message, "errorType": kind}
    return {"body": body, "error": True, "function_error": "Unhandled"}


# --- End --------------------------------------------------------------------------------------


def _with_version(key: Any) -> Any:
    def wrapped(name: str, config: Record) -> str:
        return f"{key(name, config)}:{config['Version']}"

    return wrapped


def _kill_function(account: str, name: str) -> None:
    """At an update of the function (its versions stay) or its deletion (nothing does)."""
    kill(name, "$LATEST" if name in lambda_svc._functions else None)


def kill(name: str, version: str | None) -> None:
    """End the environments of a version, or of all; one at work ends with its request."""
    account, region = lambda_svc.get_account_id(), get_region()
    with lambda_svc._warm_pool_lock:
        keys = [
            key
            for key in lambda_svc._warm_pool
            if key.split(":")[:3] == [account, region, name]
            and version in (None, key.rsplit(":", 1)[-1])
        ]
        entries = [entry for key in keys for entry in lambda_svc._warm_pool.pop(key)]
        for entry in entries:
            entry["retired"] = True
        idle = [entry for entry in entries if not entry["in_use"]]
    for entry in idle:
        _remove(entry)


def _or_remove(release: Any) -> Any:
    def wrapped(entry: Record) -> None:
        entry["has_answered"] = True
        if entry.get("retired"):
            _remove(entry)
        else:
            release(entry)

    return wrapped


def _remove(entry: Record) -> None:
    try:
        entry["container"].remove(force=True, v=True)
    except docker.errors.APIError as error:
        if error.status_code not in (404, 409):  # gone, or being removed
            raise
