# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every AWS module here shares: one retry policy, one way to fail, one way to end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, NoReturn

# Without botocore AnsibleAWSModule fails first, in its own words.
with suppress(ImportError):
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        EndpointConnectionError,
        HTTPClientError,
        NoCredentialsError,
        WaiterError,
    )

from ansible_collections.amazon.aws.plugins.module_utils.cloud import BackoffIterator
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.amazon.aws.plugins.module_utils.retries import AWSRetry
from ansible_collections.multicompute.spin.plugins.module_utils._waiters import get_waiter, pace

# Policies call these otherwise than requests do.
POLICY_NAMES = {"monitoring": "cloudwatch", "tagging": "tag"}
# 90 s at most.
ATTEMPTS: dict[str, Any] = {"retries": 12, "delay": 1, "backoff": 1.5, "max_delay": 15}


class _Retry(AWSRetry):
    """amazon.aws's back-off, which knows neither every service's codes nor messages.

    Lambda reports a role that IAM has not spread yet as InvalidParameterValueException: only the
    message tells it from a real mistake.
    """

    @staticmethod
    def status_code_from_exception(error: ClientError) -> Any:
        return error.response

    @staticmethod
    def found(response_code: Any, catch_extra_error_codes: Collection[str] | None = None) -> bool:
        code, message = _code_and_message(response_code)
        status = response_code.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return (
            status >= 500
            # EFS means by TooManyRequests that 24 hours have to pass.
            or (status == 429 and code != "TooManyRequests")
            or "Throttl" in code
            or AWSRetry.found(code)
            or any(text in f"{code}: {message}" for text in catch_extra_error_codes or ())
        )

    @classmethod
    def lasting(cls, seconds: int, retry_on: Collection[str]) -> Callable[[Any], Any]:
        """Tries until jittered pauses add up to `seconds`."""
        backoff = iter(BackoffIterator(delay=1, backoff=1.5, max_delay=15, jitter=True))
        pauses: list[float] = []
        left = float(seconds)
        while left > 0:
            pauses.append(min(next(backoff), left))
            left -= pauses[-1]
        return cls.base_decorator(
            retries=len(pauses) + 1,
            found=cls.found,
            status_code_from_exception=cls.status_code_from_exception,
            catch_extra_error_codes=retry_on,
            sleep_time_generator=[*pauses, 0],
        )


class Api:
    """One AWS service as a module uses it: calls are retried, failures end the module."""

    def __init__(self, module: AnsibleAWSModule, service: str, **config: Any) -> None:
        """`config` is for botocore, where its defaults do not fit."""
        self.module = module
        self.client = module.client(service, aws_config=config)

    def call(
        self,
        operation: str,
        doing: str,
        *,
        missing: Collection[str] = (),
        retry_on: Collection[str] = (),
        retry_for: int | None = None,
        advice: Mapping[str, str] | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        """Call `operation`; an error code in `missing` gives an empty answer.

        `retry_on` holds texts looked for in "Code: Message". Twelve attempts take 90 s at most;
        `retry_for` gives the seconds instead. `advice` says what to do about an error code.
        """
        function = getattr(self.client, operation)
        return self._guard(function, doing, missing, params, retry_on, retry_for, advice)

    def pages(
        self, operation: str, key: str, doing: str, *, missing: Collection[str] = (), **params: Any
    ) -> list[Any]:
        """Every item of a paginated `operation`."""

        def read(**params: Any) -> dict[str, Any]:
            return self.client.get_paginator(operation).paginate(**params).build_full_result()

        return self._guard(read, doing, missing, params).get(key, [])

    def wait(
        self,
        waiter: str,
        doing: str,
        timeout: int,
        *,
        explain: Callable[[dict[str, Any]], str] | None = None,
        **params: Any,
    ) -> None:
        """Wait with one of botocore's waiters or ours; each look is retried as a call is.

        `explain` says what is wrong in the last answer when the wait fails.
        """
        waiting = get_waiter(self.client, waiter, _Retry.jittered_backoff(**ATTEMPTS))
        try:
            waiting.wait(WaiterConfig=pace(timeout), **params)
        except WaiterError as error:
            # An error that says nothing of the state: botocore gives up at the first one.
            if str(error.kwargs["reason"]).startswith("An error occurred"):
                self.fail(ClientError(error.last_response, waiting.config.operation), doing)
            why = explain(error.last_response) if explain else ""
            why = f" ({why})" * bool(why)
            self.module.fail_json_aws(error, msg=f"Could not {doing} within {timeout} s{why}")
        except BotoCoreError as error:
            self.fail(error, doing)

    def placeholder_arn(self, resource: str) -> str:
        """The ARN that check mode returns for what a real run would create."""
        meta = self.client.meta
        service = meta.service_model.signing_name
        return f"arn:{meta.partition}:{service}:{meta.region_name}:000000000000:{resource}"

    def fail(
        self, error: Exception, doing: str, special: Mapping[str, str] | None = None
    ) -> NoReturn:
        advice = self._advice(error, special or {})
        self.module.fail_json_aws(error, msg=f"Could not {doing}" + (f" ({advice})" * bool(advice)))
        raise AssertionError  # the module has ended

    def _guard(
        self,
        function: Any,
        doing: str,
        missing: Collection[str],
        params: Mapping[str, Any],
        retry_on: Collection[str] = (),
        retry_for: int | None = None,
        advice: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        if retry_for is None:
            retry = _Retry.jittered_backoff(**ATTEMPTS, catch_extra_error_codes=retry_on)
        else:
            retry = _Retry.lasting(retry_for, retry_on)
        try:
            answer = retry(function)(**params)
        except ClientError as error:
            if error.response["Error"]["Code"] in missing:
                return {}
            self.fail(error, doing, advice)
        except BotoCoreError as error:
            self.fail(error, doing)
        answer.pop("ResponseMetadata", None)
        return answer

    def _advice(self, error: Exception, special: Mapping[str, str]) -> str:
        meta = self.client.meta
        if isinstance(error, NoCredentialsError):
            return "give credentials: profile, access_key and secret_key, or AWS_PROFILE"
        if isinstance(error, (EndpointConnectionError, HTTPClientError)):
            return f"check region {meta.region_name} and endpoint {meta.endpoint_url}"
        if not isinstance(error, ClientError):
            return ""
        code, _message = _code_and_message(error.response)
        if code in special:
            return special[code]
        signing_name = meta.service_model.signing_name
        action = f"{POLICY_NAMES.get(signing_name, signing_name)}:{error.operation_name}"
        for part, advice in (
            ("AccessDenied", f"allow {action} to the identity that runs this module"),
            ("Unauthorized", f"allow {action} to the identity that runs this module"),
            ("Expired", "renew the credentials"),
            ("UnrecognizedClient", "check the credentials"),
            ("Throttl", "the account's request rate is used up, try again later"),
            ("LimitExceeded", "remove what is unused or ask for a higher service quota"),
            ("NotFound", f"check the name and the region {meta.region_name}"),
        ):
            if part in code:
                return advice
        return ""


def finish(
    module: AnsibleAWSModule, before: Mapping[str, Any], after: Mapping[str, Any], **result: Any
) -> NoReturn:
    """End the module: it is changed exactly when the diff shows something."""
    if module._diff:
        result["diff"] = {"before": before, "after": after}
    module.exit_json(changed=before != after, **result)
    raise AssertionError  # the module has ended


def _code_and_message(response: Mapping[str, Any]) -> tuple[str, str]:
    error = response.get("Error", {})
    return error.get("Code", ""), error.get("Message", "")
