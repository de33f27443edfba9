"""Lambda functions as targets: who may invoke them, and requests as events."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from ministack.core.concurrency import run_reentrant
from ministack.services import lambda_svc

PRINCIPAL = "elasticloadbalancing.amazonaws.com"
BODY_LIMIT = 1024 * 1024  # AWS's, for requests and responses of a function


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


BAD_GATEWAY = Answer(502, [], b"")


def may_invoke(function: str, target_group: str) -> bool:
    """Whether the function's own policy lets the load balancer invoke it for this group."""
    record, _unused, _unused = lambda_svc._get_base_func_record_for_ref(function)
    statements = (record or {}).get("policy", {}).get("Statement", [])
    return any(_allows(statement, function, target_group) for statement in statements)


def _allows(statement: dict[str, Any], function: str, target_group: str) -> bool:
    principal = statement["Principal"]
    condition = statement.get("Condition", {})
    source = condition.get("ArnLike", {}).get("AWS:SourceArn", "*")
    account = condition.get("StringEquals", {}).get("AWS:SourceAccount")
    return (
        statement["Effect"] == "Allow"
        and (principal == "*" or principal.get("Service") == PRINCIPAL)
        and statement["Action"] in ("lambda:InvokeFunction", "lambda:*")
        and statement["Resource"] == function
        and fnmatchcase(target_group, source)
        and account in (None, target_group.split(":")[4])
    )


def event_of(
    target_group: str,
    method: str,
    target: str,
    headers: list[tuple[str, str]],
    body: bytes,
    multi_value: bool,
) -> dict[str, Any]:
    """The event of a request, as the load balancer sends it."""
    path, _unused, query = target.partition("?")
    # Parameters stay percent-encoded: decoding is left to the function.
    parameters = [tuple(pair.partition("=")[::2]) for pair in query.split("&") if pair]
    event = {
        "requestContext": {"elb": {"targetGroupArn": target_group}},
        "httpMethod": method,
        "path": path,
    }
    if multi_value:
        event["multiValueQueryStringParameters"] = _collected(parameters)
        event["multiValueHeaders"] = _collected(headers)
    else:
        event["queryStringParameters"] = dict(parameters)
        event["headers"] = dict(headers)  # the last of several wins
    return event | _encoded(body)


def _collected(pairs: list[tuple[str, str]]) -> dict[str, list[str]]:
    collected: dict[str, list[str]] = {}
    for name, value in pairs:
        collected.setdefault(name, []).append(value)
    return collected


def _encoded(body: bytes) -> dict[str, Any]:
    try:
        return {"body": body.decode(), "isBase64Encoded": False}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


async def invoke(function: str, target_group: str, event: dict[str, Any]) -> Answer:
    """Run the function; what it does wrong is the client's 502."""
    if not may_invoke(function, target_group):
        return BAD_GATEWAY
    record, config, name = lambda_svc._get_func_record_for_ref(function)
    if not record or not config:
        return BAD_GATEWAY
    execution = lambda_svc._execution_record_for_config(record, config)

    def run() -> dict[str, Any]:
        started = time.monotonic()
        result = lambda_svc._execute_function_with_config_scope(execution, event)
        lambda_svc._run_with_function_config_scope(
            config,
            lambda_svc._emit_lambda_metrics,
            name,
            duration_ms=(time.monotonic() - started) * 1000,
            error=bool(result.get("error")),
            throttle=bool(result.get("throttle")),
        )
        return result

    result = await run_reentrant(run, thread_name="elb-lambda-target")
    return answer_of(result, "multiValueHeaders" in event)


def answer_of(result: dict[str, Any], multi_value: bool) -> Answer:
    """The HTTP response in a function's result."""
    payload = result.get("body")
    if result.get("error") or result.get("throttle"):
        return BAD_GATEWAY
    try:
        if isinstance(payload, str | bytes):
            payload = json.loads(payload)
        status = int(payload["statusCode"])
        body = str(payload.get("body") or "").encode()
        if payload.get("isBase64Encoded"):
            body = base64.b64decode(body, validate=True)
    except (ValueError, TypeError, KeyError, AttributeError):
        return BAD_GATEWAY
    if len(body) > BODY_LIMIT:
        return BAD_GATEWAY
    return Answer(status, _headers(payload, multi_value), body)


def _headers(payload: dict[str, Any], multi_value: bool) -> list[tuple[str, str]]:
    # The group's attribute says which of the two notations is read; the other is ignored.
    if multi_value:
        lists = payload.get("multiValueHeaders") or {}
        return [(name, str(value)) for name, values in lists.items() for value in values]
    return [(name, str(value)) for name, value in (payload.get("headers") or {}).items()]
