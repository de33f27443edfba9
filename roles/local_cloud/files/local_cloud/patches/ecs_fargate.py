"""ECS: Fargate refuses here what it refuses on AWS: what runs here runs there."""

from __future__ import annotations

from typing import Any

from ministack.core.responses import error_response_json
from ministack.services import ec2, ecs

from ..settings import Cloud

Record = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]

# CPU units: MiB of memory that go with them.
SIZES = {
    256: [512, 1024, 2048],
    512: range(1024, 4097, 1024),
    1024: range(2048, 8193, 1024),
    2048: range(4096, 16385, 1024),
    4096: range(8192, 30721, 1024),
    8192: range(16384, 61441, 4096),
    16384: range(32768, 122881, 8192),
}


def apply(cloud: Cloud) -> None:
    ecs._ACTION_MAP |= {
        "RegisterTaskDefinition": _unless_refused(ecs._register_task_definition, _definition),
        "RunTask": _unless_refused(ecs._run_task, _network),
        "CreateService": _unless_refused(ecs._create_service, _network),
    }


def _unless_refused(action: Any, reason_against: Any) -> Any:
    def wrapped(data: Record) -> Response:
        if reason := reason_against(data):
            return error_response_json(*reason, 400)
        return action(data)

    return wrapped


def _definition(data: Record) -> tuple[str, str] | None:
    if "FARGATE" not in data.get("requiresCompatibilities", []):
        return None
    cpu, memory = data.get("cpu", ""), data.get("memory", "")
    if data.get("networkMode") != "awsvpc":
        return "ClientException", "Fargate only supports network mode 'awsvpc'."
    if not cpu.isdigit() or not memory.isdigit() or int(memory) not in SIZES.get(int(cpu), ()):
        return "ClientException", (
            f"No Fargate configuration exists for given values: {cpu} CPU, {memory} memory."
        )
    for container in data.get("containerDefinitions", []):
        if reason := _container(container, data):
            return "ClientException", f"{container.get('name')}: {reason} on Fargate."
    if any(volume.get("host", {}).get("sourcePath") for volume in data.get("volumes", [])):
        return "ClientException", "host.sourcePath is not supported on Fargate."
    return None


def _container(container: Record, data: Record) -> str | None:
    linux = container.get("linuxParameters", {})
    if container.get("privileged"):
        return "privileged is not supported"
    if set(linux) & {"tmpfs", "devices", "sharedMemorySize"}:
        return "tmpfs, devices and sharedMemorySize are not supported"
    if set(linux.get("capabilities", {}).get("add", [])) - {"SYS_PTRACE"}:
        return "no capability but SYS_PTRACE can be added"
    needs_role = container.get("logConfiguration", {}).get("logDriver") == "awslogs"
    if needs_role and not data.get("executionRoleArn"):
        return "log driver awslogs needs an execution role"
    return None


def _network(data: Record) -> tuple[str, str] | None:
    definition = ecs._task_defs.get(ecs._resolve_td_key(data.get("taskDefinition", "")))
    if not definition or definition["networkMode"] != "awsvpc":
        return None
    network = data.get("networkConfiguration", {}).get("awsvpcConfiguration")
    if not network:
        return "InvalidParameterException", (
            "Network Configuration must be provided when networkMode 'awsvpc' is specified."
        )
    for kind, known in (("subnet", ec2._subnets), ("securityGroup", ec2._security_groups)):
        for id_ in network.get(f"{kind}s", []):
            if id_ not in known:
                return "InvalidParameterException", f"The {kind} ID '{id_}' does not exist."
    return None
