# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every client of AWS needs whomever it asks, made once in the process that forks.

Nothing here knows a region, an endpoint or a credential: of these, each module's client learns in
its own fork, from its own arguments and environment.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import re
from collections.abc import Iterable
from types import ModuleType
from typing import Any

try:
    import boto3
    import botocore.client
    import botocore.session
except ImportError:
    # Modules that need them say so themselves.
    boto3 = None

# Sessions in stock for a module, which makes one per service that it asks: most ask one.
SPARE_SESSIONS = 1
# What clients look up in models: operations, pages, and what to wait for.
MODELS = ("service-2", "paginators-1", "waiters-2")

_spare_sessions: list[Any] = []
_made: dict[tuple[Any, ...], Any] = {}


def _once(key: tuple[Any, ...], make: Any, *arguments: Any) -> Any:
    if key not in _made:
        _made[key] = make(*arguments)
    return _made[key]


if boto3 is not None:
    # Each session would parse the models of its services anew; one loader parses them once.
    botocore.session.create_loader = functools.cache(botocore.session.create_loader)
    _make_session = botocore.session.get_session

    @functools.wraps(_make_session)
    def get_session(env_vars: Any = None) -> Any:
        """A session that nobody has used: one in stock, for making it takes as long as two calls.

        It reads environment and files when it is first asked for something.
        """
        if _spare_sessions and env_vars is None:
            return _spare_sessions.pop()
        return _make_session(env_vars)

    botocore.session.get_session = get_session
    _creator = botocore.client.ClientCreator
    _load_model, _create_methods = _creator._load_service_model, _creator._create_methods

    @functools.wraps(_load_model)
    def load_service_model(creator: Any, service: str, version: str | None = None) -> Any:
        return _once((creator._loader, service, version), _load_model, creator, service, version)

    @functools.wraps(_create_methods)
    def create_methods(creator: Any, model: Any) -> dict[str, Any]:
        """Those of EC2 are 800. A class may get more, so each has a dictionary of its own."""
        return dict(_once((model,), _create_methods, creator, model))

    _creator._load_service_model = load_service_model
    _creator._create_methods = create_methods


def prepare(services: Iterable[str] = ("ec2",)) -> None:
    """Loads models and makes clients that nobody uses: what they load, the forks have."""
    if boto3 is None:
        return
    while len(_spare_sessions) < SPARE_SESSIONS:
        _spare_sessions.append(_make_session())
    for service in services:
        _prepare(service)


@functools.cache
def _unused_session() -> Any:
    session = _make_session()
    session.set_credentials("none", "none")
    return session


@functools.cache
def _prepare(service: str) -> None:
    # What is wrong with the environment, such as an absent profile, is for modules to say.
    with contextlib.suppress(Exception):
        session = _unused_session()
        loader = session.get_component("data_loader")
        # The name was found in a text, and may be anything.
        if service in loader.list_available_services(MODELS[0]):
            session.create_client(service, "us-east-1")
            for model in MODELS:
                loader.load_service_model(service, model)


def services_of(module: ModuleType) -> set[str]:
    """Names in the source of the module that may be those of services that it asks."""
    with contextlib.suppress(OSError, TypeError):
        return set(
            re.findall(r"""\b(?:client|Api)\([^()"']*["']([a-z0-9-]+)""", inspect.getsource(module))
        )
    return set()
