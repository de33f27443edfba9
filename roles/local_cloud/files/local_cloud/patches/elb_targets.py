"""ELBv2: targets and what the API says of their health."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ministack.services import alb, ec2

from . import elb_lambda
from .elb_api import Params, Refused, Response, action, fields, require_groups
from .elb_health import NOT_REGISTERED, Targets, Verdict


@action("RegisterTargets")
def register_targets(params: Params) -> Response:
    arn = alb._p(params, "TargetGroupArn")
    require_groups([arn])
    group = alb._tgs[arn]
    asked = alb._parse_targets_param(params)
    if group["TargetType"] == "lambda":
        alb._targets[arn] = _function_targets(arn, asked)
        return alb._empty("RegisterTargets")
    if group["TargetType"] == "instance":
        _require_running([target["Id"] for target in asked])
    registered = alb._targets.setdefault(arn, [])
    # The same target on another port is another target.
    for target in _with_port(asked, group):
        if target not in registered:
            registered.append(target)
    return alb._empty("RegisterTargets")


def _function_targets(group: str, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ids = {target["Id"] for target in asked + alb._targets.get(group, [])}
    if len(ids) != 1:
        raise Refused("TooManyTargets", f"Target group '{group}' takes one Lambda function only")
    function = ids.pop()
    if not elb_lambda.may_invoke(function, group):
        text = (
            "elasticloadbalancing principal does not have permission to invoke "
            f"{function} from target group {group}"
        )
        raise Refused("AccessDenied", text)
    return [{"Id": function}]


def _require_running(ids: Iterable[str]) -> None:
    for id_ in ids:
        record = ec2._instances.get(id_)
        if record is None:
            raise Refused("InvalidTarget", f"Target instance '{id_}' does not exist")
        if record["State"]["Name"] not in ("pending", "running"):
            text = f"The following targets are not in a running state: '{id_}'"
            raise Refused("InvalidTarget", f"{text} and cannot be registered")


@action("DeregisterTargets")
def deregister_targets(params: Params) -> Response:
    arn = alb._p(params, "TargetGroupArn")
    require_groups([arn])
    leaving = _with_port(alb._parse_targets_param(params), alb._tgs[arn])
    alb._targets[arn] = [t for t in alb._targets.get(arn, []) if t not in leaving]
    return alb._empty("DeregisterTargets")


def _with_port(targets: list[dict[str, Any]], group: dict[str, Any]) -> list[dict[str, Any]]:
    if group["TargetType"] == "lambda":
        return [{"Id": target["Id"]} for target in targets]
    return [{"Id": t["Id"], "Port": t.get("Port", group["Port"])} for t in targets]


def set_targets_for_group(
    arn: str, targets: Iterable[tuple[str, int]], previous_ids: Iterable[str] = ()
) -> bool:
    """Of ECS: replaces what the service itself had registered."""
    if arn not in alb._tgs:
        return False
    own = [{"Id": id_, "Port": port} for id_, port in targets]
    leaving = set(previous_ids)
    others = [t for t in alb._targets.get(arn, []) if t["Id"] not in leaving and t not in own]
    alb._targets[arn] = others + own
    return True


def describe_target_health(targets: Targets, params: Params) -> Response:
    arn = alb._p(params, "TargetGroupArn")
    require_groups([arn])
    group = alb._tgs[arn]
    asked = _with_port(alb._parse_targets_param(params), group)
    wanted = [(target["Id"], target.get("Port")) for target in asked]
    verdicts = {(target.id, target.port): target.verdict for target in targets.of(arn)}
    members = "".join(
        _health_xml(*key, verdicts.get(key, NOT_REGISTERED), group) for key in wanted or verdicts
    )
    return alb._xml(
        200,
        "DescribeTargetHealth",
        f"<TargetHealthDescriptions>{members}</TargetHealthDescriptions>",
    )


def _health_xml(id_: str, port: int | None, verdict: Verdict, group: dict[str, Any]) -> str:
    state, reason, description = verdict
    target = {"Id": id_} | ({"Port": port} if port else {})
    health = {"State": state}
    if reason:
        health |= {"Reason": reason, "Description": description}
    checked = group["HealthCheckPort"]
    check_port = {"HealthCheckPort": port if checked == "traffic-port" else checked}
    return (
        f"<member><Target>{fields(target)}</Target>"
        f"{fields(check_port if port else {})}"
        f"<TargetHealth>{fields(health)}</TargetHealth></member>"
    )
