# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.filter.declaration_problems import (
    declaration_problems,
)

PATH = "set a path that begins with /, such as /healthz, without spaces."
CODES = "set status codes such as 200, 200,302 or 200-499, within 200-499."
STATUS = "set status codes such as 200, 200,302 or 200-499, within 100-599."
REUSE = "set a whole number, 1 or more."


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("app_health_path", "healthz", f"app_health_path is 'healthz': {PATH}"),
        ("app_health_path", "/a b", f"app_health_path is '/a b': {PATH}"),
        ("app_health_path", "/a#b", f"app_health_path is '/a#b': {PATH}"),
        ("app_health_path", "/" * 1025, f"app_health_path is '{'/' * 1025}': {PATH}"),
        ("app_health_codes", 500, f"app_health_codes is '500': {CODES}"),
        ("app_health_codes", "2xx", f"app_health_codes is '2xx': {CODES}"),
        ("app_health_codes", "299-200", f"app_health_codes is '299-200': {CODES}"),
        ("app_health_codes", "200, 302", f"app_health_codes is '200, 302': {CODES}"),
        ("app_instance_reuse", -1, f"app_instance_reuse is '-1': {REUSE}"),
        ("app_instance_reuse", "many", f"app_instance_reuse is 'many': {REUSE}"),
        ("app_instance_reuse", True, f"app_instance_reuse is 'True': {REUSE}"),
        (
            "app_probes",
            "/",
            'app_probes is \'/\': set a list such as [{"path": "/", "status": "200-499"}].',
        ),
        (
            "app_probes",
            [{"url": "/"}],
            "app_probes[0] is {'url': '/'}: set path, and if you want status and text.",
        ),
        ("app_probes", [{"path": ""}], f"app_probes[0].path is '': {PATH}"),
        (
            "app_probes",
            [{"path": "/"}, {"path": "/x", "status": "99"}],
            f"app_probes[1].status is '99': {STATUS}",
        ),
        (
            "app_probes",
            [{"path": "/", "text": 5}],
            "app_probes[0].text is 5: set a text that the answer holds, in quotes.",
        ),
    ],
)
def test_the_variable_its_value_and_the_fix_are_said(name: str, value: Any, problem: str) -> None:
    assert declaration_problems({name: value}) == [problem]


def test_what_is_right_or_says_nothing_is_no_problem() -> None:
    nothing = {"app_health_path": "", "app_health_codes": "", "app_probes": []}
    assert declaration_problems({**nothing, "app_instance_reuse": 0}) == []
    said = {
        "app_health_path": "/healthz?deep=1",
        "app_health_codes": 200,
        "app_probes": [
            {"path": "/"},
            {"path": "/gone", "status": "404,500-599", "text": "no such page"},
        ],
        "app_instance_reuse": "128",
    }
    assert declaration_problems(said) == []


def test_all_that_is_wrong_is_said_at_once() -> None:
    wrong = {"app_health_path": "x", "app_health_codes": "x", "app_instance_reuse": "x"}
    assert len(declaration_problems(wrong)) == 3
