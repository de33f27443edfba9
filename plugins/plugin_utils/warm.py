# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs unchanged modules in forks of a process that has loaded what they need.

The action plugin imports this file in Ansible's main process. All workers are forks of that, and so
have what it loads for nothing.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

from ansible.errors import AnsibleError
from ansible.executor.module_common import _BuiltModule
from ansible.module_utils import _internal as module_internal
from ansible.module_utils import basic
from ansible.module_utils._internal._ansiballz import _loader as ansiballz
from ansible.module_utils.common.json import (
    Direction,
    get_module_decoder,
    get_module_encoder,
)
from ansible_collections.multicompute.spin.plugins.plugin_utils import clients

Send = Callable[[Any], None]
# rc, stdout and stderr of a module.
Ended = dict[str, Any]
# Its full name, arguments and environment.
RunModule = Callable[[str, dict[str, Any], dict[str, str]], Ended]

PROFILE = "legacy"
encoder = get_module_encoder(PROFILE, Direction.CONTROLLER_TO_MODULE)
# Loads what a module says its result with, and what Ansible reads it by.
get_module_encoder(PROFILE, Direction.MODULE_TO_CONTROLLER)
get_module_decoder(PROFILE, Direction.MODULE_TO_CONTROLLER)
fork = multiprocessing.get_context("fork")
_code: dict[str, list[int]] = {}


def python_name(module_fqcn: str) -> str:
    """Importable name of a module: `amazon.aws.ec2_vpc_net` lies in `ansible_collections`."""
    namespace, collection, name = module_fqcn.split(".", 2)
    if (namespace, collection) in {("ansible", "builtin"), ("ansible", "legacy")}:
        return f"ansible.modules.{name}"
    return f"ansible_collections.{namespace}.{collection}.plugins.modules.{name}"


def load_module(module_fqcn: str) -> None:
    """What one process has imported, its forks need not."""
    # Why it can't be imported, the run of the module says.
    with contextlib.suppress(Exception):
        module = importlib.import_module(python_name(module_fqcn))
        clients.prepare(clients.services_of(module))
    loaded_code()


