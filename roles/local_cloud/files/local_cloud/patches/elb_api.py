"""ELBv2 actions whose answers MiniStack leaves out or gets wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ministack.services import alb, ec2

from .. import ports
from . import elb_lambda
from .elb_balancer import ADDRESS, Balancer
from .elb_health import NOT_REGISTERED, Verdict, groups_of
from .elb_routing import weights_of

Params = dict[str, Any]
Response = tuple[int, dict[str, str], bytes]
Handler = Callable[[Params], Response]

MAX_WEIGHT = 999
MAX_GROUPS = 5

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


class Refused(Exception):
    """An error of the API, by its code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def install(balancer: Balancer) -> None:
    """Replace actions of MiniStack's ELBv2 service, some of them around the original."""
    actions = alb._ACTION_MAP
    replaced: dict[str, Handler] = {
        "CreateLoadBalancer": _create_load_balancer,
        "DescribeLoadBalancers": _describe_load_balancers,
        "DeleteLoadBalancer": _delete_load_balancer,
        "CreateTargetGroup": _create_target_group,
        "DescribeTargetGroups": _describe_target_groups,
        "DeleteTargetGroup": _delete_target_group,
        "CreateListener": _create_listener,
        "DescribeListeners": _describe_listeners,
        "ModifyListener": _modify_listener,
        "CreateRule": _create_rule,
        "DescribeRules": _describe_rules,
        "ModifyRule": _modify_rule,
        "DeleteRule": _delete_rule,
        "RegisterTargets": _register_targets,
        "DeregisterTargets": _deregister_targets,
    }
    actions |= {name: _answering(handler) for name, handler in replaced.items()}
    actions["DescribeTargetHealth"] = _answering(
        lambda params: _describe_target_health(params, balancer)
    )
    # Whatever a caller changed holds for requests that it sends after the answer.
    for name in list(actions):
        if not name.startswith("Describe"):
            actions[name] = _followed(actions[name], balancer)
    alb.set_targets_for_group = _followed(_set_targets_for_group, balancer)
    alb._parse_actions = _with_forward_config(alb._parse_actions)
    alb._action_xml = _action_xml(alb._action_xml)
    alb._tg_xml = _target_group_xml(alb._tg_xml)


def _answering(handler: Handler) -> Handler:
    def answer(params: Params) -> Response:
        try:
            return handler(params)
        except Refused as refused:
            return alb._error(refused.code, str(refused))

    return answer


def _followed(handler: Callable[..., Any], balancer: Balancer) -> Callable[..., Any]:
    def handle(*args: Any) -> Any:
        result = handler(*args)
        balancer.sync()
        return result

    return handle


# Load balancers


def _create_load_balancer(params: Params) -> Response:
    response = _original["CreateLoadBalancer"](params)
    if response[0] != 200:
        return response
    name = alb._p(params, "Name")
    record = next(r for r in alb._lbs.values() if r["LoadBalancerName"] == name)
    record["DNSName"] = ADDRESS  # each listener is a port of this machine
    subnets = [ec2._subnets[id_] for id_ in record["Subnets"] if id_ in ec2._subnets]
    record["VpcId"] = subnets[0]["VpcId"] if subnets else ""
    alb._lb_attrs[record["LoadBalancerArn"]] = _attributes(LOAD_BALANCER_ATTRIBUTES)
    return _load_balancers("CreateLoadBalancer", [record])


def _describe_load_balancers(params: Params) -> Response:
    for arn in alb._parse_member_list(params, "LoadBalancerArns"):
        _require_load_balancer(arn)
    known = {record["LoadBalancerName"] for record in alb._lbs.values()}
    if missing := sorted(set(alb._parse_member_list(params, "Names")) - known):
        raise Refused("LoadBalancerNotFound", f"Load balancers '[{', '.join(missing)}]' not found")
    return _original["DescribeLoadBalancers"](params)


