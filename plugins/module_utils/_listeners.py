# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listeners and their rules as AWS describes them, and as they shall be: pure functions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.multicompute.spin.plugins.module_utils._tags import wanted_tags

Options = dict[str, Any]

DEFAULT_SSL_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
MAX_WEIGHT = 999
MAX_STICKINESS = 604800
MAX_PRIORITY = 50000
NEW_LISTENER: dict[str, Any] = {
    "protocol": "HTTP",
    "ssl_policy": None,
    "certificates": [],
    "default_action": "fixed-response",
    "redirect": None,
    "target_groups": [],
    "stickiness_duration": 0,
    "tags": {},
}
NO_TARGET_GROUP = {
    "Type": "fixed-response",
    "FixedResponseConfig": {
        "StatusCode": "503",
        "ContentType": "text/plain",
        "MessageBody": "No target group is attached to this listener",
    },
}


# Options of a redirect: what the API calls them, and what it takes where nothing is given.
REDIRECT = {
    "protocol": ("Protocol", "#{protocol}"),
    "host": ("Host", "#{host}"),
    "port": ("Port", "#{port}"),
    "path": ("Path", "/#{path}"),
    "query": ("Query", "#{query}"),
    "status_code": ("StatusCode", "HTTP_301"),
}


class OptionError(Exception):
    """Options that contradict each other or what is there."""


def normalised(
    listener: dict[str, Any], certificates: list[dict[str, Any]], tags: dict[str, str]
) -> dict[str, Any]:
    """A listener as AWS describes it, in ours."""
    action = listener["DefaultActions"][-1]
    forward = action.get("ForwardConfig", {})
    stickiness = forward.get("TargetGroupStickinessConfig", {})
    certificates = sorted(
        certificates, key=lambda entry: (not entry.get("IsDefault"), entry["CertificateArn"])
    )
    return {
        "port": listener["Port"],
        "protocol": listener["Protocol"],
        "ssl_policy": listener.get("SslPolicy"),
        "certificates": [entry["CertificateArn"] for entry in certificates],
        "default_action": action["Type"],
        "redirect": described_redirect(action.get("RedirectConfig")),
        "target_groups": as_list(weights_of(action)),
        "stickiness_duration": stickiness.get("DurationSeconds", 0)
        if stickiness.get("Enabled")
        else 0,
        "tags": tags,
    }


def weights_of(action: Options) -> dict[str, int]:
    """By ARN. AWS writes a single target group in either of two ways, and leaves out a weight."""
    if action["Type"] != "forward":
        return {}
    groups = action.get("ForwardConfig", {}).get("TargetGroups", [])
    groups = groups or [{"TargetGroupArn": action["TargetGroupArn"]}]
    return {group["TargetGroupArn"]: group.get("Weight", 1) for group in groups}


def described_redirect(config: Options | None) -> Options | None:
    if config is None:
        return None
    return {option: config.get(name, default) for option, (name, default) in REDIRECT.items()}


def as_list(weights: dict[str, int]) -> list[dict[str, Any]]:
    return [{"target_group_arn": arn, "weight": weights[arn]} for arn in sorted(weights)]


def as_weights(target_groups: list[dict[str, Any]]) -> dict[str, int]:
    return {group["target_group_arn"]: group["weight"] for group in target_groups}


def weighted(
    current: dict[str, int], named: dict[str, int | None], removed: set[str], purge: bool
) -> dict[str, int]:
    """The weights that the named groups, and those kept beside them, shall have."""
    kept = {} if purge else current
    members = {*kept, *named} - removed
    weights = {}
    for arn in members:
        given = named.get(arn)
        weights[arn] = current.get(arn, 0) if given is None else given
    if weights and not any(weights.values()):
        free = [arn for arn in members if named.get(arn) is None]
        if not free:
            raise OptionError(
                "all weights of target_groups are 0, so nothing would answer: give one of them a "
                "weight of 1 or more"
            )
        weights.update(dict.fromkeys(free, 1))
    return weights


def wanted(
    params: dict[str, Any], current: dict[str, Any], named: dict[str, int | None], removed: set[str]
) -> dict[str, Any]:
    """The listener as it shall be; what the task does not say stays as it is."""
    after = {**NEW_LISTENER, **current, "port": params["port"]}
    for option in ("protocol", "ssl_policy", "stickiness_duration"):
        if params[option] is not None:
            after[option] = params[option]
    if params["certificates"] is not None:
        default, *others = params["certificates"] or [None]
        after["certificates"] = [default, *sorted(set(others) - {default})] if default else []
    secure(params, after)
    weights = weighted(
        as_weights(after["target_groups"]), named, removed, params["purge_target_groups"]
    )
    after |= wanted_action(params["redirect"], after, weights)
    after["tags"] = wanted_tags(after["tags"], params["tags"], params["purge_tags"])
    return after