def size_and_time(path: str) -> list[int]:
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def loaded_code() -> dict[str, list[int]]:
    """Size and time of each file of the collections' code that this process has loaded.

    As they were when this process, or the one that it was forked from, first knew of the file:
    whoever edits it later edits what did not run.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith(("ansible_collections.", "ansible.modules.")):
            path = getattr(module, "__file__", None)
            if path and path not in _code:
                _code[path] = size_and_time(path)
    return _code


def run_main(module_fqcn: str, arguments: dict[str, Any], environment: dict[str, str]) -> Ended:
    """Runs the module as AnsiballZ would, in this process: a fork that runs no other module."""
    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": arguments}, cls=encoder).encode()
    basic._ANSIBLE_PROFILE = PROFILE
    before = sys.stdout, sys.stderr, os.environ.copy()
    output, errors = sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    os.environ.update(environment)
    # A module collects its warnings for the result; only a controller shows them itself.
    module_internal.is_controller = False
    code: Any = 0
    try:
        try:
            importlib.import_module(python_name(module_fqcn)).main()
            raise RuntimeError("The module ended without a result")
        except Exception as error:
            ansiballz._handle_exception(error, PROFILE)
    except SystemExit as end:
        code = end.code
    finally:
        module_internal.is_controller = True
        sys.stdout, sys.stderr = before[:2]
        os.environ.clear()
        os.environ.update(before[2])
    return {"rc": int(code or 0), "stdout": output.getvalue(), "stderr": errors.getvalue()}


def start_fork(function: Any, *arguments: Any) -> tuple[Connection, Any]:
    """Calls `function(send, *arguments)` in a fork; gives what receives from it, and the fork."""
    receiver, sender = fork.Pipe(duplex=False)
    child = fork.Process(target=_child, args=(receiver, sender, function, *arguments))
    child.start()
    sender.close()
    return receiver, child


def _child(receiver: Connection, sender: Connection, function: Any, *arguments: Any) -> None:
    receiver.close()
    # The worker's own handlers would signal the worker's group once more from here.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    function(sender.send, *arguments)


def in_fork(function: Any, *arguments: Any) -> Any:
    """What `function` returns, called in a fork."""
    receiver, child = start_fork(lambda send: send(function(*arguments)))
    try:
        return receiver.recv()
    except EOFError:
        child.join()
        raise AnsibleError(f"The process of the module ended with {child.exitcode}") from None
    finally:
        receiver.close()
        child.join()


class WarmModules:
    """Mixed into an action plugin: runs its modules by `run_module` instead of in new processes."""

    run_module: RunModule
    # Called before anything is run in the plain way.
    before_command: Callable[[], None]
    _pending: tuple[str, dict[str, Any]] | None = None

    def _is_pipelining_enabled(self, module_style: str, wrap_async: bool = False) -> bool:
        # Modules of other styles find their arguments in a temporary folder, which costs a process.
        warm = module_style == "new" and self._is_warm()
        return warm or super()._is_pipelining_enabled(module_style, wrap_async)  # type: ignore[misc]

    def _is_warm(self) -> bool:
        """Whether the module runs on this machine, as this user and with this Python."""
        return (
            self._connection.transport == "local"  # type: ignore[attr-defined]
            and not self._connection.become  # type: ignore[attr-defined]
            and self._interpreter == sys.executable
        )

    @functools.cached_property
    def _interpreter(self) -> str | None:
        variable = "ansible_python_interpreter"
        variables = self._templar.available_variables  # type: ignore[attr-defined]
        return self._templar.template(variables.get(variable))  # type: ignore[attr-defined]

    def _configure_module(
        self, module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]
    ) -> tuple[_BuiltModule, str]:
        context = self._shared_loader_obj.module_loader.find_plugin_with_context(  # type: ignore[attr-defined]
            module_name,
            ".py",
            collection_list=self._task.collections,  # type: ignore[attr-defined]
        )
        # A module beside the playbook has no importable name.
        fqcn = context.resolved_fqcn if context.resolved else None
        if not (
            self._is_warm()
            and fqcn
            and fqcn.count(".") >= 2
            and not fqcn.startswith("ansible.legacy.")
        ):
            self._pending = None
            return super()._configure_module(module_name, module_args, task_vars)  # type: ignore[misc]
        self._pending = (fqcn, module_args)
        bits = _BuiltModule(
            b_module_data=b"",
            module_style="new",
            shebang=f"#!{sys.executable}",
            serialization_profile=PROFILE,
        )
        return bits, context.plugin_resolved_path

    def _low_level_execute_command(
        self, cmd: str, *arguments: Any, **options: Any
    ) -> dict[str, Any]:
        if self._pending is None:
            self.before_command()
            return super()._low_level_execute_command(cmd, *arguments, **options)  # type: ignore[misc]
        module_fqcn, module_args = self._pending
        self._pending = None
        environment: dict[str, str] = {}
        self._compute_environment_string(environment)  # type: ignore[attr-defined]
        result = self.run_module(module_fqcn, module_args, environment)
        return {
            **result,
            "stdout_lines": result["stdout"].splitlines(),
            "stderr_lines": result["stderr"].splitlines(),
        }


class WarmLoader:
    """Ansible's loader of action plugins, with `WarmModules` mixed into what it makes."""

    def __init__(self, loader: Any, members: dict[str, Any]) -> None:
        self._loader = loader
        self._members = members

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def get(
        self, name: str, *, collection_list: Any = None, class_only: bool = False, **options: Any
    ) -> Any:
        plain = self._loader.get(name, class_only=True, collection_list=collection_list)
        if plain is None or class_only:
            return plain
        # Ansible finds the plugin's options by the name of its class.
        return type(plain.__name__, (WarmModules, plain), self._members)(**options)


def warm_loaders(
    loaders: Any, run_module: RunModule, before_command: Callable[[], None]
) -> SimpleNamespace:
    members = {
        "run_module": staticmethod(run_module),
        "before_command": staticmethod(before_command),
    }
    return SimpleNamespace(
        **{**vars(loaders), "action_loader": WarmLoader(loaders.action_loader, members)}
    )
