# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options in snake_case and requests in the API's shape, by botocore's own service model.

So every field that AWS has, now or later, can be given, and a misspelt one is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean

with suppress(ImportError):
    from botocore import xform_name
    from botocore.validate import ParamValidator


class ShapeError(ValueError):
    """The options do not fit the API; the text says which and how."""


def option_name(member: str) -> str:
    """sizeInGiB: size_in_gib"""
    return xform_name(member.replace("GiB", "Gib"))


def text(value: Any) -> str:
    """A scalar of YAML as AWS takes it."""
    if isinstance(value, Mapping | list):
        raise ShapeError(f"{value!r} is neither text nor number nor boolean")
    # YAML's true is what a person wrote as true, not Python's True.
    return json.dumps(value) if isinstance(value, bool) else str(value)


def to_api(shape: Any, value: Any, path: str = "") -> Any:
    """`value` in the form of `shape`, without what is not set."""
    convert = {"structure": _structure, "list": _list, "map": _map}.get(shape.type_name, _scalar)
    return convert(shape, value, path)


def to_options(shape: Any, value: Any) -> Any:
    """The reverse of to_api."""
    if shape.type_name == "structure":
        return {
            option_name(member): to_options(shape.members[member], inner)
            for member, inner in value.items()
            if member in shape.members
        }
    if shape.type_name == "list":
        return [to_options(shape.member, inner) for inner in value]
    return value


def check(shape: Any, request: Mapping[str, Any]) -> None:
    """Refuse what AWS would refuse for its form."""
    problems = ParamValidator().validate(request, shape)
    if problems.has_errors():
        raise ShapeError(problems.generate_report())


def _structure(shape: Any, value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ShapeError(f"{path} has to be a dictionary, not {value!r}")
    members = {member.lower(): member for member in shape.members}
    converted = {}
    for option, inner in value.items():
        where = f"{path}.{option}".lstrip(".")
        member = members.get(option.replace("_", "").lower())
        if not member:
            raise ShapeError(f"{where} does not exist{_suggestion(option, shape)}")
        if inner is not None:
            converted[member] = to_api(shape.members[member], inner, where)
    return converted


def _suggestion(option: str, shape: Any) -> str:
    names = sorted(option_name(member) for member in shape.members)
    if close := get_close_matches(option, names, 1):
        return f", did you mean {close[0]}?"
    return f", there is {', '.join(names)}"


def _list(shape: Any, value: Any, path: str) -> list[Any]:
    members = getattr(shape.member, "members", {})
    if isinstance(value, Mapping) and len(members) == 2 and "name" in members:
        # Environment variables read better as {NAME: value} than as a list of pairs.
        other = next(member for member in members if member != "name")
        value = [{"name": name, other: inner} for name, inner in value.items()]
    if not isinstance(value, list):
        raise ShapeError(f"{path} has to be a list, not {value!r}")
    return [to_api(shape.member, inner, f"{path}[{n}]") for n, inner in enumerate(value)]


def _map(shape: Any, value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ShapeError(f"{path} has to be a dictionary, not {value!r}")
    return {
        key: _scalar(shape.value, inner, f"{path}.{key}")
        for key, inner in value.items()
        if inner is not None
    }


def _scalar(shape: Any, value: Any, path: str) -> Any:
    convert: Callable[[Any], Any] = {
        "boolean": boolean,
        "integer": int,
        "long": int,
        "string": text,
    }.get(shape.type_name, lambda value: value)
    try:
        return convert(value)
    except (TypeError, ValueError):
        raise ShapeError(f"{path} has to be of type {shape.type_name}, not {value!r}") from None