def wanted_action(redirect: Options | None, current: Options, weights: dict[str, int]) -> Options:
    """What is done with a request for which there is no rule."""
    nothing = {"redirect": None, "target_groups": as_list(weights), "stickiness_duration": 0}
    if redirect:
        return nothing | {"default_action": "redirect", "redirect": wanted_redirect(redirect)}
    if weights:
        sticky = {"stickiness_duration": current["stickiness_duration"]}
        return nothing | {"default_action": "forward"} | sticky
    if current["default_action"] == "forward":
        return nothing | {"default_action": NEW_LISTENER["default_action"]}
    return nothing | {"redirect": current["redirect"]}


def wanted_redirect(options: Options) -> Options:
    wanted = {
        option: default if options[option] is None else options[option]
        for option, (_name, default) in REDIRECT.items()
    }
    if all(wanted[option] == REDIRECT[option][1] for option in REDIRECT if option != "status_code"):
        raise OptionError("redirect leads to where it came from: give protocol, host, port or path")
    return wanted


def secure(params: dict[str, Any], after: dict[str, Any]) -> None:
    """Certificates and policy belong to HTTPS alone."""
    if after["protocol"] == "HTTPS":
        after["ssl_policy"] = after["ssl_policy"] or DEFAULT_SSL_POLICY
        if not after["certificates"]:
            raise OptionError("an HTTPS listener needs certificates")
        return
    if params["certificates"] or params["ssl_policy"]:
        raise OptionError("certificates and ssl_policy need protocol HTTPS")
    after.update(ssl_policy=None, certificates=[])


def check_options(params: dict[str, Any]) -> None:
    rules = params["rules"] or []
    check_weights(params["target_groups"])
    if params["redirect"] and params["target_groups"]:
        raise OptionError("redirect and target_groups contradict each other: give one of them")
    for rule in rules:
        check_rule(rule)
    priorities = [rule["priority"] for rule in rules if rule["priority"] is not None]
    if twice := {str(number) for number in priorities if priorities.count(number) > 1}:
        raise OptionError(f"rules has priority {', '.join(sorted(twice))} more than once")
    known_by = [conditions(rule) for rule in rules if rule["priority"] is None]
    if again := [one for one in known_by if known_by.count(one) > 1]:
        raise OptionError(f"rules has {again[0]} more than once: give each a priority, or only one")
    duration = params["stickiness_duration"]
    if duration is not None and not 0 <= duration <= MAX_STICKINESS:
        raise OptionError(f"stickiness_duration is {duration}, it must be 0 to {MAX_STICKINESS}")


def check_weights(groups: list[Options]) -> None:
    for group in groups:
        weight = group["weight"]
        if weight is not None and not 0 <= weight <= MAX_WEIGHT:
            name = group["target_group_arn"] or group["target_group_name"]
            raise OptionError(f"weight of {name} is {weight}, it must be 0 to {MAX_WEIGHT}")


def check_rule(rule: Options) -> None:
    priority = rule["priority"]
    if priority is not None and not 1 <= priority <= MAX_PRIORITY:
        raise OptionError(f"priority of a rule is {priority}, it must be 1 to {MAX_PRIORITY}")
    name = "a rule without priority" if priority is None else f"the rule of priority {priority}"
    has_conditions = any(rule[option] for option in CONDITIONS)
    if rule["state"] == "absent":
        if priority is None and not has_conditions:
            raise OptionError(f"{name} needs headers, hosts or paths, by which it is known")
        return
    if not has_conditions:
        raise OptionError(f"{name} needs headers, hosts or paths")
    if not any(group["weight"] for group in rule["target_groups"]):
        raise OptionError(f"{name} needs a target group with a weight")
    check_weights(rule["target_groups"])


def default_action(listener: dict[str, Any]) -> dict[str, Any]:
    if redirect := listener["redirect"]:
        config = {name: redirect[option] for option, (name, _default) in REDIRECT.items()}
        return {"Type": "redirect", "RedirectConfig": config}
    if not listener["target_groups"]:
        return NO_TARGET_GROUP
    return forward_action(listener)


