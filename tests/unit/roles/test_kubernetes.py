# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Role kubernetes without a cluster: its manifests against the published schemas, and refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parents[3]
HERE = Path(__file__).parent
IMAGE = "registry.example.com/runtime@sha256:" + "0" * 64
EFS = {
    "kubernetes_efs_file_system": "fs-0123456789abcdef0",
    "kubernetes_efs_access_point": "fsap-0123456789abcdef0",
}
SPINAPP = {
    "kubernetes_flavour": "spinkube",
    "kubernetes_spinapp_image": "ghcr.io/me/app:1.0.0",
}

# Host -> its variables beside the defaults.
CLUSTERS: dict[str, dict[str, Any]] = {
    "host": {},
    "nfs": {"kubernetes_storage": "nfs", "kubernetes_nfs_source": "nas:/srv/app"},
    "efs": {"kubernetes_storage": "efs", **EFS},
    "claim": {"kubernetes_storage": "claim", "kubernetes_claim": "releases"},
    "full": {
        "kubernetes_image_pull_secrets": ["one", "two"],
        "kubernetes_storage_class": "shared",
        "kubernetes_service_type": "LoadBalancer",
        "kubernetes_service_annotations": {"example.com/scheme": "internal"},
        "kubernetes_ingress_from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
        "kubernetes_egress": [{"ports": [{"port": 443, "protocol": "TCP"}]}],
        "kubernetes_environment": {"APP_INSTANCE_REUSE": 1, "APP_WAIT_SECONDS": 45},
        "kubernetes_architectures": ["amd64", "arm64"],
    },
    "fixed": {
        "kubernetes_replicas": 3,
        "kubernetes_replicas_max": 3,
        "kubernetes_manage_namespace": False,
    },
    "health-path": {"wasm_runtime": "wasmtime", "kubernetes_health": {"path": "/healthz"}},
    "health-codes": {"wasm_runtime": "wasmtime", "kubernetes_health": {"codes": "200,302"}},
    "health-login": {"kubernetes_health": {"path": "/", "codes": "200,401"}},
    "any-app": {"wasm_runtime": "wasmtime"},
    "spinapp": SPINAPP,
    "spinapp-fixed": {
        **SPINAPP,
        "kubernetes_replicas": 1,
        "kubernetes_replicas_max": 1,
        "kubernetes_image_pull_secrets": ["one"],
        "kubernetes_spinapp_executor": "containerd-shim-spin",
        "kubernetes_spinapp_variables": {"greeting": "hello", "count": 3},
    },
}
# Oldest and newest that a cluster may reasonably be.
VERSIONS = ["1.29", "1.34"]

Objects = dict[str, dict[str, Any]]


def ansible(playbook: Path, inventory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            playbook,
            f"--inventory={inventory}",
            *arguments,
        ],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_NOCOLOR": "true"},
        capture_output=True,
        text=True,
    )


def write_inventory(path: Path, clusters: dict[str, dict[str, Any]], **variables: Any) -> Path:
    common = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "kubernetes_image": IMAGE,
        "kubernetes_render_dir": str(path.parent / "rendered"),
        "app_version": "1.2.0",
    }
    groups = {
        "builder": {"hosts": {"workstation": {}}},
        "shares": {},
        "clusters": {"hosts": clusters},
    }
    path.write_text(json.dumps({"all": {"children": groups, "vars": common | variables}}))
    return path


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Objects]:
    """By cluster: file name -> object."""
    inventory = write_inventory(tmp_path_factory.mktemp("inventory") / "hosts.json", CLUSTERS)
    os.environ["ANSIBLE_STDOUT_CALLBACK"] = "ansible.posix.json"
    try:
        result = ansible(HERE / "kubernetes_objects.yml", inventory)
    finally:
        del os.environ["ANSIBLE_STDOUT_CALLBACK"]
    assert result.returncode == 0, result.stdout + result.stderr
    show = json.loads(result.stdout)["plays"][0]["tasks"][-1]["hosts"]
    return {name: show[name]["ansible_facts"]["kubernetes_manifests"] for name in CLUSTERS}


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_every_object_is_valid(rendered: dict[str, Objects], cluster: str) -> None:
    for version in VERSIONS:
        for name, manifest in rendered[cluster].items():
            if name not in ("spinapp.yaml", "executor.yaml"):
                kubernetes_validate.validate(manifest, version, strict=True)


