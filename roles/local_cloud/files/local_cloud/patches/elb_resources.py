"""ELBv2: load balancers and target groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ministack.services import alb, ec2

from .elb_api import (
    ORIGINAL,
    Params,
    Refused,
    Response,
    action,
    require_groups,
    require_load_balancer,
)
from .elb_balancer import ADDRESS
from .elb_health import groups_of

LOAD_BALANCER_ATTRIBUTES = {
    "access_logs.s3.enabled": "false",
    "access_logs.s3.bucket": "",
    "access_logs.s3.prefix": "",
    "idle_timeout.timeout_seconds": "60",
    "deletion_protection.enabled": "false",
    "routing.http2.enabled": "true",
    "routing.http.drop_invalid_header_fields.enabled": "false",
    "routing.http.xff_client_port.enabled": "false",
    "routing.http.preserve_host_header.enabled": "false",
    "routing.http.xff_header_processing.mode": "append",
    "routing.http.desync_mitigation_mode": "defensive",
    "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
    "waf.fail_open.enabled": "false",
    "load_balancing.cross_zone.enabled": "true",
    "client_keep_alive.seconds": "3600",
}
SERVER_GROUP_ATTRIBUTES = {
    "deregistration_delay.timeout_seconds": "300",
    "stickiness.enabled": "false",
    "stickiness.type": "lb_cookie",
    "stickiness.lb_cookie.duration_seconds": "86400",
    "stickiness.app_cookie.cookie_name": "",
    "stickiness.app_cookie.duration_seconds": "86400",
    "slow_start.duration_seconds": "0",
    "load_balancing.algorithm.type": "round_robin",
    "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
}
FUNCTION_GROUP_ATTRIBUTES = {"lambda.multi_value_headers.enabled": "false"}


@action("CreateLoadBalancer")
def create_load_balancer(params: Params) -> Response:
    response = ORIGINAL["CreateLoadBalancer"](params)
    if response[0] != 200:
        return response
    name = alb._p(params, "Name")
    record = next(r for r in alb._lbs.values() if r["LoadBalancerName"] == name)
    record["DNSName"] = ADDRESS  # each listener is a port of this machine
    subnets = [ec2._subnets[id_] for id_ in record["Subnets"] if id_ in ec2._subnets]
    record["VpcId"] = subnets[0]["VpcId"] if subnets else ""
    alb._lb_attrs[record["LoadBalancerArn"]] = _attributes(LOAD_BALANCER_ATTRIBUTES)
    members = f"<LoadBalancers>{alb._lb_xml(record)}</LoadBalancers>"
    return alb._xml(200, "CreateLoadBalancer", members)


@action("DescribeLoadBalancers")
def describe_load_balancers(params: Params) -> Response:
    for arn in alb._parse_member_list(params, "LoadBalancerArns"):
        require_load_balancer(arn)
    known = {record["LoadBalancerName"] for record in alb._lbs.values()}
    if missing := sorted(set(alb._parse_member_list(params, "Names")) - known):
        raise Refused("LoadBalancerNotFound", f"Load balancers '[{', '.join(missing)}]' not found")
    return ORIGINAL["DescribeLoadBalancers"](params)


@action("DeleteLoadBalancer")
def delete_load_balancer(params: Params) -> Response:
    arn = alb._p(params, "LoadBalancerArn")
    for listener in [r for r in alb._listeners.values() if r["LoadBalancerArn"] == arn]:
        ORIGINAL["DeleteListener"]({"ListenerArn": listener["ListenerArn"]})
    return ORIGINAL["DeleteLoadBalancer"](params)


def _attributes(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in values.items()]


@action("CreateTargetGroup")
def create_target_group(params: Params) -> Response:
    function = alb._p(params, "TargetType") == "lambda"
    if function:
        # Functions are checked only when asked for: each check is an invocation.
        defaults = ("false", "35", "30")
        names = ("HealthCheckEnabled", "HealthCheckIntervalSeconds", "HealthCheckTimeoutSeconds")
        params = dict(zip(names, defaults, strict=True)) | params
    response = ORIGINAL["CreateTargetGroup"](params)
    if response[0] != 200:
        return response
    name = alb._p(params, "Name")
    record = next(r for r in alb._tgs.values() if r["TargetGroupName"] == name)
    attributes = FUNCTION_GROUP_ATTRIBUTES if function else SERVER_GROUP_ATTRIBUTES
    alb._tg_attrs[record["TargetGroupArn"]] = _attributes(attributes)
    return response


@action("DescribeTargetGroups")
def describe_target_groups(params: Params) -> Response:
    known = {record["TargetGroupName"] for record in alb._tgs.values()}
    require_groups(alb._parse_member_list(params, "TargetGroupArns"))
    if set(alb._parse_member_list(params, "Names")) - known:
        raise Refused("TargetGroupNotFound", "One or more target groups not found")
    if load_balancer := alb._p(params, "LoadBalancerArn"):
        require_load_balancer(load_balancer)
        arns = sorted(a for a in alb._tgs if load_balancer in _load_balancers_of(a))
        members = "".join(alb._tg_xml(alb._tgs[arn]) for arn in arns)
        return alb._xml(200, "DescribeTargetGroups", f"<TargetGroups>{members}</TargetGroups>")
    return ORIGINAL["DescribeTargetGroups"](params)


@action("DeleteTargetGroup")
def delete_target_group(params: Params) -> Response:
    arn = alb._p(params, "TargetGroupArn")
    if _load_balancers_of(arn):
        text = f"Target group '{arn}' is currently in use by a listener or a rule"
        raise Refused("ResourceInUse", text)
    return ORIGINAL["DeleteTargetGroup"](params)


def _load_balancers_of(group: str) -> set[str]:
    rules = [rule for rule in alb._rules.values() if group in groups_of(rule["Actions"])]
    return {alb._listeners[rule["ListenerArn"]]["LoadBalancerArn"] for rule in rules}


def target_group_xml(original: Callable[..., str]) -> Callable[..., str]:
    def xml(group: dict[str, Any]) -> str:
        arns = sorted(_load_balancers_of(group["TargetGroupArn"]))
        text = original(group | {"LoadBalancerArns": arns})
        if group["TargetType"] == "lambda":
            # A function has no address.
            for name in ("Protocol", "Port", "VpcId", "HealthCheckProtocol", "HealthCheckPort"):
                text = _without(text, name)
        return text

    return xml


def _without(xml: str, element: str) -> str:
    before, _unused, rest = xml.partition(f"<{element}>")
    return before + rest.partition(f"</{element}>")[2]
