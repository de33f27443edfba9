# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multicompute.spin.plugins.modules import wasm_release
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module
from ansible_collections.multicompute.spin.tests.unit.plugins.module_utils.test_release import (
    make_bundle,
    snapshot,
)


@pytest.fixture
def share(tmp_path: Path) -> Path:
    path = tmp_path / "share"
    path.mkdir()
    return path


def with_bundle(share: Path, held: str, **options: Any) -> dict[str, Any]:
    bundle, sha256 = make_bundle(share.parent / f"{held}.tar", held)
    return {"path": str(share), "bundle": str(bundle), "sha256": sha256, **options}


STEPS: list[dict[str, Any]] = [
    {"publish": "1.0.0", "state": "present"},
    {"publish": "1.0.0"},
    {"publish": "1.1.0", "version": "1.1.0"},
    {"publish": "1.2.0", "keep": 1},
    {"version": "1.1.0"},
    {"version": "1.2.0", "state": "absent"},
]


def test_check_predicts_the_diff_of_each_step_and_a_second_run_is_unchanged(share: Path) -> None:
    for step in STEPS:
        options = dict(step)
        held = options.pop("publish", None)
        args = with_bundle(share, held, **options) if held else {"path": str(share), **step}
        untouched = snapshot(share)
        predicted = run_module(wasm_release, args, check=True)
        assert snapshot(share) == untouched
        done = run_module(wasm_release, args)
        for release in done["releases"].values():
            # When is not to be predicted.
            assert {release.pop("published_by"), release.pop("published_at")}
        for release in predicted["releases"].values():
            release.pop("published_by", None)
            release.pop("published_at", None)
        assert done == predicted, step
        assert done["changed"], step
        assert done["diff"]["before"] != done["diff"]["after"]
        again = run_module(wasm_release, args)
        assert not again["changed"], step
        assert again["diff"]["before"] == again["diff"]["after"] == done["diff"]["after"]


def test_check_mode_before_the_app_is_built_and_the_share_is_mounted(tmp_path: Path) -> None:
    args = {
        "path": str(tmp_path / "share"),
        "bundle": str(tmp_path / "bundle.tar"),
        "sha256": "",
        "version": "1.0.0",
    }
    result = run_module(wasm_release, args, check=True)
    assert result["changed"]
    assert result["diff"]["before"] == {"active": None, "releases": {}}
    assert result["diff"]["after"] == {"active": "1.0.0", "releases": {"1.0.0": None}}
    assert "does not exist: build the app first" in run_module(wasm_release, args)["msg"]


def test_check_mode_before_a_rebuild_keeps_what_is_known(share: Path) -> None:
    args = with_bundle(share, "1.0.0", version="1.0.0")
    published = run_module(wasm_release, args)
    Path(args["bundle"]).unlink()
    result = run_module(wasm_release, args, check=True)
    assert not result["changed"]
    assert result["releases"] == published["releases"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "one of the following is required: bundle, version"),
        ({"state": "absent", "bundle": "/tmp/x.tar", "sha256": ""}, "missing: version"),
        ({"state": "present", "version": "1.0.0"}, "missing: bundle"),
        ({"bundle": "/tmp/x.tar"}, "missing parameter(s) required by 'bundle': sha256"),
        ({"version": "1.0"}, "'1.0' is no release version"),
        ({"version": "2.0.0"}, "2.0.0 is not on"),
    ],
)
def test_bad_options(share: Path, options: dict[str, Any], message: str) -> None:
    result = run_module(wasm_release, {"path": str(share), **options})
    assert result["failed"]
    assert message in result["msg"]


def test_bundle_of_another_version(share: Path) -> None:
    result = run_module(wasm_release, with_bundle(share, "1.0.0", version="1.0.1"))
    assert "holds release 1.0.0, not 1.0.1" in result["msg"]
    assert snapshot(share) == {}


def test_the_lock_of_a_dead_publisher_is_reported_as_a_warning(
    share: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where a warning goes depends on whether controller code was loaded into this process before.
    warned: list[str] = []
    monkeypatch.setattr(AnsibleModule, "warn", lambda self, text: warned.append(text))
    (share / "releases").mkdir()
    (share / "releases/.lock").write_text('{"owner": "other pid 7", "since": 0}')
    run_module(wasm_release, with_bundle(share, "1.0.0"))
    assert len(warned) == 1
    assert "took over the lock of other pid 7" in warned[0]
