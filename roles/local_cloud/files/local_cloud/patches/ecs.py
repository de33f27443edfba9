"""ECS: tasks come and go as on AWS.

* A task has its network interface, with the address of its container.
* It is stopped in order: out of its target groups, drained, SIGTERM, `stopTimeout`; its exit
  codes are the real ones and its log is complete when it is STOPPED.
* A deployment is complete when its tasks pass their health checks, container's and load
  balancer's; a task that fails them is replaced. A service whose tasks fail is slowed down.
* A service is DRAINING until its tasks have ended, and a cluster in use is not deleted.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any

import docker
from docker.models.containers import Container
from ministack.core.concurrency import resource_lock, spawn_background
from ministack.core.responses import (
    error_response_json,
    get_account_id,
    get_region,
    json_response,
    request_scope,
)
from ministack.services import ecs

from .. import containers
from ..settings import Cloud
from . import container_logs, elb
from .ecs_containers import TASK_LABEL, Record, definition, remove_volumes

Response = tuple[int, dict[str, str], bytes]

WATCH_SECONDS = 0.5
STOP_TIMEOUT = 30  # Fargate's
BACKOFF_LIMIT = 60


def apply(cloud: Cloud) -> None:
    # AWS's task ids have no dashes, and programs cut them out of addresses and names.
    ecs.new_uuid = lambda: uuid.uuid4().hex
    ecs._record_task_ip = _with_interface(ecs._record_task_ip)
    ecs._make_deployment = _in_progress(ecs._make_deployment)
    ecs._watch_task_lifecycle = _watch_task_lifecycle
    ecs._mark_task_stopped = _with_log_flushed(ecs._mark_task_stopped)
    ecs._cleanup_task_resources = _with_client(ecs._cleanup_task_resources)
    ecs._record_service_task_healthy = _when_healthy(ecs._record_service_task_healthy)
    ecs._record_service_task_failure = _with_backoff(ecs._record_service_task_failure)
    ecs._run_task = _unless_backing_off(ecs._run_task)
    ecs._stop_task = _stop_task(ecs._stop_task)
    ecs._delete_service = _delete_service(ecs._delete_service)
    ecs._delete_cluster = _delete_cluster(ecs._delete_cluster)
    ecs._ACTION_MAP |= {
        "StopTask": ecs._stop_task,
        "DeleteService": ecs._delete_service,
        "DeleteCluster": ecs._delete_cluster,
    }
    containers.on_adopt(_adopt)


def _adopt(found: list[Container]) -> Iterable[str]:
    """Tasks do not survive a restart of the API: MiniStack starts the services' anew."""
    tasks = [container for container in found if container.labels.get("ministack") == "ecs"]
    containers.remove(tasks)
    for task_arn in {container.labels[TASK_LABEL] for container in tasks}:
        remove_volumes(task_arn)
    for service in ecs._services.all_values():
        if service["status"] == "DRAINING":
            service["status"] = "INACTIVE"
    return ()


# --- The running task -------------------------------------------------------------------------


def _with_interface(record: Any) -> Any:
    """Complete the network interface that MiniStack begins."""

    def wrapped(task: Record, container: Container, network: str | None) -> None:
        record(task, container, network)
        for attachment in task.get("attachments", []):
            details = {d["name"]: d["value"] for d in attachment["details"]}
            if "networkInterfaceId" in details:
                continue
            address = details["privateIPv4Address"]
            (endpoint,) = container.attrs["NetworkSettings"]["Networks"].values()
            details |= {
                "networkInterfaceId": f"eni-{uuid.uuid4().hex[:17]}",
                "macAddress": endpoint["MacAddress"],
                "privateDnsName": f"ip-{address.replace('.', '-')}.{get_region()}.compute.internal",
            }
            attachment["details"] = [{"name": k, "value": v} for k, v in details.items()]
            for one in task["containers"]:
                one["networkInterfaces"] = [
                    {"attachmentId": attachment["id"], "privateIpv4Address": address}
                ]

    return wrapped


def _watch_task_lifecycle(
    task: Record, client: docker.DockerClient, account_id: str, region: str
) -> None:
    """Follow a task's containers (MiniStack asks Docker ten times a second for each task)."""
    arn = task["taskArn"]

    def watch() -> None:
        with request_scope(account_id, region):
            while ecs._task_is_active(arn, task):
                ecs._maybe_mark_stopped(task, client)
                _check_health(task, client)
                time.sleep(WATCH_SECONDS)

    spawn_background(watch, thread_name=f"ecs-watch-{arn[-8:]}")
    if key := _service_key(task):
        ecs._schedule_service_deployment_completion(
            key.partition("/")[0], key, account_id, region, healthy_task=task
        )