def _delete_load_balancer(params: Params) -> Response:
    arn = alb._p(params, "LoadBalancerArn")
    for listener in [r for r in alb._listeners.values() if r["LoadBalancerArn"] == arn]:
        _original["DeleteListener"]({"ListenerArn": listener["ListenerArn"]})
    return _original["DeleteLoadBalancer"](params)


def _load_balancers(action: str, records: Iterable[dict[str, Any]]) -> Response:
    members = "".join(alb._lb_xml(record) for record in records)
    return alb._xml(200, action, f"<LoadBalancers>{members}</LoadBalancers>")


def _attributes(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in values.items()]


# Target groups


def _create_target_group(params: Params) -> Response:
    function = alb._p(params, "TargetType") == "lambda"
    if function:
        # Functions are checked only when asked for: each check is an invocation.
        defaults = ("false", "35", "30")
        names = ("HealthCheckEnabled", "HealthCheckIntervalSeconds", "HealthCheckTimeoutSeconds")
        params = dict(zip(names, defaults, strict=True)) | params
    response = _original["CreateTargetGroup"](params)
    if response[0] != 200:
        return response
    name = alb._p(params, "Name")
    record = next(r for r in alb._tgs.values() if r["TargetGroupName"] == name)
    attributes = FUNCTION_GROUP_ATTRIBUTES if function else SERVER_GROUP_ATTRIBUTES
    alb._tg_attrs[record["TargetGroupArn"]] = _attributes(attributes)
    return response


def _describe_target_groups(params: Params) -> Response:
    known = {record["TargetGroupName"] for record in alb._tgs.values()}
    _require_groups(alb._parse_member_list(params, "TargetGroupArns"))
    if set(alb._parse_member_list(params, "Names")) - known:
        raise Refused("TargetGroupNotFound", "One or more target groups not found")
    if load_balancer := alb._p(params, "LoadBalancerArn"):
        _require_load_balancer(load_balancer)
        arns = sorted(a for a in alb._tgs if load_balancer in _load_balancers_of(a))
        members = "".join(alb._tg_xml(alb._tgs[arn]) for arn in arns)
        return alb._xml(200, "DescribeTargetGroups", f"<TargetGroups>{members}</TargetGroups>")
    return _original["DescribeTargetGroups"](params)


def _delete_target_group(params: Params) -> Response:
    arn = alb._p(params, "TargetGroupArn")
    if _load_balancers_of(arn):
        text = f"Target group '{arn}' is currently in use by a listener or a rule"
        raise Refused("ResourceInUse", text)
    return _original["DeleteTargetGroup"](params)


def _load_balancers_of(group: str) -> set[str]:
    rules = [rule for rule in alb._rules.values() if group in groups_of(rule["Actions"])]
    return {alb._listeners[rule["ListenerArn"]]["LoadBalancerArn"] for rule in rules}


def _target_group_xml(original: Callable[..., str]) -> Callable[..., str]:
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
    before, _, rest = xml.partition(f"<{element}>")
    return before + rest.partition(f"</{element}>")[2]


def _require_groups(arns: Iterable[str]) -> None:
    if set(arns) - set(alb._tgs.keys()):
        raise Refused("TargetGroupNotFound", "One or more target groups not found")


def _require_load_balancer(arn: str) -> None:
    if arn not in alb._lbs:
        raise Refused("LoadBalancerNotFound", "One or more load balancers not found")


# Listeners and rules


def _create_listener(params: Params) -> Response:
    load_balancer = alb._p(params, "LoadBalancerArn")
    _require_load_balancer(load_balancer)
    port = int(alb._p(params, "Port", "80"))
    _require_http(params)
    _require_actions(params, "DefaultActions")
    if any(
        record["Port"] == port
        for record in alb._listeners.values()
        if record["LoadBalancerArn"] == load_balancer
    ):
        text = f"A listener already exists on this port for this load balancer '{load_balancer}'"
        raise Refused("DuplicateListener", text)
    _require_port(port)
    return _original["CreateListener"](params)


