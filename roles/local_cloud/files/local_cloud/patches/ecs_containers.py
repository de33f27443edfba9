"""ECS: a task's containers are what the task definition says.

MiniStack takes image, command, environment, ports and host binds from it. This adds EFS and
task volumes, the read-only root, user, entry point, Linux parameters and health check, waits for
`dependsOn`, and gives the container what ECS gives it: metadata and credentials.
"""

from __future__ import annotations

import time
from graphlib import TopologicalSorter
from secrets import randbelow
from typing import Any

import docker
from ministack.core.responses import get_account_id, get_region
from ministack.services import ecs, ecs_metadata

from .. import containers
from ..settings import Cloud
from . import container_logs, efs_access

Record = dict[str, Any]
Options = dict[str, Any]

DEPENDENCY_SECONDS = 120
TASK_LABEL = "com.amazonaws.ecs.task-arn"
NAME_LABEL = "com.amazonaws.ecs.container-name"

_cloud: Cloud
_client: docker.DockerClient


class TaskFailed(Exception):
    """Why a task cannot start; becomes its stoppedReason."""


def apply(cloud: Cloud) -> None:
    global _cloud, _client
    _cloud = cloud
    _client = ecs._docker = docker.from_env(timeout=60)
    gateway = containers.ensure_network(_client, cloud)
    ecs._register_metadata = _metadata_with_task_id(ecs._register_metadata, gateway)
    ecs._start_task_worker = _in_order_of_dependencies(ecs._start_task_worker)
    ecs._run_docker_container = _leaving_nothing(ecs._run_docker_container)
    ecs._start_awslogs_forwarder = _follow_logs
    containers.on_create(_complete)


def task_id(task_arn: str) -> str:
    return task_arn.rsplit("/", 1)[-1]


def definition(task: Record, container: str) -> Record:
    task_definition = ecs._task_defs[ecs._resolve_td_key(task["taskDefinitionArn"])]
    return next(c for c in task_definition["containerDefinitions"] if c["name"] == container)


def remove_volumes(task_arn: str) -> None:
    for volume in _client.volumes.list(filters={"label": f"{TASK_LABEL}={task_arn}"}):
        volume.remove(force=True)


# --- Around MiniStack's start of a task -------------------------------------------------------


def _metadata_with_task_id(register: Any, gateway: str) -> Any:
    """The metadata address ends in `<task id>-<number>`, as on Fargate."""

    def wrapped(task_arn: str, *args: Any) -> str:
        *args, env, host_mode, _unused = args
        token = register(task_arn, *args, env, host_mode, gateway)
        name = f"{task_id(task_arn)}-{randbelow(10**10):010}"
        with ecs_metadata._LOCK:
            for index in (ecs_metadata._TOKEN_TO_TASK, ecs_metadata._TOKEN_TO_CONTAINER):
                index[name] = index.pop(token)
        uri = "ECS_CONTAINER_METADATA_URI_V4"
        env[uri] = env[uri].replace(token, name)
        return name

    return wrapped


def _in_order_of_dependencies(start: Any) -> Any:
    def wrapped(task: Record, td: Record, *args: Any) -> None:
        names = [c["name"] for c in td["containerDefinitions"]]
        graph = {
            c["name"]: [d["containerName"] for d in c.get("dependsOn", [])]
            for c in td["containerDefinitions"]
        }
        order = [names.index(name) for name in TopologicalSorter(graph).static_order()]
        if order != sorted(order):
            # All three lists are parallel.
            td = {**td, "containerDefinitions": [td["containerDefinitions"][i] for i in order]}
            for key in ("containers", "_container_essentials"):
                task[key] = [task[key][i] for i in order]
        start(task, td, *args)

    return wrapped


def _leaving_nothing(run: Any) -> Any:
    """A container that could be created but not started is left by MiniStack."""

    def wrapped(client: Any, cdef: Record, options: Options, **more: Any) -> Any:
        try:
            return run(client, cdef, options, **more)
        except Exception:
            _remove_leftover(options["name"])
            raise

    return wrapped


def _follow_logs(container: Any, cdef: Record, id_: str) -> None:
    if config := ecs._awslogs_config(cdef, id_, container.id):
        container_logs.follow(container, config["group"], config["stream"], config["region"])


# --- One container ----------------------------------------------------------------------------


def _complete(options: Options) -> None:
    """Hook before a container is created."""
    if options["labels"].get("ministack") != "ecs":
        return
    task = ecs._tasks[options["labels"][TASK_LABEL]]
    cdef = definition(task, options["labels"][NAME_LABEL])
    _remove_leftover(options["name"])
    _await_dependencies(task, cdef)
    _prepare_logs(cdef)
    options["environment"] = _environment(options["environment"])
    options["volumes"] = _volumes(task, cdef, options["image"])
    options["mem_limit"] = _memory(task, cdef)
    _apply_definition(options, cdef)
    _apply_linux_parameters(options, cdef.get("linuxParameters", {}))


def _remove_leftover(name: str) -> None:
    """MiniStack tries twice, and a container that did not start still has the name."""
    try:
        _client.containers.get(name).remove(force=True, v=True)
    except docker.errors.NotFound:
        return


def _environment(environment: dict[str, str]) -> dict[str, str]:
    region = get_region()
    # SDKs refuse credentials over http from any address but those of AWS.
    for name in ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN"):
        environment.pop(name, None)
    return {
        "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": get_account_id(),
        "AWS_SECRET_ACCESS_KEY": "local-cloud",
        **environment,
    }


