# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways past work that Ansible does again each time, to the same results.

Python keeps what it compiles of a file beside it, in `__pycache__`; Ansible's loader of collections
does not. The tasks of a graph render the same few templates again and again, such as those of the
environment. And each role that is loaded is a deep copy of its files, down to the last string.
"""

from __future__ import annotations

import functools
from importlib.machinery import SourceFileLoader
from types import CodeType
from typing import Any

from ansible._internal._templating._jinja_bits import AnsibleEnvironment, _TemplateCompileContext
from ansible.module_utils._internal import _datatag
from ansible.utils.collection_loader._collection_finder import _AnsibleCollectionPkgLoaderBase

# What cannot change: tags, and values that have some.
IMMUTABLE = (
    _datatag.AnsibleDatatagBase,
    _datatag._AnsibleTaggedStr,
    _datatag._AnsibleTaggedInt,
    _datatag._AnsibleTaggedFloat,
)

_get_code = _AnsibleCollectionPkgLoaderBase.get_code
_compile = AnsibleEnvironment.compile
_templates: dict[tuple[Any, ...], CodeType] = {}


def take() -> None:
    """From here to the end of the process and of its forks."""
    _AnsibleCollectionPkgLoaderBase.get_code = get_code
    AnsibleEnvironment.compile = compile_template
    for kind in IMMUTABLE:
        kind.__deepcopy__ = itself


@functools.wraps(_get_code)
def get_code(loader: _AnsibleCollectionPkgLoaderBase, fullname: str) -> CodeType | None:
    """As Python does it for any other file: what is kept counts while the file is as it was."""
    path = loader._source_code_path
    if path and path.endswith(".py"):
        return SourceFileLoader(fullname, path).get_code(fullname)
    return _get_code(loader, fullname)


@functools.wraps(_compile)
def compile_template(
    environment: AnsibleEnvironment, source: Any, *arguments: Any, **options: Any
) -> Any:
    """The code follows from the text, the delimiters and what a backslash means."""
    if not isinstance(source, str) or arguments or options:
        return _compile(environment, source, *arguments, **options)
    context = _TemplateCompileContext.current(optional=True)
    # Environments with the same delimiters share a lexer.
    key = (source, environment.lexer, context is not None and context.escape_backslashes)
    if key not in _templates:
        _templates[key] = _compile(environment, source)
    return _templates[key]


def itself(value: Any, _memo: dict[int, Any]) -> Any:
    return value
