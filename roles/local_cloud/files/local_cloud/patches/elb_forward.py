"""ELBv2: forward actions, which MiniStack strips of their weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ministack.services import alb

from .elb_api import Params, Refused, fields, require_groups
from .elb_routing import weights_of

MAX_WEIGHT = 999
MAX_GROUPS = 5


def require_actions(params: Params, prefix: str) -> None:
    actions = alb._parse_actions(params, prefix)
    if not actions:
        raise Refused("ValidationError", "A listener or rule must have an action")
    for action in actions:
        if action["Type"] == "forward":
            _require_forward(weights_of(action))


def _require_forward(weights: Mapping[str, int]) -> None:
    if not weights:
        text = "You must specify a target group for an action of type 'forward'"
        raise Refused("ValidationError", text)
    if len(weights) > MAX_GROUPS:
        text = f"A forward action can have at most {MAX_GROUPS} target groups"
        raise Refused("TooManyTargetGroups", text)
    for weight in weights.values():
        if not 0 <= weight <= MAX_WEIGHT:
            text = f"Target group weight '{weight}' must be between 0 and {MAX_WEIGHT}"
            raise Refused("ValidationError", text)
    require_groups(weights)


def with_forward_config(original: Callable[..., Any]) -> Callable[..., Any]:
    def parse(params: Params, prefix: str = "DefaultActions") -> list[dict[str, Any]]:
        actions = original(params, prefix)
        for number, action in enumerate(actions, 1):
            if action["Type"] == "forward":
                _add_forward_config(action, params, f"{prefix}.member.{number}.ForwardConfig")
        return actions

    return parse


def _add_forward_config(action: dict[str, Any], params: Params, prefix: str) -> None:
    """The action in both of its notations, as the API returns it."""
    groups = []
    while arn := alb._p(params, f"{prefix}.TargetGroups.member.{len(groups) + 1}.TargetGroupArn"):
        weight = alb._p(params, f"{prefix}.TargetGroups.member.{len(groups) + 1}.Weight", "1")
        groups.append({"TargetGroupArn": arn, "Weight": int(weight)})
    if not groups and "TargetGroupArn" in action:
        groups = [{"TargetGroupArn": action["TargetGroupArn"], "Weight": 1}]
    sticky = f"{prefix}.TargetGroupStickinessConfig"
    stickiness: dict[str, Any] = {"Enabled": alb._p(params, f"{sticky}.Enabled", "false")}
    if seconds := alb._p(params, f"{sticky}.DurationSeconds"):
        stickiness["DurationSeconds"] = int(seconds)
    action["ForwardConfig"] = {
        "TargetGroups": groups,
        "TargetGroupStickinessConfig": stickiness,
    }
    if len(groups) == 1:
        action["TargetGroupArn"] = groups[0]["TargetGroupArn"]


def action_xml(original: Callable[..., str]) -> Callable[..., str]:
    def xml(action: dict[str, Any]) -> str:
        text = original(action)
        if "ForwardConfig" not in action:
            return text
        config = action["ForwardConfig"]
        groups = "".join(f"<member>{fields(group)}</member>" for group in config["TargetGroups"])
        stickiness = fields(config["TargetGroupStickinessConfig"])
        return text.removesuffix("</member>") + (
            f"<ForwardConfig><TargetGroups>{groups}</TargetGroups>"
            f"<TargetGroupStickinessConfig>{stickiness}</TargetGroupStickinessConfig>"
            "</ForwardConfig></member>"
        )

    return xml