def _describe_listeners(params: Params) -> Response:
    if load_balancer := alb._p(params, "LoadBalancerArn"):
        _require_load_balancer(load_balancer)
    _require_listeners(alb._parse_member_list(params, "ListenerArns"))
    return _original["DescribeListeners"](params)


def _modify_listener(params: Params) -> Response:
    arn = alb._p(params, "ListenerArn")
    _require_listeners([arn])
    _require_http(params)
    if alb._p(params, "DefaultActions.member.1.Type"):
        _require_actions(params, "DefaultActions")
    port = int(alb._p(params, "Port", "0"))
    if port not in (0, alb._listeners[arn]["Port"]):
        _require_port(port)
    return _original["ModifyListener"](params)


def _create_rule(params: Params) -> Response:
    _require_listeners([alb._p(params, "ListenerArn")])
    _require_actions(params, "Actions")
    return _original["CreateRule"](params)


def _describe_rules(params: Params) -> Response:
    if listener := alb._p(params, "ListenerArn"):
        _require_listeners([listener])
    _require_rules(alb._parse_member_list(params, "RuleArns"))
    return _original["DescribeRules"](params)


def _modify_rule(params: Params) -> Response:
    if alb._p(params, "Actions.member.1.Type"):
        _require_actions(params, "Actions")
    return _original["ModifyRule"](params)


def _delete_rule(params: Params) -> Response:
    _require_rules([alb._p(params, "RuleArn")])
    return _original["DeleteRule"](params)


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


def _require_actions(params: Params, prefix: str) -> None:
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
    _require_groups(weights)


def _with_forward_config(original: Callable[..., Any]) -> Callable[..., Any]:
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


def _action_xml(original: Callable[..., str]) -> Callable[..., str]:
    def xml(action: dict[str, Any]) -> str:
        text = original(action)
        if "ForwardConfig" not in action:
            return text
        config = action["ForwardConfig"]
        groups = "".join(f"<member>{_fields(group)}</member>" for group in config["TargetGroups"])
        stickiness = _fields(config["TargetGroupStickinessConfig"])
        return text.removesuffix("</member>") + (
            f"<ForwardConfig><TargetGroups>{groups}</TargetGroups>"
            f"<TargetGroupStickinessConfig>{stickiness}</TargetGroupStickinessConfig>"
            "</ForwardConfig></member>"
        )

    return xml


def _fields(values: Mapping[str, Any]) -> str:
    return "".join(f"<{name}>{value}</{name}>" for name, value in values.items())


# Targets


def _register_targets(params: Params) -> Response:
    arn = alb._p(params, "TargetGroupArn")
    _require_groups([arn])
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


def _deregister_targets(params: Params) -> Response:
    arn = alb._p(params, "TargetGroupArn")
    _require_groups([arn])
    leaving = _with_port(alb._parse_targets_param(params), alb._tgs[arn])
    alb._targets[arn] = [t for t in alb._targets.get(arn, []) if t not in leaving]
    return alb._empty("DeregisterTargets")


def _with_port(targets: list[dict[str, Any]], group: dict[str, Any]) -> list[dict[str, Any]]:
    if group["TargetType"] == "lambda":
        return [{"Id": target["Id"]} for target in targets]
    return [{"Id": t["Id"], "Port": t.get("Port", group["Port"])} for t in targets]


def _set_targets_for_group(
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


def _describe_target_health(params: Params, balancer: Balancer) -> Response:
    arn = alb._p(params, "TargetGroupArn")
    _require_groups([arn])
    group = alb._tgs[arn]
    asked = _with_port(alb._parse_targets_param(params), group)
    wanted = [(target["Id"], target.get("Port")) for target in asked]
    verdicts = {(target.id, target.port): target.verdict for target in balancer.targets.of(arn)}
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
        f"<member><Target>{_fields(target)}</Target>"
        f"{_fields(check_port if port else {})}"
        f"<TargetHealth>{_fields(health)}</TargetHealth></member>"
    )


_original: dict[str, Handler] = dict(alb._ACTION_MAP)
