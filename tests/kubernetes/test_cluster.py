# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/kubernetes.yml on a real cluster: its life, in order. `make test-kubernetes`"""

from __future__ import annotations

import json
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from . import node
from .conftest import CHECKOUT, Cluster

pytestmark = pytest.mark.cluster


def test_a_prediction_creates_nothing(cluster: Cluster) -> None:
    assert cluster.play("--check", "--diff") > 0
    assert "Would create namespace.yaml" in cluster.output
    assert "NotFound" in cluster.kubectl("get", "namespace", "demo", ok=False)


def test_it_serves_the_release_from_the_share(cluster: Cluster) -> None:
    started = time.monotonic()
    assert cluster.play() > 0
    print(f"first deploy: {time.monotonic() - started:.0f} s")
    assert re.search(r"endpoint: http://", cluster.output)
    line = re.search(r"pi-cluster +cluster +amd64 +0.0.1 +healthy +[\d.]+ ms", cluster.output)
    assert line, cluster.output
    with cluster.load() as load:
        time.sleep(1)
    assert load.failures == []
    assert list(load.releases()) == ["0.0.1"]


def test_a_second_run_changes_nothing(cluster: Cluster) -> None:
    started = time.monotonic()
    assert cluster.play() == 0, cluster.output
    print(f"second run: {time.monotonic() - started:.0f} s")
    assert cluster.play("--check", "--diff") == 0, cluster.output


def test_the_way_that_is_printed_leads_there(cluster: Cluster) -> None:
    command = [node.kubernetes(), "kubectl", f"--kubeconfig={cluster.kubeconfig}"]
    command += [f"--context={cluster.context}", "--namespace=demo", "port-forward"]
    forward = subprocess.Popen([*command, "service/demo", ":80"], stdout=subprocess.PIPE, text=True)
    try:
        assert forward.stdout
        port = re.search(r"127.0.0.1:(\d+)", forward.stdout.readline())
        assert port
        curl = ["curl", "--silent", "--include", f"http://127.0.0.1:{port[1]}/"]
        said = subprocess.run(curl, capture_output=True, text=True, check=True).stdout
    finally:
        forward.terminate()
    assert said.endswith("Hello, Fermyon")
    assert "x-served-by: pi-cluster" in said
    assert "x-release: 0.0.1" in said
    instance = re.search(r"x-instance: (\S+)", said)
    assert instance and instance[1] in [pod["metadata"]["name"] for pod in cluster.pods()]


def test_the_share_is_read_only_in_the_pods(cluster: Cluster) -> None:
    pod = cluster.pods()[0]["metadata"]["name"]
    write = ["sh", "-c", "echo x > /mnt/app/x"]
    said = cluster.kubectl("exec", "--namespace=demo", pod, "--", *write, ok=False)
    assert "Read-only file system" in said
    write = ["sh", "-c", "echo x > /x"]
    said = cluster.kubectl("exec", "--namespace=demo", pod, "--", *write, ok=False)
    assert "Read-only file system" in said or "Permission denied" in said
    # So a precompiled file is used.
    assert "compiling" not in cluster.kubectl("logs", "--namespace=demo", pod)


def test_the_namespace_refuses_what_is_less_than_restricted(cluster: Cluster) -> None:
    said = cluster.kubectl(
        "run", "root", "--namespace=demo", "--image=busybox", "--dry-run=server", ok=False
    )
    assert "violates PodSecurity" in said and "restricted" in said


def test_the_autoscaler_keeps_two_pods(cluster: Cluster) -> None:
    node.until(lambda: len(cluster.pods()) == 2, 60, lambda: str(cluster.pods()))


def test_a_new_release_costs_no_request(cluster: Cluster) -> None:
    started = time.monotonic()
    with cluster.load() as load:
        assert cluster.play(app_version="0.0.2") > 0
    print(f"rollout: {time.monotonic() - started:.0f} s, {len(load.answers)} requests")
    assert load.failures == []
    assert list(load.releases()) == ["0.0.1", "0.0.2"]
    assert cluster.play(app_version="0.0.2") == 0, cluster.output


def test_going_back_costs_no_request(cluster: Cluster) -> None:
    """As release.yml and rollback.yml do it, which import playbooks/clusters.yml."""
    with cluster.load() as load:
        assert cluster.play(name="clusters", app_version="0.0.1") > 0
    assert load.failures == []
    assert list(load.releases()) == ["0.0.2", "0.0.1"]


