#!/usr/bin/python
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

DOCUMENTATION = r"""
module: oci_component
version_added: 1.0.0
short_description: Take a WebAssembly component out of an OCI registry
description:
  - Pulls the one WebAssembly layer of an artifact, as C(wkg oci push), C(spin registry push) and
    C(oras push) make it, and verifies it by its digest.
author:
  - The multicompute.spin authors (@multicompute)
requirements:
  - requests
options:
  reference:
    description:
      - The artifact, C(registry/name:tag) or, so that it never becomes another one,
        C(registry/name@sha256:digest).
      - A registry on C(localhost) or C(127.0.0.1) is asked by plain HTTP, all others by HTTPS.
    type: str
    required: true
  dest:
    description: The file to write. Its directory must exist.
    type: path
    required: true
  username:
    description: Name for the registry, C(AWS) for Amazon ECR. Without it, it is asked anonymously.
    type: str
  password:
    description: Password or token for the registry.
    type: str
attributes:
  check_mode:
    support: full
    description: Reads what the registry has, and writes nothing.
  diff_mode:
    support: full
    description: Shows the digest of the component.
  idempotent:
    support: full
    description: A file with the component's digest stays. A tag is looked up in each run.
seealso:
  - module: multicompute.spin.wasm_bundle
"""

EXAMPLES = r"""
- name: Take an app out of a registry
  multicompute.spin.oci_component:
    reference: ghcr.io/acme/hello:1.2.0
    dest: build/hello.wasm
"""

RETURN = r"""
reference:
  description: The artifact by its digest.
  returned: success
  type: str
  sample: ghcr.io/acme/hello@sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
sha256:
  description: SHA-256 digest of the component.
  returned: success
  type: str
  sample: 6b1b1cb1f6ee4d3a1d7f7e2a4cf4d8c2f9bb5a7a0f1c60f23d7d6c1d0c8b8f11
size:
  description: Size of the component in bytes.
  returned: success
  type: int
  sample: 72192
"""

import hashlib
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

with suppress(ImportError):
    import requests

MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
# Of wkg and oras, of Spin and of wasm-to-oci; the older cargo-component.
WASM = (
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
)
REFERENCE = re.compile(
    r"(?P<registry>[^/@]+[.:][^/@]*|localhost)/(?P<name>[a-z0-9._/-]+)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
CHUNK = 1 << 20
TIMEOUT = 30


class Refused(Exception):
    """What the user can put right."""


class Registry:
    """A registry's API for one artifact: https://github.com/opencontainers/distribution-spec"""

    def __init__(self, reference: str, username: str | None, password: str | None) -> None:
        match = REFERENCE.fullmatch(reference)
        if match is None:
            raise Refused("it is not like registry/name:tag or registry/name@sha256:digest")
        self.registry, self.name = match["registry"], match["name"]
        self.wanted = match["digest"] or match["tag"] or "latest"
        local = self.registry.partition(":")[0] in ("localhost", "127.0.0.1")
        self.base = f"{'http' if local else 'https'}://{self.registry}/v2/{self.name}"
        self.session = requests.Session()
        # This machine is not behind its own proxy.
        self.session.trust_env = not local
        self.credentials = (username, password) if username and password else None

    def get(self, path: str, accept: str, stream: bool = False) -> Any:
        headers = {"Accept": accept}
        options: dict[str, Any] = {"headers": headers, "stream": stream, "timeout": TIMEOUT}
        answer = self.session.get(f"{self.base}/{path}", **options)
        if answer.status_code == 401:
            self.log_in(answer.headers.get("WWW-Authenticate", ""))
            answer = self.session.get(f"{self.base}/{path}", **options)
        if answer.status_code in (401, 403):
            raise Refused(f"{self.registry} does not let us read {self.name}: check the user name")
        if answer.status_code == 404:
            raise Refused(f"{self.registry} has no {self.name} with {path}")
        answer.raise_for_status()
        return answer

    def log_in(self, challenge: str) -> None:
        """With a token where the registry names who gives them, else as it is."""
        kind, _unused, rest = challenge.partition(" ")
        if kind.lower() != "bearer":
            self.session.auth = self.credentials
            return
        given = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        realm = given.pop("realm", "")
        answer = self.session.get(realm, params=given, auth=self.credentials, timeout=TIMEOUT)
        if answer.status_code != 200:
            raise Refused(f"{realm} gives no token ({answer.status_code}): check user and password")
        token = answer.json()
        self.session.headers["Authorization"] = (
            f"Bearer {token.get('token') or token.get('access_token')}"
        )

    def manifest(self, wanted: str) -> tuple[str, dict[str, Any]]:
        """Digest and content."""
        answer = self.get(f"manifests/{wanted}", ", ".join(MANIFESTS))
        digest = f"sha256:{hashlib.sha256(answer.content).hexdigest()}"
        if wanted.startswith("sha256:") and digest != wanted:
            raise Refused(f"{self.registry} answers with {digest}: it is damaged or another one")
        return digest, answer.json()

    def component(self) -> tuple[str, dict[str, Any]]:
        """Digest of the artifact, and its one WebAssembly layer."""
        digest, manifest = self.manifest(self.wanted)
        if variants := manifest.get("manifests"):
            if len(variants) != 1:
                raise Refused("it is an index of several artifacts: give the digest of one")
            _digest, manifest = self.manifest(variants[0]["digest"])
        layers = manifest.get("layers", [])
        found = [layer for layer in layers if layer["mediaType"] in WASM]
        if len(found) != 1:
            there = ", ".join(layer["mediaType"] for layer in layers) or "nothing"
            raise Refused(f"it has to hold one WebAssembly component, and holds {there}")
        return digest, found[0]

    def download(self, layer: dict[str, Any], dest: Path) -> None:
        actual = hashlib.sha256()
        answer = self.get(f"blobs/{layer['digest']}", "*/*", stream=True)
        with dest.open("wb") as file:
            for chunk in answer.iter_content(CHUNK):
                actual.update(chunk)
                file.write(chunk)
        if f"sha256:{actual.hexdigest()}" != layer["digest"]:
            raise Refused(
                f"the component has sha256 {actual.hexdigest()}, its manifest says "
                f"{layer['digest']}: it is damaged"
            )


def pull(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    dest = Path(params["dest"])
    registry = Registry(params["reference"], params["username"], params["password"])
    digest, layer = registry.component()
    before, after = module.sha256(str(dest)), layer["digest"].removeprefix("sha256:")
    if before != after and not module.check_mode:
        with tempfile.TemporaryDirectory(dir=module.tmpdir) as work:
            registry.download(layer, Path(work, "component"))
            module.atomic_move(str(Path(work, "component")), str(dest))
    return {
        "changed": before != after,
        "reference": f"{registry.registry}/{registry.name}@{digest}",
        "sha256": after,
        "size": layer["size"],
        "diff": {"before": {"sha256": before}, "after": {"sha256": after}},
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "reference": {"type": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "username": {"type": "str"},
            "password": {"type": "str", "no_log": True},
        },
        required_together=[("username", "password")],
        supports_check_mode=True,
    )
    if "requests" not in globals():
        module.fail_json(msg=missing_required_lib("requests"))
    try:
        module.exit_json(**pull(module))
    except (Refused, OSError, ValueError, KeyError) as error:
        module.fail_json(msg=f"{module.params['reference']}: {error}")


if __name__ == "__main__":
    main()