def _service_key(task: Record) -> str | None:
    cluster = ecs._cluster_name_from_arn(task["clusterArn"])
    kind, _unused, name = task["group"].partition(":")
    return f"{cluster}/{name}" if kind == "service" else None


def _check_health(task: Record, client: docker.DockerClient) -> None:
    """Report the containers' health, and replace a service's task that is not healthy."""
    statuses = []
    for container, id_ in zip(task["containers"], task.get("_docker_ids", []), strict=False):
        with suppress(docker.errors.NotFound):
            health = client.containers.get(id_).attrs["State"].get("Health")
            if health:
                container["healthStatus"] = {"healthy": "HEALTHY", "unhealthy": "UNHEALTHY"}.get(
                    health["Status"], "UNKNOWN"
                )
                statuses.append(container["healthStatus"])
    if statuses:
        worst = ("UNHEALTHY", "UNKNOWN", "HEALTHY")
        task["healthStatus"] = min(statuses, key=worst.index)
    if not (key := _service_key(task)) or task["lastStatus"] != "RUNNING":
        return
    if task["healthStatus"] == "UNHEALTHY":
        _replace(task, "Task failed container health checks")
    elif "unhealthy" in _target_states(task) and _age(task) > _grace_seconds(key):
        _replace(task, "Task failed ELB health checks")


def _age(task: Record) -> float:
    return time.time() - datetime.fromisoformat(task["startedAt"]).timestamp()


def _grace_seconds(service_key: str) -> int:
    return int(ecs._services[service_key].get("healthCheckGracePeriodSeconds", 0))


def _replace(task: Record, reason: str) -> None:
    ecs._stop_task({"task": task["taskArn"], "cluster": task["clusterArn"], "reason": reason})
    ecs._record_service_task_failure(task)


# --- Deployments ------------------------------------------------------------------------------


def _in_progress(make: Any) -> Any:
    """A first deployment, too, is complete only when its tasks are healthy."""

    def wrapped(*args: Any, **options: Any) -> Record:
        return {**make(*args, **options), "rolloutState": "IN_PROGRESS", "rolloutStateReason": ""}

    return wrapped


def _when_healthy(record: Any) -> Any:
    def wrapped(service_key: str, task: Record) -> None:
        while ecs._task_is_active(task["taskArn"], task):
            if _is_healthy(service_key, task):
                ecs._deployment_for_task(ecs._services[service_key], task).pop("_failures", None)
                record(service_key, task)
                return
            time.sleep(WATCH_SECONDS)

    return wrapped


def _is_healthy(service_key: str, task: Record) -> bool:
    checked = any(
        definition(task, container["name"]).get("healthCheck") for container in task["containers"]
    )
    states = _target_states(task)
    return (not checked or task["healthStatus"] == "HEALTHY") and not (
        states & {None, "initial", "unhealthy"}
    )


def _target_states(task: Record) -> set[str | None]:
    """What the target groups of the task's service say about it."""
    service = ecs._services.get(_service_key(task)) or {}
    return {
        elb.state_of(balancer["targetGroupArn"], ecs._task_ip(task))
        for balancer in service.get("loadBalancers", [])
    }


def _with_backoff(record: Any) -> Any:
    """The first failed task of a deployment is replaced at once, the next ones ever later."""

    def wrapped(task: Record, digest_resolution_failed: bool = False) -> None:
        service = ecs._services.get(_service_key(task))
        deployment = ecs._deployment_for_task(service, task) if service else None
        if not deployment:
            return
        failures = deployment.get("_failures", 0)
        delay = min(2**failures, BACKOFF_LIMIT) if failures else 0
        deployment.update(_failures=failures + 1, _retry_at=time.time() + delay)
        account, region = get_account_id(), get_region()

        def later() -> None:
            time.sleep(delay)
            with request_scope(account, region):
                record(task, digest_resolution_failed)

        spawn_background(later, thread_name="ecs-replace")

    return wrapped


def _unless_backing_off(run: Any) -> Any:
    """MiniStack's scheduler also comes by at other times."""

    def wrapped(data: Record) -> Response:
        kind, _unused, name = data.get("group", "").partition(":")
        service = ecs._services.get(f"{data['cluster']}/{name}") if kind == "service" else None
        waiting = {
            deployment["id"]
            for deployment in (service or {}).get("deployments", [])
            if deployment.get("_retry_at", 0) > time.time()
        }
        if data.get("_deploymentId") in waiting:
            return json_response({"tasks": [], "failures": []})
        return run(data)

    return wrapped


# --- Stopping ---------------------------------------------------------------------------------


