# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a release says of itself: how its health is asked, how it is proven, how often an instance
of it may be used. All of it is optional."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.multicompute.spin.plugins.module_utils._matcher import parse

KEYS = ("health_path", "health_codes", "probes", "instance_reuse")
CARGO = "[package.metadata.multicompute] of Cargo.toml"
PROBE_KEYS = {"path", "status", "text"}
HEALTH_CODES = range(200, 500)  # what a load balancer may be told
STATUS = range(100, 600)
# As a load balancer takes it; a fragment is the browser's.
PATH = re.compile(r"/[!$-~]{0,1023}")

_PATH_FIX = "set a path that begins with /, such as /healthz, without spaces"
_CODES_FIX = "set status codes such as 200, 200,302 or 200-499, within {}-{}"


def problems(given: Mapping[str, Any], name: str = "{}") -> list[str]:
    """A line for each value that cannot be; `name` makes the variable's name of the option's."""
    found = []
    path, codes = given.get("health_path"), given.get("health_codes")
    if path and not _is_path(path):
        found.append(f"{name.format('health_path')} is {path!r}: {_PATH_FIX}.")
    if codes and (fix := _unfit(codes, HEALTH_CODES)):
        found.append(f"{name.format('health_codes')} is {str(codes)!r}: {fix}.")
    found += _probe_problems(given.get("probes") or [], name.format("probes"))
    reuse = given.get("instance_reuse")
    if reuse is not None and not re.fullmatch(r"[1-9]\d{0,8}", str(reuse), re.ASCII):
        found.append(
            f"{name.format('instance_reuse')} is '{reuse}': set a whole number, 1 or more."
        )
    return found


def _probe_problems(probes: Any, name: str) -> list[str]:
    if not isinstance(probes, list):
        return [f'{name} is {probes!r}: set a list such as [{{"path": "/", "status": "200-499"}}].']
    found = []
    for number, probe in enumerate(probes):
        which = f"{name}[{number}]"
        if not isinstance(probe, Mapping) or "path" not in probe or set(probe) - PROBE_KEYS:
            found.append(f"{which} is {probe!r}: set path, and if you want status and text.")
            continue
        path, status, text = probe["path"], probe.get("status"), probe.get("text")
        if not _is_path(path):
            found.append(f"{which}.path is {path!r}: {_PATH_FIX}.")
        if status is not None and (fix := _unfit(status, STATUS)):
            found.append(f"{which}.status is {str(status)!r}: {fix}.")
        if text is not None and not isinstance(text, str):
            found.append(f"{which}.text is {text!r}: set a text that the answer holds, in quotes.")
    return found


def _is_path(path: Any) -> bool:
    return isinstance(path, str) and PATH.fullmatch(path) is not None


def _unfit(codes: Any, within: range) -> str:
    """How to put it right, or nothing."""
    try:
        if all(one in within for ranges in parse(str(codes)) for one in (ranges[0], ranges[-1])):
            return ""
    except ValueError:
        pass
    return _CODES_FIX.format(within[0], within[-1])


def in_crate(source: Path) -> dict[str, Any]:
    """What a crate says in its own folder; a ValueError if it cannot be."""
    try:
        manifest = tomllib.loads((source / "Cargo.toml").read_text())
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"Cargo.toml: {error}") from error
    table = manifest.get("package", {}).get("metadata", {}).get("multicompute", {})
    given = {key.replace("-", "_"): value for key, value in table.items()}
    found = [f"{key} is not known" for key in given if key not in KEYS]
    if found := found + problems(given):
        raise ValueError(f"{CARGO}: {' '.join(found)}")
    return given


def declaration(given: Mapping[str, Any]) -> dict[str, Any]:
    """As release.json has it: what nobody said is not there."""
    health = {
        key: str(given[f"health_{key}"]) for key in ("path", "codes") if given.get(f"health_{key}")
    }
    declared: dict[str, Any] = {"health": health} if health else {}
    if given.get("probes"):
        declared["probes"] = [_probe(probe) for probe in given["probes"]]
    if given.get("instance_reuse"):
        declared["instance_reuse"] = int(given["instance_reuse"])
    return declared


def _probe(probe: Mapping[str, Any]) -> dict[str, str]:
    """Any answer below 500 is good where the status is left out."""
    text = {"text": probe["text"]} if probe.get("text") else {}
    return {"path": probe["path"], "status": str(probe.get("status") or "200-499")} | text
