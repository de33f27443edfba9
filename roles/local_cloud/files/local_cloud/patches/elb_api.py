"""The ELBv2 API: replaces actions whose answers MiniStack leaves out or gets wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ministack.services import alb

from .elb_balancer import Balancer

Params = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]
Handler = Callable[[Params], Response]

ORIGINAL: dict[str, Handler] = dict(alb._ACTION_MAP)


class Refused(Exception):
    """An error of the API, by its code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def action(name: str) -> Callable[[Handler], Handler]:
    """Let the decorated function answer an action."""

    def replace(handler: Handler) -> Handler:
        def answer(params: Params) -> Response:
            try:
                return handler(params)
            except Refused as refused:
                return alb._error(refused.code, str(refused))

        alb._ACTION_MAP[name] = answer
        return handler

    return replace


def follow_changes(balancer: Balancer) -> None:
    """Let what a caller changed hold for requests that it sends after the answer."""
    for name, handler in alb._ACTION_MAP.items():
        if not name.startswith("Describe"):
            alb._ACTION_MAP[name] = _followed(handler, balancer)
    alb.set_targets_for_group = _followed(alb.set_targets_for_group, balancer)


def _followed(handler: Callable[..., Any], balancer: Balancer) -> Callable[..., Any]:
    def handle(*args: Any) -> Any:
        result = handler(*args)
        balancer.sync()
        return result

    return handle


def require_groups(arns: Iterable[str]) -> None:
    if set(arns) - set(alb._tgs.keys()):
        raise Refused("TargetGroupNotFound", "One or more target groups not found")


def require_load_balancer(arn: str) -> None:
    if arn not in alb._lbs:
        raise Refused("LoadBalancerNotFound", "One or more load balancers not found")


def fields(values: Mapping[str, Any]) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