def forward_action(listener: Options) -> Options:
    stickiness: dict[str, Any] = {"Enabled": bool(listener["stickiness_duration"])}
    if stickiness["Enabled"]:
        stickiness["DurationSeconds"] = listener["stickiness_duration"]
    return {
        "Type": "forward",
        "ForwardConfig": {
            "TargetGroups": [
                {"TargetGroupArn": group["target_group_arn"], "Weight": group["weight"]}
                for group in listener["target_groups"]
            ],
            "TargetGroupStickinessConfig": stickiness,
        },
    }


def name_of(target_group_arn: str) -> str:
    return target_group_arn.split("/")[1] if "/" in target_group_arn else ""


# Rules, by priority.


def described_rules(rules: Iterable[Options]) -> dict[int, Options]:
    """Those of AWS's answer, without the default one, which is the listener's own action."""
    return {int(rule["Priority"]): described_rule(rule) for rule in rules if not rule["IsDefault"]}


def described_rule(rule: Options) -> Options:
    described: Options = {"headers": {}, "hosts": [], "paths": []}
    action = rule["Actions"][-1]
    other = len(rule["Actions"]) > 1 or action["Type"] != "forward"
    for condition in rule["Conditions"]:
        field = condition["Field"]
        if field == "http-header":
            config = condition["HttpHeaderConfig"]
            described["headers"][config["HttpHeaderName"].lower()] = sorted(config["Values"])
        elif field in FIELDS.values():
            option = next(option for option in FIELDS if FIELDS[option] == field)
            described[option] = sorted(condition_values(condition))
        else:
            other = True
    return described | {
        "priority": int(rule["Priority"]),
        "target_groups": as_list(weights_of(action)),
        # Not made by this module, and nothing that it could express.
        "other": other,
    }


FIELDS = {"hosts": "host-header", "paths": "path-pattern"}
CONDITIONS = ("headers", *FIELDS)


def condition_values(condition: Options) -> list[str]:
    """AWS writes them in either of two ways."""
    configs = [condition[key] for key in condition if key.endswith("Config")]
    return condition.get("Values") or [value for config in configs for value in config["Values"]]


def conditions(rule: Options) -> Options:
    """What a request has to have for `rule`, in the form of a described rule."""
    return {
        "headers": {
            name.lower(): sorted([values] if isinstance(values, str) else map(str, values))
            for name, values in (rule["headers"] or {}).items()
        },
        "hosts": sorted(rule["hosts"] or []),
        "paths": sorted(rule["paths"] or []),
    }


def priorities_of(rule: Options, current: dict[int, Options]) -> list[int]:
    """Where a rule of these conditions is."""
    return [
        priority
        for priority in sorted(current)
        if not current[priority]["other"] and conditions(current[priority]) == conditions(rule)
    ]


def lowest_free(taken: Iterable[int]) -> int:
    taken = set(taken)
    return next(number for number in range(1, len(taken) + 2) if number not in taken)


def wanted_rules(
    rules: list[Options], current: dict[int, Options], purge: bool
) -> dict[int, Options]:
    """`rules` has the ARN of every target group."""
    after = {} if purge else dict(current)
    present = [rule for rule in rules if rule["state"] == "present"]
    for rule in rules:
        if rule["state"] == "absent":
            by_priority = [rule["priority"]] if rule["priority"] else priorities_of(rule, current)
            for priority in by_priority:
                after.pop(priority, None)
    given = {rule["priority"] for rule in present if rule["priority"]}
    numbered = [(rule["priority"], rule) for rule in present if rule["priority"]]
    new = []
    for rule in present:
        if rule["priority"] is None:
            kept = [number for number in priorities_of(rule, current) if number not in given]
            if kept:
                numbered.append((kept[0], rule))
            else:
                new.append(rule)
    after |= {priority: wanted_rule(rule, priority) for priority, rule in numbered}
    for rule in new:
        priority = lowest_free(after)
        after[priority] = wanted_rule(rule, priority)
    return after


def wanted_rule(rule: Options, priority: int) -> Options:
    return conditions(rule) | {
        "priority": priority,
        "target_groups": as_list(as_weights(rule["target_groups"])),
        "other": False,
    }


def rule_request(rule: Options) -> Options:
    """What CreateRule and ModifyRule take for it."""
    conditions: list[Options] = [
        {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": name, "Values": values}}
        for name, values in rule["headers"].items()
    ]
    for option, field in FIELDS.items():
        if rule[option]:
            config = "HostHeaderConfig" if option == "hosts" else "PathPatternConfig"
            conditions.append({"Field": field, config: {"Values": rule[option]}})
    return {
        "Conditions": conditions,
        "Actions": [forward_action(rule | {"stickiness_duration": 0})],
    }