def _apply_definition(options: Options, cdef: Record) -> None:
    options.update(
        entrypoint=cdef.get("entryPoint") or None,
        working_dir=cdef.get("workingDirectory") or None,
        user=cdef.get("user") or None,
        read_only=bool(cdef.get("readonlyRootFilesystem")),
        ulimits=[
            docker.types.Ulimit(name=u["name"], soft=u["softLimit"], hard=u["hardLimit"])
            for u in cdef.get("ulimits", [])
        ],
    )
    if check := cdef.get("healthCheck"):
        options["healthcheck"] = {
            "test": check["command"],
            "interval": check.get("interval", 30) * 10**9,
            "timeout": check.get("timeout", 5) * 10**9,
            "retries": check.get("retries", 3),
            "start_period": check.get("startPeriod", 0) * 10**9,
        }


def _memory(task: Record, cdef: Record) -> str | None:
    """What a container may take: all of its task's, which on Fargate they share, unless it has a
    limit of its own."""
    task_definition = ecs._task_defs[ecs._resolve_td_key(task["taskDefinitionArn"])]
    limit = cdef.get("memory") or task_definition.get("memory")
    return f"{limit}m" if limit else None


def _apply_linux_parameters(options: Options, parameters: Record) -> None:
    options["init"] = bool(parameters.get("initProcessEnabled"))
    options["cap_drop"] = parameters.get("capabilities", {}).get("drop", [])
    options["tmpfs"] = {
        mount["containerPath"]: ",".join([f"size={mount['size']}m", *mount.get("mountOptions", [])])
        for mount in parameters.get("tmpfs", [])
    }
    if size := parameters.get("sharedMemorySize"):
        options["shm_size"] = f"{size}m"


def _prepare_logs(cdef: Record) -> None:
    config = ecs._awslogs_config(cdef, "", "")
    if not config:
        return
    if config["create_group"]:
        container_logs.create_group(config["group"], config["region"])
    elif not container_logs.group_exists(config["group"], config["region"]):
        raise TaskFailed(
            "failed to validate logger args: failed to create Cloudwatch log stream: "
            f"ResourceNotFoundException: The specified log group does not exist: {config['group']}"
        )


# --- Volumes ----------------------------------------------------------------------------------


def _volumes(task: Record, cdef: Record, image: str) -> list[str]:
    task_definition = ecs._task_defs[ecs._resolve_td_key(task["taskDefinitionArn"])]
    volumes = {volume["name"]: volume for volume in task_definition["volumes"]}
    binds = []
    for point in cdef.get("mountPoints", []):
        volume, path = volumes[point["sourceVolume"]], point["containerPath"]
        if efs := volume.get("efsVolumeConfiguration"):
            mount = _efs_mount(task, task_definition["taskRoleArn"], efs)
            source, modes = str(mount.source), ["ro" if mount.read_only else "rw"]
        elif source := volume.get("host", {}).get("sourcePath"):
            modes = ["rw"]
        else:
            source = _task_volume(task, volume["name"])
            modes = ["rw"] if _declares_volume(image, path) else ["rw", "nocopy"]
        if point.get("readOnly"):
            modes[0] = "ro"
        binds.append(f"{source}:{path}:{','.join(modes)}")
    return binds


def _task_volume(task: Record, name: str) -> str:
    """A Docker volume that the task's containers share and that ends with the task."""
    labels = {containers.LABEL: _cloud.name, TASK_LABEL: task["taskArn"]}
    full_name = f"{_cloud.network}-{task_id(task['taskArn'])}-{name}"
    return str(_client.volumes.create(full_name, labels=labels).name)


def _declares_volume(image: str, path: str) -> bool:
    """Fargate gives an empty volume the image's files and owner only where the image declares a
    VOLUME; elsewhere it belongs to root, and a program without privileges cannot write."""
    try:
        declared = _client.images.get(image).attrs["Config"]["Volumes"] or {}
    except docker.errors.ImageNotFound:
        return False  # it is pulled next, and this hook runs again
    return path.rstrip("/") in {volume.rstrip("/") for volume in declared}


def _efs_mount(task: Record, role_arn: str, efs: Record) -> efs_access.Mount:
    authorization = efs.get("authorizationConfig", {})
    try:
        return efs_access.mount(
            efs["fileSystemId"],
            access_point_id=authorization.get("accessPointId"),
            path=efs.get("rootDirectory", "/"),
            role_arn=role_arn if authorization.get("iam") == "ENABLED" else None,
            subnets=[task["_subnet"]] if task.get("_subnet") else [],
        )
    except efs_access.MountRefused as refusal:
        raise TaskFailed(f"failed to invoke EFS utils to set up EFS volumes: {refusal}") from None


# --- Dependencies -----------------------------------------------------------------------------


def _await_dependencies(task: Record, cdef: Record) -> None:
    names = [container["name"] for container in task["containers"]]
    for dependency in cdef.get("dependsOn", []):
        id_ = task["_docker_ids"][names.index(dependency["containerName"])]
        deadline = time.monotonic() + DEPENDENCY_SECONDS
        while not _satisfied(id_, dependency):
            if time.monotonic() > deadline:
                raise TaskFailed(f"{dependency['containerName']} did not become {dependency}")
            time.sleep(0.2)


def _satisfied(container_id: str, dependency: Record) -> bool:
    state = _client.containers.get(container_id).attrs["State"]
    ended = state["Status"] == "exited"
    condition = dependency["condition"]
    if condition == "START":
        return True
    if condition == "HEALTHY":
        return state.get("Health", {}).get("Status") == "healthy"
    if ended and condition == "SUCCESS" and state["ExitCode"]:
        raise TaskFailed(f"{dependency['containerName']} exited with {state['ExitCode']}")
    return ended
