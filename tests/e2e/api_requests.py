# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What playbooks ask of AWS, held against the models of the real API.

A local cloud takes much that AWS refuses. botocore itself checks names and types of parameters
before it sends them, but neither enumerations nor lengths nor patterns.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from botocore.model import ServiceModel, Shape
from botocore.validate import ParamValidator

RECORDER = Path(__file__).parent / "recorder"


def recording(file: Path) -> dict[str, str]:
    """Environment in which Python processes write their requests to `file`."""
    return {"PYTHONPATH": str(RECORDER), "AWS_REQUESTS_FILE": str(file)}


@dataclass
class Requests:
    counts: Counter[str]
    problems: list[str]

    def __str__(self) -> str:
        return "\n".join(f"{count:5} {name}" for name, count in sorted(self.counts.items()))


def read(file: Path) -> Requests:
    """How often each operation was asked for, and what in the parameters AWS would refuse."""
    counts: Counter[str] = Counter()
    problems = set()
    for line in file.read_text().splitlines():
        request = json.loads(line)
        name = f"{request['service']}.{request['operation']}"
        counts[name] += 1
        found = check(request["service"], request["operation"], request["params"])
        problems |= {f"{name}: {problem}" for problem in found}
    return Requests(counts, sorted(problems))


def check(service: str, operation: str, params: dict[str, Any]) -> list[str]:
    model = service_model(service)
    if operation not in model.operation_names:
        return ["no such operation"]
    shape = model.operation_model(operation).input_shape
    if shape is None:
        return ["takes no parameters"] if params else []
    report = ParamValidator().validate(params, shape)
    if report.has_errors():
        return report.generate_report().splitlines()
    return list(violations(params, shape, ""))


@cache
def service_model(service: str) -> ServiceModel:
    return botocore.session.get_session().get_service_model(service)


def violations(value: Any, shape: Shape, path: str) -> Iterator[str]:
    """What of `value`, whose types are right, is against enumerations, lengths or patterns."""
    if shape.type_name == "structure":
        for name, member in value.items():
            yield from violations(member, shape.members[name], f"{path}.{name}")
        return
    yield from out_of_range(value, shape, path)
    if shape.type_name == "list":
        for number, item in enumerate(value):
            yield from violations(item, shape.member, f"{path}[{number}]")
    elif shape.type_name == "map":
        for key, item in value.items():
            yield from violations(key, shape.key, f"{path} key")
            yield from violations(item, shape.value, f"{path}.{key}")
    elif shape.type_name == "string":
        yield from wrong_text(value, shape, path)


def out_of_range(value: Any, shape: Shape, path: str) -> Iterator[str]:
    limits = shape.metadata
    if shape.type_name == "blob" or not limits.keys() & {"min", "max"}:
        return
    size = value if isinstance(value, int | float) else len(value)
    if not limits.get("min", size) <= size <= limits.get("max", size):
        allowed = f"{limits.get('min', '')}..{limits.get('max', '')}"
        yield f"{path}: {value!r} has size {size}, not {allowed}"


def wrong_text(value: str, shape: Shape, path: str) -> Iterator[str]:
    if shape.enum and value not in shape.enum:
        yield f"{path}: {value!r} is none of {', '.join(shape.enum)}"
    pattern = shape.metadata.get("pattern")
    if pattern and not expression(pattern).fullmatch(value):
        yield f"{path}: {value!r} does not match {pattern}"


@cache
def expression(pattern: str) -> re.Pattern[str]:
    """The model's pattern as Python writes it: without classes of Unicode or surrogates, with
    \\w- escaped.
    """
    for theirs, ours in (
        (r"\p{L}", r"\w"),
        (r"\p{N}", r"\d"),
        (r"\p{Z}", r"\s"),
        (r"\w-", r"\w\-"),
        (r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF"),
    ):
        pattern = pattern.replace(theirs, ours)
    return re.compile(pattern)
