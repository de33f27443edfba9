"""ECR: a repository's URI is where the registry really answers.

MiniStack serves the registry on its own port but names the repository as AWS would, under a host
that is not there, so that nothing can be pushed to what the API returns.
"""

from __future__ import annotations

from ministack.services import ecr

from ..settings import Cloud


def apply(cloud: Cloud) -> None:
    # Docker takes only "localhost" and 127.0.0.0/8 for registries without TLS.
    ecr._repo_uri = lambda name: f"localhost:{cloud.port}/{name}"
