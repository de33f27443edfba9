# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from ansible_collections.multicompute.spin.plugins.module_utils._shapes import (
    ShapeError,
    check,
    option_name,
    to_api,
    to_options,
)
from hypothesis import given
from hypothesis import strategies as st

SHAPE = (
    botocore.session.get_session()
    .get_service_model("ecs")
    .operation_model("RegisterTaskDefinition")
    .input_shape
)


def members(shape: Any, seen: tuple[str, ...] = ()) -> list[tuple[Any, str]]:
    """Every member of every structure below `shape`."""
    if shape.type_name == "list":
        return members(shape.member, seen)
    if shape.type_name != "structure" or shape.name in seen:
        return []
    own = [(shape, member) for member in shape.members]
    below = [members(inner, (*seen, shape.name)) for inner in shape.members.values()]
    return own + [pair for pairs in below for pair in pairs]


@pytest.mark.parametrize(("shape", "member"), members(SHAPE), ids=lambda value: str(value))
def test_every_field_of_the_api_can_be_given_in_both_spellings(shape: Any, member: str) -> None:
    for spelling in (member, option_name(member)):
        assert to_api(shape, {spelling: None}) == {}
    name = option_name(member)
    assert name == name.lower()
    with pytest.raises(ShapeError, match="does not exist"):
        to_api(shape, {f"{name}_x": None})


def test_the_spelling_is_that_of_people() -> None:
    names = {"sizeInGiB": "size_in_gib", "efsVolumeConfiguration": "efs_volume_configuration"}
    assert {member: option_name(member) for member in names} == names


def test_pairs_may_be_a_dictionary() -> None:
    definition = {"name": "a", "environment": {"X": 1, "Y": True}, "secrets": {"Z": "arn"}}
    (container,) = to_api(SHAPE, {"container_definitions": [definition]})["containerDefinitions"]
    assert container["environment"] == [
        {"name": "X", "value": "1"},
        {"name": "Y", "value": "true"},
    ]
    assert container["secrets"] == [{"name": "Z", "valueFrom": "arn"}]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"container_definition": []}, "did you mean container_definitions"),
        ({"cpu": {}}, "cpu has to be of type string, not {}"),
        ({"volumes": "share"}, "volumes has to be a list, not 'share'"),
        ({"volumes": ["share"]}, r"volumes\[0\] has to be a dictionary, not 'share'"),
        ({"volumes": [{"configured_at_launch": "perhaps"}]}, "of type boolean"),
        ({"container_definitions": [{"cpu": "x"}]}, r"container_definitions\[0\].cpu has to be"),
        ({"container_definitions": [{"docker_labels": []}]}, "docker_labels has to be a dict"),
    ],
)
def test_what_does_not_fit_is_named(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ShapeError, match=problem):
        to_api(SHAPE, options)


def test_what_is_required_is_checked() -> None:
    with pytest.raises(ShapeError, match="containerDefinitions"):
        check(SHAPE, {"family": "demo"})


labels = st.dictionaries(st.text("aB_-", min_size=1), st.text(), max_size=3)


@given(labels, st.booleans(), st.integers(0, 100))
def test_there_and_back_again(labels: dict[str, str], flag: bool, number: int) -> None:
    """Names of the user's own, like those of labels, are never converted."""
    options = {
        "family": "demo",
        "container_definitions": [
            {
                "name": "a",
                "cpu": number,
                "privileged": flag,
                "docker_labels": labels,
                "log_configuration": {"log_driver": "awslogs", "options": labels},
            }
        ],
    }
    api = to_api(SHAPE, options)
    assert api["containerDefinitions"][0]["dockerLabels"] == labels
    assert to_options(SHAPE, api) == options
