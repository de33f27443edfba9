"""ELBv2: listeners and their rules."""

from __future__ import annotations

from collections.abc import Iterable

from ministack.services import alb

from .. import ports
from .elb_api import ORIGINAL, Params, Refused, Response, action, require_load_balancer
from .elb_balancer import ADDRESS
from .elb_forward import require_actions


@action("CreateListener")
def create_listener(params: Params) -> Response:
    load_balancer = alb._p(params, "LoadBalancerArn")
    require_load_balancer(load_balancer)
    port = int(alb._p(params, "Port", "80"))
    _require_http(params)
    require_actions(params, "DefaultActions")
    if any(
        record["Port"] == port
        for record in alb._listeners.values()
        if record["LoadBalancerArn"] == load_balancer
    ):
        text = f"A listener already exists on this port for this load balancer '{load_balancer}'"
        raise Refused("DuplicateListener", text)
    _require_port(port)
    return ORIGINAL["CreateListener"](params)


@action("DescribeListeners")
def describe_listeners(params: Params) -> Response:
    if load_balancer := alb._p(params, "LoadBalancerArn"):
        require_load_balancer(load_balancer)
    _require_listeners(alb._parse_member_list(params, "ListenerArns"))
    return ORIGINAL["DescribeListeners"](params)


@action("ModifyListener")
def modify_listener(params: Params) -> Response:
    arn = alb._p(params, "ListenerArn")
    _require_listeners([arn])
    _require_http(params)
    if alb._p(params, "DefaultActions.member.1.Type"):
        require_actions(params, "DefaultActions")
    port = int(alb._p(params, "Port", "0"))
    if port not in (0, alb._listeners[arn]["Port"]):
        _require_port(port)
    return ORIGINAL["ModifyListener"](params)


@action("CreateRule")
def create_rule(params: Params) -> Response:
    listener, priority = alb._p(params, "ListenerArn"), alb._p(params, "Priority")
    _require_listeners([listener])
    require_actions(params, "Actions")
    rules = [rule for rule in alb._rules.values() if rule["ListenerArn"] == listener]
    if priority in (rule["Priority"] for rule in rules):
        raise Refused("PriorityInUse", f"Priority '{priority}' is currently in use")
    return ORIGINAL["CreateRule"](params)


@action("DescribeRules")
def describe_rules(params: Params) -> Response:
    if listener := alb._p(params, "ListenerArn"):
        _require_listeners([listener])
    _require_rules(alb._parse_member_list(params, "RuleArns"))
    return ORIGINAL["DescribeRules"](params)


@action("ModifyRule")
def modify_rule(params: Params) -> Response:
    if alb._p(params, "Actions.member.1.Type"):
        require_actions(params, "Actions")
    return ORIGINAL["ModifyRule"](params)


@action("DeleteRule")
def delete_rule(params: Params) -> Response:
    _require_rules([alb._p(params, "RuleArn")])
    return ORIGINAL["DeleteRule"](params)


def _require_rules(arns: Iterable[str]) -> None:
    if set(arns) - set(alb._rules.keys()):
        raise Refused("RuleNotFound", "One or more rules not found")


def _require_listeners(arns: Iterable[str]) -> None:
    if set(arns) - set(alb._listeners.keys()):
        raise Refused("ListenerNotFound", "One or more listeners not found")


def _require_http(params: Params) -> None:
    if alb._p(params, "Protocol", "HTTP") != "HTTP":
        raise Refused("UnsupportedProtocol", "The local cloud has listeners for HTTP only")


def _require_port(port: int) -> None:
    if not ports.is_free(port):
        holder = ports.holder(port)
        text = f"Port {port} of {ADDRESS}, where this listener would be, is in use by {holder}"
        raise Refused("ResourceInUse", text)
