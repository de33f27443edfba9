"""Application Auto Scaling, which MiniStack lacks: a service's desired count, changed at a time.

Scalable targets are ECS services, and scheduled actions have one time, `at(…)` in UTC. One that
has run stays in the list, like one whose service is gone, and never runs again.
"""

from __future__ import annotations

import asyncio
import copy
import json
import logging
import sys
import time
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from ministack import app
from ministack.core import iam_actions, router
from ministack.core.responses import (
    AccountRegionScopedDict,
    error_response_json,
    get_account_id,
    get_region,
    json_response,
    request_scope,
)
from ministack.services import ecs

from ..settings import Cloud
from . import lifecycle

Record = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]

NAME = "application-autoscaling"
STATE = "application_autoscaling"
FOLLOW_SECONDS = 0.5
DIMENSION = "ecs:service:DesiredCount"
SCHEDULE = "at(%Y-%m-%dT%H:%M:%S)"

logger = logging.getLogger("local_cloud")
# By resource ID, `service/<cluster>/<service>`.
_targets = AccountRegionScopedDict()
# By resource ID and the action's own name, with a line break between.
_actions = AccountRegionScopedDict()


class Refused(Exception):
    """An error answer: code and message."""


def apply(cloud: Cloud) -> None:
    router.SERVICE_PATTERNS[NAME] = {"target_prefixes": ["AnyScaleFrontendService."]}
    app.SERVICE_HANDLERS[NAME] = handle_request
    iam_actions.SERVICE_TO_IAM_NAMESPACE[NAME] = NAME
    # State is saved and loaded where that of MiniStack's own services is.
    app._state_map[STATE] = STATE
    app._loaded_modules[STATE] = sys.modules[__name__]
    lifecycle.on_start(_start)


def get_state() -> Record:
    return copy.deepcopy({"targets": _targets, "actions": _actions})


def load_persisted_state(state: Record) -> None:
    _targets.update(state["targets"])
    _actions.update(state["actions"])


async def handle_request(
    method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]
) -> Response:
    operation = OPERATIONS.get(headers.get("x-amz-target", "").partition(".")[2])
    if not operation:
        return error_response_json("InvalidAction", "the local cloud lacks this operation", 400)
    try:
        # A new limit may change a service, which waits for Docker.
        return json_response(await asyncio.to_thread(operation, json.loads(body or b"{}")))
    except Refused as refused:
        return error_response_json(*refused.args, 400)


# --- Operations -------------------------------------------------------------------------------


def _register(request: Record) -> Record:
    resource = _resource(request)
    service = _service(resource)
    if service is None:
        raise Refused("ValidationException", f"ECS service doesn't exist: {resource}")
    known = _targets.get(resource) or {}
    limits = _limits(request, known)
    if limits.keys() != {"MinCapacity", "MaxCapacity"}:
        raise Refused("ValidationException", "A new target needs MinCapacity and MaxCapacity")
    arn = f"arn:aws:{NAME}:{get_region()}:{get_account_id()}:scalable-target/{uuid.uuid4().hex}"
    role = f"arn:aws:iam::{get_account_id()}:role/aws-service-role/ecs.{NAME}.amazonaws.com/"
    new = {
        "ServiceNamespace": "ecs",
        "ResourceId": resource,
        "ScalableDimension": DIMENSION,
        "RoleARN": f"{role}AWSServiceRoleForApplicationAutoScaling_ECSService",
        "CreationTime": time.time(),
        "ScalableTargetARN": arn,
    }
    _targets[resource] = new | known | limits
    _scale(resource)
    return {"ScalableTargetARN": _targets[resource]["ScalableTargetARN"]}


def _deregister(request: Record) -> Record:
    resource = _registered(request)
    del _targets[resource]
    for key in list(_actions):
        if _actions[key]["ResourceId"] == resource:
            del _actions[key]
    return {}


def _describe_targets(request: Record) -> Record:
    ids = request.get("ResourceIds")
    found = [target for target in _targets.values() if not ids or target["ResourceId"] in ids]
    return {"ScalableTargets": found}