def pod(manifests: Objects) -> dict[str, Any]:
    return manifests["deployment.yaml"]["spec"]["template"]["spec"]


def container(manifests: Objects) -> dict[str, Any]:
    (only,) = pod(manifests)["containers"]
    return only


DEPLOYMENTS = [name for name in CLUSTERS if not name.startswith("spinapp")]


@pytest.mark.parametrize("cluster", DEPLOYMENTS)
def test_pods_meet_the_restricted_level(rendered: dict[str, Objects], cluster: str) -> None:
    spec, app = pod(rendered[cluster]), container(rendered[cluster])
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 1000
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert app["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    # Of volumes, the level allows none that is a path of the node's.
    assert [set(volume) - {"name"} for volume in spec["volumes"]] == [
        {"persistentVolumeClaim"},
        {"emptyDir"},
    ]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert spec["automountServiceAccountToken"] is False
    namespace = rendered[cluster].get("namespace.yaml")
    if namespace:
        labels = namespace["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("cluster", DEPLOYMENTS)
def test_pods_only_read_the_share(rendered: dict[str, Objects], cluster: str) -> None:
    share = pod(rendered[cluster])["volumes"][0]["persistentVolumeClaim"]
    assert share["readOnly"] is True
    mount = container(rendered[cluster])["volumeMounts"][0]
    assert mount == {"name": "share", "mountPath": "/mnt/app", "readOnly": True}


SPIN_HEALTH = "/.well-known/spin/health"
# Of what the release says, which path the cluster may ask. It takes 200 to 399 for well, whatever
# the app says.
CHECKED = {"health-path": "/healthz", "health-codes": "/", "health-login": None, "any-app": None}


@pytest.mark.parametrize("cluster", DEPLOYMENTS)
def test_probes_ask_what_says_that_the_app_is_well(
    rendered: dict[str, Objects], cluster: str
) -> None:
    app = container(rendered[cluster])
    path = CHECKED.get(cluster, SPIN_HEALTH)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = {name: app[probe][name] for name in ("httpGet", "tcpSocket") if name in app[probe]}
        if path:
            assert asked == {"httpGet": {"path": path, "port": "http"}}
        else:
            assert asked == {"tcpSocket": {"port": "http"}}
    # The entry point may wait for the release so long.
    waits = next(int(v["value"]) for v in app["env"] if v["name"] == "APP_WAIT_SECONDS")
    startup = app["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] > waits


def test_everything_selects_the_pods(rendered: dict[str, Objects]) -> None:
    manifests = rendered["full"]
    labels = manifests["deployment.yaml"]["spec"]["template"]["metadata"]["labels"].items()
    for selector in (
        manifests["deployment.yaml"]["spec"]["selector"]["matchLabels"],
        manifests["service.yaml"]["spec"]["selector"],
        manifests["disruption-budget.yaml"]["spec"]["selector"]["matchLabels"],
        manifests["network-policy.yaml"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels
        # A release is no part of a selector: those of a Deployment cannot be changed.
        assert "1.2.0" not in selector.values()


@pytest.mark.parametrize("cluster", DEPLOYMENTS)
def test_the_autoscaler_alone_says_how_many_pods(
    rendered: dict[str, Objects], cluster: str
) -> None:
    replicas = rendered[cluster]["deployment.yaml"]["spec"].get("replicas")
    assert (replicas is None) == ("autoscaler.yaml" in rendered[cluster])


def test_a_claim_and_its_volume_are_bound_to_each_other(rendered: dict[str, Objects]) -> None:
    for cluster in ("host", "nfs", "efs", "full"):
        volume, claim = rendered[cluster]["volume.yaml"], rendered[cluster]["claim.yaml"]
        assert volume["spec"]["claimRef"]["name"] == claim["metadata"]["name"]
        assert volume["spec"]["claimRef"]["namespace"] == claim["metadata"]["namespace"]
        assert claim["spec"]["volumeName"] == volume["metadata"]["name"]
        assert claim["spec"]["accessModes"] == volume["spec"]["accessModes"]
        wanted = "shared" if cluster == "full" else ""
        # Said by the claim even if empty, and by the volume only if not.
        assert claim["spec"]["storageClassName"] == wanted
        assert volume["spec"].get("storageClassName", "") == wanted
        assert "storageClassName" not in volume["spec"] or wanted


def test_the_volumes_name_where_the_releases_are(rendered: dict[str, Objects]) -> None:
    spec = {name: rendered[name]["volume.yaml"]["spec"] for name in ("host", "nfs", "efs")}
    assert spec["host"]["hostPath"] == {"path": "/mnt/app", "type": "Directory"}
    assert spec["nfs"]["nfs"] == {"server": "nas", "path": "/srv/app", "readOnly": True}
    assert spec["efs"]["csi"] == {
        "driver": "efs.csi.aws.com",
        "volumeHandle": "fs-0123456789abcdef0::fsap-0123456789abcdef0",
        "readOnly": True,
    }
    names = {rendered[name]["volume.yaml"]["metadata"]["name"] for name in ("host", "nfs", "efs")}
    assert len(names) == 3, "a volume cannot be changed, so each source is one of its own"
    assert not {"volume.yaml", "claim.yaml"} & rendered["claim"].keys()
    claim = pod(rendered["claim"])["volumes"][0]["persistentVolumeClaim"]["claimName"]
    assert claim == "releases"


def strict(schema: Any) -> Any:
    """What the API server asks for where unknown fields are refused."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: strict(part) for name, part in schema.items()}
    if isinstance(schema.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


@pytest.fixture(scope="module")
def spinkube() -> dict[str, Any]:
    """Kind -> schema of the Spin operator's definitions."""
    definitions = yaml.safe_load_all((HERE / "spinkube.yml").read_text())
    schemas = {
        definition["spec"]["names"]["kind"]: strict(
            definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        )
        for definition in definitions
    }
    for schema in schemas.values():
        schema["properties"]["metadata"] = {"type": "object"}
    return schemas


@pytest.mark.parametrize("cluster", ["spinapp", "spinapp-fixed"])
def test_a_spinapp_is_what_the_operator_takes(
    rendered: dict[str, Objects], spinkube: dict[str, Any], cluster: str
) -> None:
    custom = [each for each in rendered[cluster].values() if each["kind"] in spinkube]
    for each in custom:
        assert each["apiVersion"] == "core.spinkube.dev/v1alpha1"
        jsonschema.validate(each, spinkube[each["kind"]])
    app = rendered[cluster]["spinapp.yaml"]
    spec = app["spec"]
    for check in ("readiness", "liveness"):
        assert spec["checks"][check]["httpGet"] == {"path": "/.well-known/spin/health"}
    # The webhook wants exactly one of them.
    assert spec.get("enableAutoscaling", False) == ("replicas" not in spec)
    autoscaler = rendered[cluster].get("autoscaler.yaml")
    if autoscaler:
        target = autoscaler["spec"]["scaleTargetRef"]
        # The operator gives the Deployment the app's name.
        assert target == {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "name": app["metadata"]["name"],
        }
    namespace = rendered[cluster]["namespace.yaml"]["metadata"]["labels"]
    assert namespace["pod-security.kubernetes.io/enforce"] == "baseline"


def test_a_spinapp_has_its_executor_and_runtime_class(
    rendered: dict[str, Objects], spinkube: dict[str, Any]
) -> None:
    own = rendered["spinapp"]
    executor, runtime = own["executor.yaml"], own["runtime-class.yaml"]
    assert own["spinapp.yaml"]["spec"]["executor"] == executor["metadata"]["name"]
    assert executor["spec"]["deploymentConfig"]["runtimeClassName"] == runtime["metadata"]["name"]
    assert runtime["handler"] == "spin"
    files = list(own)
    assert files.index("executor.yaml") < files.index("spinapp.yaml"), "the operator looks for it"
    theirs = rendered["spinapp-fixed"]
    assert theirs["spinapp.yaml"]["spec"]["executor"] == "containerd-shim-spin"
    assert not {"executor.yaml", "runtime-class.yaml"} & theirs.keys()

    # A schema that lets everything through would prove nothing.
    for wrong in ({"replicas": "2"}, {"volume": []}, {"image": None}):
        app = own["spinapp.yaml"] | {"spec": own["spinapp.yaml"]["spec"] | wrong}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(app, spinkube["SpinApp"])


def playbook(inventory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return ansible(ROOT / "playbooks/kubernetes.yml", inventory, *arguments)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_folder_for_flux_is_stable(tmp_path: Path) -> None:
    folder = tmp_path / "k8s/dist"
    inventory = write_inventory(
        tmp_path / "hosts.json", {"kind": {}}, kubernetes_render_dir=str(folder)
    )
    first = playbook(inventory)
    assert first.returncode == 0, first.stdout + first.stderr
    written = contents(folder)
    listed = yaml.safe_load(written["kustomization.yaml"])["resources"]
    assert sorted(listed) == sorted(written.keys() - {"kustomization.yaml"})
    # A manifest of the user's own stays; one of ours goes with its object.
    (folder / "flux.yaml").write_text("kind: Kustomization\n")
    second = playbook(inventory, "--check", "--diff")
    assert "changed=0" in second.stdout, second.stdout
    third = playbook(inventory, "-e", '{"kubernetes_replicas_max": 2}')
    assert third.returncode == 0, third.stdout + third.stderr
    now = contents(folder)
    assert written.keys() - now.keys() == {"autoscaler.yaml"}
    assert now.keys() - written.keys() == {"flux.yaml"}
    changed = {name for name in written.keys() & now.keys() if written[name] != now[name]}
    assert changed == {"deployment.yaml", "kustomization.yaml"}


# What is wrong, by name -> the variables, and what the message must say.
BAD: dict[str, tuple[dict[str, Any], list[str]]] = {
    "name": ({"kubernetes_name": "My_App"}, ["kubernetes_name of name", "'My_App'"]),
    "namespace": ({"kubernetes_namespace": "-x"}, ["kubernetes_namespace", "'-x'"]),
    "version": ({"app_version": "next"}, ["app_version", "'next'", "1.2.3"]),
    "nfs": (
        {"kubernetes_storage": "nfs", "kubernetes_nfs_source": "nas"},
        ["kubernetes_nfs_source", "'nas'", "server:/export"],
    ),
    "efs": (
        {"kubernetes_storage": "efs", **EFS, "kubernetes_efs_access_point": ""},
        ["kubernetes_efs_access_point", "fsap-"],
    ),
    "claim": ({"kubernetes_storage": "claim"}, ["kubernetes_claim", "claim that exists"]),
    "path": ({"kubernetes_host_path": "srv/app"}, ["kubernetes_host_path", "'srv/app'"]),
    "storage": ({"kubernetes_storage": "ebs"}, ["kubernetes_storage", "ebs", "efs"]),
    "pods": (
        {"kubernetes_replicas": 4, "kubernetes_replicas_max": 3},
        ["kubernetes_replicas is 4", "kubernetes_replicas_max 3"],
    ),
    "registry": (
        {"kubernetes_image_loader": "registry"},
        ["kubernetes_registry", "<host>/<path>"],
    ),
    "architectures": (
        {"kubernetes_image": "", "kubernetes_architectures": ["amd64", "arm64"]},
        ["kubernetes_architectures", "amd64, arm64", "registry"],
    ),
    "latest": (
        {**SPINAPP, "kubernetes_spinapp_image": "ghcr.io/me/app:latest"},
        ["kubernetes_spinapp_image", "ghcr.io/me/app:latest", "spin registry push"],
    ),
    "no-context": (
        {"kubernetes_render_dir": ""},
        ["kubernetes_context of no-context is not set", "asleep, other"],
    ),
    "wrong-context": (
        {"kubernetes_render_dir": "", "kubernetes_context": "produktion"},
        ["produktion", "asleep, other", "Nothing was changed"],
    ),
    "no-kubeconfig": (
        {
            "kubernetes_render_dir": "",
            "kubernetes_context": "kind",
            "kubernetes_kubeconfig": "/nonexistent",
        },
        ["kubernetes_context of no-kubeconfig is kind", "/nonexistent", "no context"],
    ),
    "unreachable": (
        {"kubernetes_render_dir": "", "kubernetes_context": "asleep"},
        ["https://127.0.0.1:9", "context asleep", "does not answer"],
    ),
}


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two contexts, of which the current one must never be taken for another."""
    path = tmp_path_factory.mktemp("kube") / "config"
    # Nothing listens on the discard port.
    server = {"server": "https://127.0.0.1:9"}
    contexts = [
        {"name": name, "context": {"cluster": name, "user": "me"}} for name in ("asleep", "other")
    ]
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "other",
                "clusters": [{"name": name, "cluster": server} for name in ("asleep", "other")],
                "contexts": contexts,
                "users": [{"name": "me", "user": {"token": "a-distinctive-token"}}],
            }
        )
    )
    return path


@pytest.fixture(scope="module")
def refusals(kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """By name: what the playbook said to the host, each of which is wrong in its own way."""
    folder = tmp_path_factory.mktemp("bad")
    inventory = write_inventory(
        folder / "hosts.json",
        {name: variables for name, (variables, _) in BAD.items()},
        kubernetes_kubeconfig=str(kubeconfig),
    )
    os.environ["ANSIBLE_STDOUT_CALLBACK"] = "ansible.posix.json"
    try:
        result = playbook(inventory)
    finally:
        del os.environ["ANSIBLE_STDOUT_CALLBACK"]
    assert result.returncode != 0
    assert "a-distinctive-token" not in result.stdout + result.stderr
    said = json.loads(result.stdout)
    for host, count in said["stats"].items():
        assert host == "workstation" or (count["failures"], count["changed"]) == (1, 0), host
    assert not (folder / "rendered").exists(), "it went on"
    messages: dict[str, str] = {}
    for task in said["plays"][0]["tasks"]:
        for host, outcome in task["hosts"].items():
            if outcome.get("failed"):
                items = [item.get("msg", "") for item in outcome.get("results", [])]
                messages[host] = " ".join([outcome.get("msg", ""), *items])
    return messages


@pytest.mark.parametrize("wrong", BAD)
def test_bad_input_is_refused(refusals: dict[str, str], wrong: str) -> None:
    for words in BAD[wrong][1]:
        assert words in refusals[wrong]


def test_the_environment_does_not_choose_the_cluster(
    kubeconfig: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inventory = write_inventory(
        tmp_path / "hosts.json",
        {"kind": {"kubernetes_render_dir": "", "kubernetes_context": "asleep"}},
        kubernetes_kubeconfig=str(kubeconfig),
    )
    monkeypatch.setenv("K8S_AUTH_HOST", "https://production.example.com")
    result = playbook(inventory)
    assert result.returncode != 0
    said = " ".join(result.stdout.split())
    assert "The environment has K8S_AUTH_HOST" in said
    assert "than context asleep does: unset it" in said


def tasks(document: Any) -> Iterator[dict[str, Any]]:
    for task in document or []:
        yield task
        yield from tasks(task.get("block"))


def test_no_task_leaves_the_cluster_to_chance() -> None:
    named = 0
    for path in (ROOT / "roles").glob("*/tasks/*.yml"):
        for task in tasks(yaml.safe_load(path.read_text())):
            for action, options in task.items():
                if action.startswith(("kubernetes.core.", "multicompute.spin.kubernetes_")):
                    assert options["kubeconfig"] == "{{ kubernetes_kubeconfig }}", (path, task)
                    assert options["context"] == "{{ kubernetes_context }}", (path, task)
                    named += 1
    assert named > 10