def test_a_lost_pod_is_made_up_for(cluster: Cluster) -> None:
    lost = cluster.pods()[0]["metadata"]["name"]
    with cluster.load() as load:
        cluster.kubectl("delete", "pod", "--namespace=demo", "--wait=false", lost)

        def whole() -> bool:
            ready = [
                pod["metadata"]["name"]
                for pod in cluster.pods()
                if all(
                    status["ready"]
                    for status in pod["status"].get("containerStatuses", [{"ready": False}])
                )
            ]
            return len(ready) == 2 and lost not in ready

        node.until(whole, 60, lambda: str(cluster.pods()))
    assert load.failures == []


def test_drift_is_seen_and_repaired(cluster: Cluster) -> None:
    patch = '{"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}'
    cluster.kubectl("patch", "deployment", "demo", "--namespace=demo", "--patch", patch)
    cluster.kubectl("delete", "service", "demo", "--namespace=demo")
    assert cluster.play("--check", "--diff") > 0
    assert "terminationGracePeriodSeconds" in cluster.output
    assert "NotFound" in cluster.kubectl("get", "service", "demo", "--namespace=demo", ok=False)
    assert cluster.play() > 0
    spec = cluster.get("deployment", "demo")["spec"]["template"]["spec"]
    assert spec["terminationGracePeriodSeconds"] == 18
    assert cluster.play() == 0, cluster.output


def test_a_release_that_does_not_run_is_taken_back(cluster: Cluster) -> None:
    # Left out, the builder and the share: so it is not published.
    started = time.monotonic()
    with cluster.load() as load:
        cluster.play(
            "--limit", "pi-cluster", fails=True, kubernetes_release="9.9.9", **image(cluster)
        )
    print(f"failed rollout: {time.monotonic() - started:.0f} s")
    said = " ".join(cluster.output.split())
    assert "Release 9.9.9 does not run on pi-cluster" in said
    assert "serve: no release at /mnt/app/releases/9.9.9/app.wasm" in said
    assert "release 0.0.1 serves again" in said
    assert load.failures == []
    assert list(load.releases()) == ["0.0.1"]
    assert cluster.play() == 0, cluster.output


def image(cluster: Cluster) -> dict[str, str]:
    template = cluster.get("deployment", "demo")["spec"]["template"]
    return {"kubernetes_image": template["spec"]["containers"][0]["image"]}


def test_an_image_that_no_node_has_is_said_at_once(cluster: Cluster) -> None:
    started = time.monotonic()
    with cluster.load() as load:
        cluster.play(
            "--limit",
            "pi-cluster",
            fails=True,
            kubernetes_image="multicompute/missing:1",
            kubernetes_image_loader="none",
        )
    took = time.monotonic() - started
    print(f"missing image: {took:.0f} s")
    assert "multicompute/missing:1" in cluster.output
    assert re.search("ErrImage|ImagePullBackOff", cluster.output)
    assert load.failures == []
    assert cluster.play() == 0, cluster.output


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"kubernetes_context": "visitor"},
            ["context visitor may not", "create deployments", "in namespace demo"],
        ),
        ({"kubernetes_storage_class": "fast"}, ["kubernetes_storage_class is fast", "has none"]),
        (
            {"kubernetes_storage": "claim", "kubernetes_claim": "releases"},
            ["PersistentVolumeClaim releases"],
        ),
        (
            {
                "kubernetes_storage": "efs",
                "kubernetes_efs_file_system": "fs-0123456789abcdef0",
                "kubernetes_efs_access_point": "fsap-0123456789abcdef0",
            },
            ["no driver efs.csi.aws.com", "aws-efs-csi-driver"],
        ),
        (
            {"kubernetes_architectures": ["arm64"]},
            ["kubernetes_architectures is arm64", "are amd64"],
        ),
        ({"kubernetes_namespace": "default"}, ["Namespace default", "kubernetes_manage_namespace"]),
        (
            {"kubernetes_flavour": "spinkube", "kubernetes_spinapp_image": "ghcr.io/me/app:1"},
            ["does not know SpinApps", "Spin operator"],
        ),
    ],
    ids=["no permission", "class", "claim", "driver", "architecture", "namespace", "operator"],
)
def test_bad_input_is_refused(
    cluster: Cluster, variables: dict[str, object], words: list[str]
) -> None:
    before = cluster.kubectl("get", "all,pv,pvc", "--all-namespaces", "-o", "name")
    cluster.play("--limit", "pi-cluster", fails=True, **variables)
    said = " ".join(cluster.output.split())
    for word in [*words, "Nothing was changed"]:
        assert word in said, said
    assert cluster.kubectl("get", "all,pv,pvc", "--all-namespaces", "-o", "name") == before