def _put_action(request: Record) -> Record:
    resource = _registered(request)
    key = f"{resource}\n{request['ScheduledActionName']}"
    known = _actions.get(key) or {}
    schedule = request.get("Schedule", known.get("Schedule", ""))
    try:
        at = _seconds(schedule)
    except ValueError:
        text = f"the local cloud knows at(yyyy-mm-ddThh:mm:ss) only, not {schedule!r}"
        raise Refused("ValidationException", text) from None
    if at < time.time():
        raise Refused("ValidationException", f"The time of schedule {schedule} has passed")
    arn = f"arn:aws:{NAME}:{get_region()}:{get_account_id()}:scheduledAction:{uuid.uuid4()}"
    limits = known.get("ScalableTargetAction", {})
    new = {
        "ScheduledActionName": request["ScheduledActionName"],
        "ScheduledActionARN": f"{arn}:resource/ecs/{resource}",
        "ServiceNamespace": "ecs",
        "ResourceId": resource,
        "ScalableDimension": DIMENSION,
        "CreationTime": time.time(),
    }
    _actions[key] = (
        new
        | known
        | {
            "Schedule": schedule,
            "ScalableTargetAction": _limits(request.get("ScalableTargetAction", {}), limits),
            "_ran": False,
        }
    )
    return {}


def _describe_actions(request: Record) -> Record:
    asked = request.get("ResourceId"), request.get("ScheduledActionNames")
    found = [
        {key: value for key, value in action.items() if key != "_ran"}
        for action in _actions.values()
        if asked[0] in (None, action["ResourceId"])
        and (not asked[1] or action["ScheduledActionName"] in asked[1])
    ]
    return {"ScheduledActions": found}


def _delete_action(request: Record) -> Record:
    resource, name = _resource(request), request["ScheduledActionName"]
    if _actions.pop(f"{resource}\n{name}", None) is None:
        raise Refused("ObjectNotFoundException", f"No scheduled action found: {name} of {resource}")
    return {}


OPERATIONS: dict[str, Callable[[Record], Record]] = {
    "RegisterScalableTarget": _register,
    "DeregisterScalableTarget": _deregister,
    "DescribeScalableTargets": _describe_targets,
    "PutScheduledAction": _put_action,
    "DescribeScheduledActions": _describe_actions,
    "DeleteScheduledAction": _delete_action,
}


def _resource(request: Record) -> str:
    asked = request.get("ServiceNamespace"), request.get("ScalableDimension")
    if asked != ("ecs", DIMENSION):
        raise Refused("ValidationException", f"the local cloud scales ecs {DIMENSION} only")
    return str(request["ResourceId"])


def _registered(request: Record) -> str:
    resource = _resource(request)
    if resource not in _targets:
        raise Refused(
            "ObjectNotFoundException",
            "No scalable target registered for service namespace: ecs, "
            f"resource ID: {resource}, scalable dimension: {DIMENSION}",
        )
    return resource


def _limits(request: Record, known: Record) -> Record:
    limits = {
        key: request.get(key, known.get(key))
        for key in ("MinCapacity", "MaxCapacity")
        if request.get(key, known.get(key)) is not None
    }
    if limits.get("MinCapacity", 0) > limits.get("MaxCapacity", float("inf")):
        raise Refused(
            "ValidationException", "Maximum capacity cannot be less than minimum capacity"
        )
    return limits


# --- The services -----------------------------------------------------------------------------


def _service(resource: str) -> Record | None:
    service = ecs._services.get(resource.removeprefix("service/"))
    return service if service and service["status"] == "ACTIVE" else None


def _scale(resource: str) -> None:
    """Bring a service's desired count between its target's limits."""
    service, target = _service(resource), _targets[resource]
    if service is None:
        return
    now = service["desiredCount"]
    wanted = max(target["MinCapacity"], min(now, target["MaxCapacity"]))
    if wanted != now:
        _unused, cluster, name = resource.split("/")
        ecs._ACTION_MAP["UpdateService"](
            {"cluster": cluster, "service": name, "desiredCount": wanted}
        )


def _start() -> None:
    app.local_cloud_scheduled_actions = asyncio.get_running_loop().create_task(_keep_running())


async def _keep_running() -> None:
    while True:
        await asyncio.sleep(FOLLOW_SECONDS)
        for action in _due(_actions.all_values()):
            try:
                await asyncio.to_thread(_run, action)
            except Exception:
                logger.exception("scheduled action %s failed", action["ScheduledActionARN"])


def _due(actions: Iterable[Record]) -> list[Record]:
    now = time.time()
    return [a for a in actions if not a["_ran"] and _seconds(a["Schedule"]) <= now]


def _run(action: Record) -> None:
    action["_ran"] = True
    _unused, _unused, _unused, region, account = action["ScheduledActionARN"].split(":")[:5]
    with request_scope(account, region):
        target = _targets[action["ResourceId"]]
        _targets[action["ResourceId"]] = target | action["ScalableTargetAction"]
        _scale(action["ResourceId"])


def _seconds(schedule: str) -> float:
    return datetime.strptime(schedule, SCHEDULE).replace(tzinfo=UTC).timestamp()
