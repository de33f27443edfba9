#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: wasm_release
short_description: Publish, activate and remove releases of a WebAssembly app on a share
version_added: 1.0.0
author:
  - The multicompute.spin authors (@multicompute)
description:
  - A share holds C(releases/<version>/) with C(app.wasm), precompiled files in C(aot/) and
    C(release.json), and the relative link C(current) to the active release.
  - Every file is verified against its SHA-256 before it is published, and before it is activated.
  - Servers see a change only by rename. Whatever interrupts this module, even a full disk or a
    kill, the release that was served stays served; the next run removes what was left half done.
  - Only one run changes a share at a time. Another one waits for a minute, then fails and names
    the one that holds the lock. The lock of a run that died is taken over with a warning. On NFS
    this needs a mount with locking, which is the default.
attributes:
  check_mode:
    support: full
    description:
      - Predicts what a run does. If O(bundle) does not exist yet, the prediction needs O(version).
  diff_mode:
    support: full
    description: Shows the active release, and each release with the digest of its app.
  idempotent:
    support: full
    description:
      - A release is the same if C(app.wasm) has the same digest, whenever it was built.
options:
  path:
    description: The directory that the servers mount. It must exist.
    type: path
    required: true
  bundle:
    description:
      - An uncompressed tar file on the same host, with C(app.wasm), C(release.json) and optional
        precompiled files.
      - Precompiled files which the share lacks join a release that is there already.
    type: path
  sha256:
    description: Digest of the O(bundle).
    type: str
  version:
    description:
      - Semantic version of the release.
      - With a O(bundle), it must be the one in the bundle's C(release.json).
    type: str
  state:
    description:
      - With V(present), the release in O(bundle) is on the share.
      - With V(active), it is also the one that C(current) points to. Without O(bundle), the
        release O(version) must be on the share already.
      - With V(absent), the release O(version) is not on the share. The active release cannot be
        removed.
    type: str
    choices: [present, active, absent]
    default: active
  keep:
    description:
      - How many of the newest releases stay when one is published, by semantic version.
      - The active release, the one that was active before, the published one and those in
        O(protect) always stay.
    type: int
    default: 5
  protect:
    description:
      - Releases that are not removed for their age, since a server still has them open. Whoever
        runs the servers knows, see RV(multicompute.spin.wasm_release_info#module:primitives).
    type: list
    elements: str
    default: []
seealso:
  - module: multicompute.spin.wasm_bundle
  - module: multicompute.spin.wasm_release_info
"""

EXAMPLES = r"""
- name: Publish a release and make it the active one
  multicompute.spin.wasm_release:
    path: /mnt/app
    bundle: /tmp/app-1.1.0.tar
    sha256: "{{ app_1_1_0_sha256 }}"

- name: Go back
  multicompute.spin.wasm_release:
    path: /mnt/app
    version: 1.0.0

- name: Remove a release
  multicompute.spin.wasm_release:
    path: /mnt/app
    version: 0.9.0
    state: absent

- name: Keep few releases, but none that a server has open
  multicompute.spin.wasm_release:
    path: /mnt/app
    bundle: /tmp/app-1.2.0.tar
    sha256: "{{ app_1_2_0_sha256 }}"
    keep: 2
    protect: [1.0.0]
"""

RETURN = r"""
active:
  description: The version that C(current) points to, or null.
  returned: success
  type: str
  sample: 1.1.0
previous:
  description: The version that was active before, and to which a rollback leads, or null.
  returned: success
  type: str
  sample: 1.0.0
releases:
  description: What is on the share, oldest version first.
  returned: success
  type: dict
  sample:
    1.1.0:
      sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
      files:
        app.wasm: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
      target: wasm32-wasip1
      toolchain: rustc 1.85.1
      wasmtime: 49.0.3
      git_revision: null
      built_at: "2026-01-02T03:04:05Z"
      published_by: root@pi
      published_at: "2026-01-02T03:05:00Z"
version:
  description: The release that this run was about.
  returned: success
  type: str
  sample: 1.1.0
pruned:
  description: Releases that this run removed.
  returned: success
  type: list
  elements: str
  sample: [0.5.0]
"""

import getpass
import socket
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multicompute.spin.plugins.module_utils import _release as release


def change(params: dict[str, Any], check: bool) -> dict[str, Any]:
    share, version = Path(params["path"]), params["version"]
    if params["state"] == "absent":
        return release.remove(share, version, check)
    if not params["bundle"]:
        return release.activate(share, version, check)
    bundle = Path(params["bundle"])
    activate = params["state"] == "active"
    keep, protect = params["keep"], params["protect"]
    if check and version and not bundle.exists():
        return release.predict(share, version, activate, keep, protect)
    return release.publish(
        share, bundle, params["sha256"], activate, keep, check, version, protect, by()
    )


def by() -> str:
    return f"{getpass.getuser()}@{socket.gethostname()}"


def in_short(state: dict[str, Any]) -> dict[str, Any]:
    """What a diff shows."""
    return {
        "active": state["active"],
        "releases": {version: info["sha256"] for version, info in state["releases"].items()},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "bundle": {"type": "path"},
            "sha256": {"type": "str"},
            "version": {"type": "str"},
            "state": {
                "type": "str",
                "choices": ["present", "active", "absent"],
                "default": "active",
            },
            "keep": {"type": "int", "default": 5},
            "protect": {"type": "list", "elements": "str", "default": []},
        },
        required_if=[("state", "present", ["bundle"]), ("state", "absent", ["version"])],
        required_one_of=[("bundle", "version")],
        required_by={"bundle": ["sha256"]},
        supports_check_mode=True,
    )
    try:
        before = release.status(Path(module.params["path"]))
        result = change(module.params, module.check_mode)
    except release.ReleaseError as error:
        module.fail_json(msg=str(error))
    for note in result.pop("notes"):
        module.warn(note)
    module.exit_json(diff={"before": in_short(before), "after": in_short(result)}, **result)


if __name__ == "__main__":
    main()
