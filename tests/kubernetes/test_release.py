# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster beside the primitives of the local cloud serves the same files, and releases reach it
like them. `make test-kubernetes`"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from ..e2e.conftest import Deployment, Run, deployment
from ..load import load
from . import node
from .conftest import Cluster, local_cluster

__all__ = ["deployment"]

pytestmark = pytest.mark.cluster

NAMES = ("ec2", "ecs", "lambda", "pi-cluster")


@pytest.fixture(scope="module")
def cluster(deployment: Deployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Its node has the deployment's file system, at the access point."""
    deployment.must("site.yml")
    (current,) = deployment.home.glob("efs/*/*/current")
    with local_cluster(tmp_path_factory.mktemp("cluster"), current.parent) as made:
        made.write_inventory({})
        yield made


def play(deployment: Deployment, cluster: Cluster, name: str, *arguments: str) -> Run:
    inventories = ("-i", "inventories/local", "-i", str(cluster.inventory))
    return deployment.must(f"playbooks/{name}.yml", *inventories, *arguments)


def served(run: Run, release: str, *more: str) -> None:
    for name in NAMES:
        row = rf"^{name} .* {re.escape(release)} +healthy .*{''.join(more)}"
        assert re.search(row, run.output, re.MULTILINE), run.output[-3000:]


def everywhere(deployment: Deployment, cluster: Cluster, name: str, *arguments: str) -> Run:
    """Runs a playbook that no request may be lost by, neither here nor there."""
    with load(deployment.port) as balanced, cluster.load(deployment.name) as beside:
        run = play(deployment, cluster, name, *arguments)
        time.sleep(0.5)
    print(
        f"{name}: {run.seconds:.1f} s; {len(balanced.answers)} and {len(beside.answers)} requests"
    )
    assert balanced.failures == []
    assert beside.failures == []
    return run


def test_it_serves_what_the_primitives_serve(deployment: Deployment, cluster: Cluster) -> None:
    play(deployment, cluster, "kubernetes")
    run = play(deployment, cluster, "status")
    served(run, "1.0.0")


def test_a_release_reaches_the_cluster_as_well(deployment: Deployment, cluster: Cluster) -> None:
    run = everywhere(deployment, cluster, "release", "-e", "app_version=1.1.0")
    served(run, "1.1.0", r"\d+\.\d s")
    assert play(deployment, cluster, "release", "-e", "app_version=1.1.0").changed == 0


def test_so_does_going_back(deployment: Deployment, cluster: Cluster) -> None:
    run = everywhere(deployment, cluster, "rollback")
    served(run, "1.0.0", r"\d+\.\d s")
    node.until(
        lambda: len(cluster.pods(deployment.name)) == 2,
        60,
        lambda: str(cluster.pods(deployment.name)),
    )