def _with_log_flushed(mark: Any) -> Any:
    def wrapped(
        arn: str, task: Record, reason: str, stop_code: str, exit_code: int | None = None
    ) -> bool:
        if stop_code == "EssentialContainerExited":
            reason = "Essential container in task exited"
        for container, id_ in zip(task["containers"], task.get("_docker_ids", []), strict=False):
            if container["lastStatus"] == "STOPPED":
                container_logs.flush(id_)
        return bool(mark(arn, task, reason, stop_code, exit_code))

    return wrapped


def _with_client(cleanup: Any) -> Any:
    """MiniStack leaves a task's containers behind when they have ended by themselves."""

    def wrapped(task: Record, client: docker.DockerClient | None, extra: Any = None) -> None:
        cleanup(task, client or ecs._get_docker(), extra)
        remove_volumes(task["taskArn"])

    return wrapped


def _stop_task(stop: Any) -> Any:
    def wrapped(data: Record) -> Response:
        cluster = ecs._resolve_cluster_name(data.get("cluster", "default"))
        task = cluster and ecs._resolve_task(data.get("task", ""), cluster)
        if not task or task["lastStatus"] != "RUNNING":
            return stop(data)
        with resource_lock("ecs-task", task["taskArn"]):
            if task["desiredStatus"] == "STOPPED":
                return json_response({"task": ecs._sanitize(task)})
            ecs._bump_task_version(task)
            task.update(
                desiredStatus="STOPPED",
                lastStatus="DEACTIVATING",
                stoppingAt=ecs._iso(),
                stopCode="UserInitiated",
                stoppedReason=data.get("reason", "Task stopped by user"),
            )
        _count(task)  # takes it out of its target groups
        account, region = get_account_id(), get_region()

        def finish() -> None:
            with request_scope(account, region):
                _finish_stop(task)

        spawn_background(finish, thread_name=f"ecs-stop-{task['taskArn'][-8:]}")
        return json_response({"task": ecs._sanitize(task)})

    return wrapped


def _count(task: Record) -> None:
    cluster = ecs._cluster_name_from_arn(task["clusterArn"])
    ecs._recount_cluster(cluster)
    ecs._refresh_service_state(cluster, task["group"])


def _finish_stop(task: Record) -> None:
    while "draining" in _target_states(task):
        time.sleep(WATCH_SECONDS)
    task["lastStatus"] = "STOPPING"
    # Last started, first stopped: what others depend on goes last.
    for container, id_ in reversed(
        list(zip(task["containers"], task["_docker_ids"], strict=False))
    ):
        container["exitCode"] = _stop_container(task, container["name"], id_)
        container["lastStatus"] = "STOPPED"
        container_logs.flush(id_)
    ecs._cleanup_task_resources(task, None)
    with resource_lock("ecs-task", task["taskArn"]):
        ecs._bump_task_version(task)
        task.update(lastStatus="STOPPED", stoppedAt=ecs._iso(), executionStoppedAt=ecs._iso())
    _count(task)


def _stop_container(task: Record, name: str, id_: str) -> int | None:
    try:
        container = ecs._get_docker().containers.get(id_)
        container.stop(timeout=definition(task, name).get("stopTimeout", STOP_TIMEOUT))
        return int(container.wait()["StatusCode"])
    except docker.errors.NotFound:
        return None


def _delete_service(delete: Any) -> Any:
    def wrapped(data: Record) -> Response:
        status, headers, body = delete(data)
        if status >= 400:
            return status, headers, body
        cluster = ecs._resolve_cluster_name(data.get("cluster", "default"))
        name, _unused = ecs._resolve_service_ref(data["service"])
        service = ecs._services[f"{cluster}/{name}"]
        service["status"] = "DRAINING"
        answer = json_response({"service": ecs._sanitize(service)})
        account, region = get_account_id(), get_region()

        def drain() -> None:
            with request_scope(account, region):
                while _unfinished(service["clusterArn"], f"service:{name}"):
                    time.sleep(WATCH_SECONDS)
                service["status"] = "INACTIVE"

        spawn_background(drain, thread_name=f"ecs-drain-{name}")
        return answer

    return wrapped


def _unfinished(cluster_arn: str, group: str | None = None) -> bool:
    return any(
        task["clusterArn"] == cluster_arn
        and group in (None, task["group"])
        and task["lastStatus"] != "STOPPED"
        for task in ecs._tasks.values()
    )


def _delete_cluster(delete: Any) -> Any:
    def wrapped(data: Record) -> Response:
        name = ecs._resolve_cluster_name(data.get("cluster", "default"))
        for key, service in ecs._services.items():
            if key.startswith(f"{name}/") and service["status"] != "INACTIVE":
                return error_response_json(
                    "ClusterContainsServicesException", "The cluster contains services.", 400
                )
        if name in ecs._clusters and _unfinished(ecs._clusters[name]["clusterArn"]):
            return error_response_json(
                "ClusterContainsTasksException", "The cluster contains tasks.", 400
            )
        return delete(data)

    return wrapped
