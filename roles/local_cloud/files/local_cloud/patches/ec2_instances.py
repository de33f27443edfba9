"""EC2: instances are launched as asked for, come and go as on AWS, and outlive the API.

* What a request names must exist: AMI, subnet, groups, key pair, profile; a client token launches
  once.
* `pending`, `stopping` and `shutting-down` last as long as the machine takes. A Describe call
  waits for that a moment, since waiters ask every 15 seconds only.
* Status checks look into the machine. Stop keeps the address, terminate takes the volumes along.
* After a restart of the API the instances are there again, as they were.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from docker.models.containers import Container
from ministack.core.concurrency import spawn_background
from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import ec2

from .. import containers
from ..settings import Cloud
from . import ec2_images, ec2_machines, ec2_requests
from .ec2_requests import Params, Record, Refused, Response

SETTLE_SECONDS = 10
STATES = {
    "pending": 0,
    "running": 16,
    "shutting-down": 32,
    "terminated": 48,
    "stopping": 64,
    "stopped": 80,
}
TRANSIENT = {"pending", "shutting-down", "stopping"}

# One change of a machine at a time.
_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


def apply(cloud: Cloud) -> None:
    ec2._reconcile_backed_instances_after_restore = lambda: None  # `_adopt` does
    ec2._vm_reconcile_running = _reconcile
    ec2._ACTION_MAP |= {
        "RunInstances": _answering(_run),
        "StopInstances": _answering(_stop),
        "StartInstances": _answering(_start),
        "RebootInstances": _answering(_reboot),
        "TerminateInstances": _answering(_terminate),
        "DescribeInstances": _settled(ec2._ACTION_MAP["DescribeInstances"]),
        "DescribeInstanceStatus": _answering(_describe_status),
    }
    ec2._DOCKER_ACTIONS |= {"DescribeInstanceStatus"}
    containers.on_adopt(_adopt)


def _answering(handler: Callable[[Params], Response]) -> Callable[[Params], Response]:
    def answer(p: Params) -> Response:
        try:
            return handler(p)
        except Refused as refused:
            return ec2._error(refused.code, str(refused), 400)

    return answer


# --- States -----------------------------------------------------------------------------------


def _state(instance: Record) -> str:
    return str(instance["State"]["Name"])


def _set(instance: Record, state: str, reason: str = "") -> None:
    instance["State"] = {"Code": STATES[state], "Name": state}
    instance["StateReason"] = reason
    if state == "terminated":
        instance["_terminated_at"] = time.time()


def _change(instance: Record, during: str, work: Callable[[], None], after: str) -> None:
    """Set the state at once, do the work in the background, then set the state that it led to."""
    _set(instance, during)
    account, region = get_account_id(), get_region()

    def run() -> None:
        with request_scope(account, region), _locks[instance["InstanceId"]]:
            if _state(instance) != during:
                return  # something newer was asked for meanwhile
            try:
                work()
            except Exception as error:  # whatever it is, the state must say so
                ec2._vm_remove_container(instance)
                _set(instance, "terminated", f"Server.InternalError: {error}")
            else:
                # A termination that was asked for meanwhile comes next.
                if _state(instance) == during:
                    _set(instance, after)

    spawn_background(run, thread_name=f"ec2-{instance['InstanceId']}")


def _settle(ids: Iterable[str]) -> None:
    """Wait a moment for changes under way of these instances, or of all."""
    deadline = time.monotonic() + SETTLE_SECONDS
    ids = set(ids)
    while time.monotonic() < deadline and any(
        _state(instance) in TRANSIENT and (not ids or id_ in ids)
        for id_, instance in list(ec2._instances.items())
    ):
        time.sleep(0.05)


def _settled(describe: Any) -> Any:
    def wrapped(p: Params) -> Response:
        ec2_requests.check_filters(p)
        _settle(ec2._parse_member_list(p, "InstanceId"))
        return describe(p)

    return _answering(wrapped)


def _reconcile(instances: Iterable[Record]) -> None:
    """A machine that has ended by itself is stopped; one that is gone is terminated."""
    for instance in instances:
        if _state(instance) != "running" or _locks[instance["InstanceId"]].locked():
            continue
        container = ec2_machines.find(instance)
        if container is None:
            _set(instance, "terminated", "Server.InternalError: the container is gone")
        elif container.status in ("exited", "dead"):
            _set(instance, "stopped", "Client.InstanceInitiatedShutdown")


def _adopt(found: list[Container]) -> Iterable[str]:
    """Take the machines back after a restart of the API, or of the whole computer."""
    machines = {c.labels["instance_id"]: c for c in found if c.labels.get("ministack") == "ec2"}
    kept = []
    for (account, region, id_), instance in ec2._instances.all_items():
        container = machines.get(id_)
        with request_scope(account, region):
            if container and _state(instance) not in ("shutting-down", "terminated"):
                kept.append(container.id)
                _resume(instance, container)
            elif _state(instance) != "terminated":
                _finish_termination(instance)
                _set(instance, "terminated", "Server.InternalError: the container is gone")
    return kept


def _resume(instance: Record, container: Container) -> None:
    state = _state(instance)
    if state == "stopping":
        _change(instance, state, container.stop, "stopped")
    elif state != "stopped":
        _change(instance, "pending", container.start, "running")  # no-op while it runs


# --- Actions ----------------------------------------------------------------------------------


def _run(p: Params) -> Response:
    p = ec2_requests.with_flat_interface(p)
    token = ec2._p(p, "ClientToken")
    launched = [i for i in ec2._instances.values() if token and i.get("ClientToken") == token]
    if not launched:
        image = ec2._registered_image(ec2._p(p, "ImageId"))
        if not image or "DockerImage" not in image:
            return ec2_images.not_found(ec2._p(p, "ImageId"))
        launched = _launch(p, image)
    items = "".join(ec2._instance_xml(instance) for instance in launched)
    return ec2._xml(
        200,
        "RunInstancesResponse",
        f"<reservationId>r-{launched[0]['InstanceId'][2:]}</reservationId>"
        f"<ownerId>{get_account_id()}</ownerId><groupSet/><instancesSet>{items}</instancesSet>",
    )


def _launch(p: Params, image: Record) -> list[Record]:
    request = ec2_requests.parse(p)
    launched = []
    for index in range(request.count):
        (instance,) = ec2._launch_instances_internal(
            image_id=image["ImageId"],
            instance_type=request.instance_type,
            subnet_id=request.subnet["SubnetId"],
            count=1,
            key_name=request.key_name,
            user_data=request.user_data,
            sg_ids=request.groups,
            requested_private_ip=ec2_machines.free_address(),
            iam_profile=request.profile,
        )
        ec2_requests.complete(instance, p, request, image, index)
        _change(instance, "pending", _booting(instance, image["DockerImage"]), "running")
        launched.append(instance)
    return launched


def _booting(instance: Record, image: str) -> Callable[[], None]:
    def boot() -> None:
        container = ec2_machines.boot(instance, image)
        instance["_ssm_managed"] = ec2._probe_shell(container)

    return boot


def _named(p: Params) -> list[Record]:
    found = []
    for id_ in ec2._parse_member_list(p, "InstanceId"):
        if id_ not in ec2._instances:
            message = f"The instance ID '{id_}' does not exist"
            raise Refused("InvalidInstanceID.NotFound", message)
        found.append(ec2._instances[id_])
    return found


def _machine(instance: Record, allowed: set[str], verb: str) -> Container:
    container = ec2_machines.find(instance) if _state(instance) in allowed else None
    if container is None:
        raise Refused(
            "IncorrectInstanceState",
            f"The instance '{instance['InstanceId']}' is not in a state from which it can be "
            f"{verb}: {_state(instance)}",
        )
    return container


def _stop(p: Params) -> Response:
    before = {}
    for instance in _named(p):
        before[instance["InstanceId"]] = instance["State"]
        if _state(instance) in ("stopping", "stopped"):
            continue
        container = _machine(instance, {"running"}, "stopped")
        seconds = 0 if ec2._p(p, "Force") == "true" else ec2_machines.STOP_SECONDS
        _change(instance, "stopping", _stopping(container, seconds), "stopped")
    return _changes("StopInstances", before)


def _stopping(container: Container, seconds: int) -> Callable[[], None]:
    return lambda: container.stop(timeout=seconds)


def _start(p: Params) -> Response:
    before = {}
    for instance in _named(p):
        before[instance["InstanceId"]] = instance["State"]
        if _state(instance) in ("pending", "running"):
            continue
        container = _machine(instance, {"stopped"}, "started")
        _change(instance, "pending", container.start, "running")
    return _changes("StartInstances", before)


def _reboot(p: Params) -> Response:
    for instance in _named(p):
        container = _machine(instance, {"running"}, "rebooted")
        _change(instance, "running", container.restart, "running")
    return ec2._xml(200, "RebootInstancesResponse", "<return>true</return>")


def _terminate(p: Params) -> Response:
    instances = _named(p)
    for instance in instances:
        if instance.get("DisableApiTermination"):
            raise Refused(
                "OperationNotPermitted",
                f"The instance '{instance['InstanceId']}' may not be terminated. Modify its "
                "'disableApiTermination' instance attribute and try again.",
            )
    before = {instance["InstanceId"]: instance["State"] for instance in instances}
    for instance in instances:
        if _state(instance) not in ("shutting-down", "terminated"):
            _change(instance, "shutting-down", _terminating(instance), "terminated")
    return _changes("TerminateInstances", before)


def _terminating(instance: Record) -> Callable[[], None]:
    def terminate() -> None:
        if container := ec2_machines.find(instance):
            containers.remove([container])
        _finish_termination(instance)

    return terminate


def _finish_termination(instance: Record) -> None:
    if association := ec2._find_active_iam_instance_profile_association(instance["InstanceId"]):
        ec2._mark_iam_instance_profile_association_disassociated(association)
    for mapping in instance["BlockDeviceMappings"]:
        if mapping["Ebs"]["DeleteOnTermination"]:
            ec2._volumes.pop(mapping["Ebs"]["VolumeId"], None)
            ec2._tags.pop(mapping["Ebs"]["VolumeId"], None)
    instance["BlockDeviceMappings"] = []


def _changes(action: str, before: dict[str, Record]) -> Response:
    items = ""
    for id_, state in before.items():
        now = ec2._instances[id_]["State"]
        items += (
            f"<item><instanceId>{id_}</instanceId>"
            f"<currentState><code>{now['Code']}</code><name>{now['Name']}</name></currentState>"
            f"<previousState><code>{state['Code']}</code><name>{state['Name']}</name>"
            "</previousState></item>"
        )
    return ec2._xml(200, f"{action}Response", f"<instancesSet>{items}</instancesSet>")


# --- Status -----------------------------------------------------------------------------------


def _describe_status(p: Params) -> Response:
    ids = ec2._parse_member_list(p, "InstanceId")
    _named(p)
    _settle(ids)
    _reconcile(list(ec2._instances.values()))
    everything = ec2._p(p, "IncludeAllInstances") == "true"
    items = "".join(
        _status_xml(instance)
        for id_, instance in ec2._instances.items()
        if (not ids or id_ in ids) and (everything or _state(instance) == "running")
    )
    return ec2._xml(
        200, "DescribeInstanceStatusResponse", f"<instanceStatusSet>{items}</instanceStatusSet>"
    )


def _status_xml(instance: Record) -> str:
    status, detail = "not-applicable", ""
    if _state(instance) == "running":
        status, passed = (
            ("ok", "passed") if _comes_up(instance) else ("initializing", "initializing")
        )
        detail = (
            f"<details><item><name>reachability</name><status>{passed}</status></item></details>"
        )
    check = f"<status>{status}</status>{detail}"
    return (
        f"<item><instanceId>{instance['InstanceId']}</instanceId>"
        f"<availabilityZone>{instance['Placement']['AvailabilityZone']}</availabilityZone>"
        f"<instanceState><code>{instance['State']['Code']}</code>"
        f"<name>{_state(instance)}</name></instanceState>"
        f"<systemStatus>{check}</systemStatus><instanceStatus>{check}</instanceStatus></item>"
    )


def _comes_up(instance: Record) -> bool:
    deadline = time.monotonic() + SETTLE_SECONDS
    container = ec2_machines.find(instance)
    while container and time.monotonic() < deadline:
        if ec2_machines.is_reachable(container):
            return True
        time.sleep(0.2)
    return False