def test_who_may_only_edit_a_namespace_can_use_it(cluster: Cluster) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "releases", "namespace": "guest"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    path = cluster.folder / "claim.json"
    path.write_text(json.dumps(claim))
    cluster.kubectl("create", "namespace", "guest")
    try:
        bind = ["create", "rolebinding", "guest", "--namespace=guest", "--clusterrole=edit"]
        cluster.kubectl(*bind, "--user=visitor")
        cluster.kubectl("apply", "-f", str(path))
        # Not even the nodes may be listed.
        changed = cluster.play(
            "--limit",
            "pi-cluster",
            "--check",
            kubernetes_context="visitor",
            kubernetes_namespace="guest",
            kubernetes_manage_namespace=False,
            kubernetes_storage="claim",
            kubernetes_claim="releases",
            **image(cluster),
        )
        assert changed > 0
    finally:
        cluster.kubectl("delete", "namespace", "guest")


def test_the_pods_move_to_another_volume(cluster: Cluster) -> None:
    before = cluster.get("pv")["items"][0]["metadata"]["name"]
    with cluster.load() as load:
        cluster.play(kubernetes_host_path="/mnt/app/")
    assert load.failures == []
    (volume,) = cluster.get("pv")["items"]
    assert volume["metadata"]["name"] != before
    assert len(cluster.get("pvc")["items"]) == 1
    cluster.play()


def test_manifests_in_a_folder_are_the_same_objects(cluster: Cluster) -> None:
    folder = cluster.folder / "k8s"
    cluster.play("--limit", "pi-cluster", kubernetes_render_dir=str(folder), **image(cluster))
    assert "endpoint:" not in cluster.output
    said = cluster.kubectl(
        "diff", "--server-side", "--force-conflicts", "-k", str(folder), ok=False
    )
    assert said == "", said


def test_a_spinapp_is_applied_and_nothing_half_done_stays(cluster: Cluster) -> None:
    """No operator is there to run it, only its definitions: so it does not come up."""
    definitions = CHECKOUT / "tests/unit/roles/spinkube.yml"
    cluster.kubectl("apply", "-f", str(definitions))
    cluster.kubectl("wait", "--for=condition=Established", "-f", str(definitions))
    spinapp = {
        "kubernetes_flavour": "spinkube",
        "kubernetes_name": "spinapp",
        "kubernetes_spinapp_image": "ghcr.io/me/app:1.0.0",
        "kubernetes_timeout": 10,
    }
    of = ["--namespace=spinapp", "-o", "json"]

    def applied() -> bool:
        return "NotFound" not in cluster.kubectl("get", *of, "hpa", "spinapp", ok=False)

    try:
        with ThreadPoolExecutor() as beside:
            run = beside.submit(cluster.play, "--limit", "pi-cluster", fails=True, **spinapp)
            node.until(applied, 60, lambda: cluster.output)
            app = json.loads(cluster.kubectl("get", *of, "spinapp", "spinapp"))
            assert app["spec"]["enableAutoscaling"] is True
            assert app["spec"]["executor"] == "spinapp"
            cluster.kubectl("get", *of, "spinappexecutor", "spinapp")
            cluster.kubectl("get", "runtimeclass", "spinapp-spinapp")
            run.result()
        assert "the Deployment does not exist" in cluster.output
        assert "Nothing served before" in cluster.output
        for left in ("runtimeclass/spinapp-spinapp", "namespace/spinapp"):
            assert "NotFound" in cluster.kubectl("get", left, ok=False)
    finally:
        cluster.kubectl("delete", "-f", str(definitions))


def test_nothing_is_left(cluster: Cluster) -> None:
    absent = {"kubernetes_state": "absent"}
    assert cluster.play("--check", **absent) > 0
    assert cluster.pods()
    assert cluster.play(**absent) > 0
    assert "NotFound" in cluster.kubectl("get", "namespace", "demo", ok=False)
    assert cluster.get("pv")["items"] == []
    assert cluster.play(**absent) == 0, cluster.output
