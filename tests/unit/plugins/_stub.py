# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module in this process, against recorded answers or a real endpoint.

FakeAws lets botocore itself build and validate every request, and validates the answers against
the same service model; only the network is missing.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import io
import json
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import boto3
import botocore.session
import pytest
from ansible.module_utils.testing import patch_module_args
from botocore.awsrequest import AWSResponse
from botocore.loaders import create_loader
from botocore.validate import ParamValidator

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "123456789012",
    "AWS_SECRET_ACCESS_KEY": "unit-tests-only",
    "AWS_DEFAULT_REGION": "eu-central-1",
}
READS = ("Describe", "Get", "List", "BatchGet", "Head")

# Each run makes a session of its own, as a module does; they may share the parsed service models.
_shared_loader = functools.cache(create_loader)


class AwsError(NamedTuple):
    """An error answer. Code, message and HTTP status are what AWS documents for the operation."""

    code: str
    message: str = ""
    status: int = 400


class Call(NamedTuple):
    service: str
    operation: str
    params: dict[str, Any]

    @property
    def is_read(self) -> bool:
        return self.operation.startswith(READS)


Answer = dict[str, Any] | AwsError | Callable[[dict[str, Any]], Any] | list[Any]


class FakeAws:
    """Answers by "service.Operation": a dict, an AwsError, a function of the request, or a list
    of these, one per call, whose last one stays."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answers: dict[str, Answer] = {}

    def on(self, operation: str, answer: Answer) -> None:
        self.answers[operation] = answer

    def writes(self) -> list[Call]:
        return [call for call in self.calls if not call.is_read]

    def operations(self) -> list[str]:
        return [call.operation for call in self.calls]

    def params(self, operation: str) -> list[dict[str, Any]]:
        """What each call of `operation` asked for."""
        return [call.params for call in self.calls if call.operation == operation]

    @contextlib.contextmanager
    def patched(self) -> Iterator[None]:
        make = boto3.session.Session.client

        def client(session: Any, service: str, *args: Any, **kwargs: Any) -> Any:
            made = make(session, service, *args, **kwargs)
            made.meta.events.register("before-parameter-build", self._record)
            made.meta.events.register("before-call", self._answer)
            return made

        with mock.patch.object(boto3.session.Session, "client", client):
            yield

    def _record(self, params: dict[str, Any], model: Any, **_kwargs: Any) -> None:
        service = model.service_model.service_name
        self.calls.append(Call(service, model.name, copy.deepcopy(params)))

    def _answer(self, model: Any, **_kwargs: Any) -> tuple[AWSResponse, dict[str, Any]]:
        call = self.calls[-1]
        name = f"{call.service}.{call.operation}"
        assert name in self.answers, f"no answer prepared for {name}({call.params})"
        answer = self.answers[name]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer):
            answer = answer(call.params)
        if isinstance(answer, AwsError):
            error = {"Code": answer.code, "Message": answer.message}
            return self._response(answer.status, {"Error": error})
        if model.output_shape:
            problems = ParamValidator().validate(answer, model.output_shape)
            assert not problems.has_errors(), f"{name}: {problems.generate_report()}"
        return self._response(200, copy.deepcopy(answer))

    @staticmethod
    def _response(status: int, parsed: dict[str, Any]) -> tuple[AWSResponse, dict[str, Any]]:
        parsed["ResponseMetadata"] = {"HTTPStatusCode": status, "RetryAttempts": 0}
        return AWSResponse("http://fake", status, {}, None), parsed


def run_module(module: ModuleType, args: dict[str, Any], *, check: bool = False) -> dict[str, Any]:
    """What `module` prints for `args`, always with --diff."""
    arguments = {**args, "_ansible_check_mode": check, "_ansible_diff": True}
    printed = io.StringIO()
    with (
        patch_module_args(arguments),
        mock.patch.object(botocore.session, "create_loader", _shared_loader),
        contextlib.redirect_stdout(printed),
        pytest.raises(SystemExit),
    ):
        module.main()
    return json.loads(printed.getvalue())
