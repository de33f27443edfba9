"""What one local cloud is: its name, port and folder, and the names derived from them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


class LocalCloudError(Exception):
    """A command of the local cloud failed; the text says why and what to do."""


@dataclass(frozen=True)
class Cloud:
    """One local cloud. Several with different names and ports live side by side."""

    name: str
    port: int
    home: Path
    rie: Path | None = None  # folder of aws-lambda-rie-<architecture>
    load_balancer_port: int | None = None  # where a load balancer is going to listen

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def network(self) -> str:
        return f"multicompute-{self.name}"

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def objects(self) -> Path:
        return self.home / "s3"

    @property
    def file_systems(self) -> Path:
        """Root of the EFS directories: one per file system."""
        return self.home / "efs"

    @property
    def log(self) -> Path:
        return self.home / "local-cloud.log"

    @property
    def pid(self) -> Path:
        return self.home / "local-cloud.pid"

    def arguments(self) -> list[str]:
        """The command line that names this cloud."""
        rie = ["--rie", str(self.rie)] if self.rie else []
        return ["--name", self.name, "--port", str(self.port), "--home", str(self.home), *rie]

    def export(self) -> None:
        """Set what MiniStack reads from the environment; before its modules are imported."""
        os.environ.update(
            GATEWAY_PORT=str(self.port),
            PERSIST_STATE="1",
            STATE_DIR=str(self.state),
            S3_PERSIST="1",
            S3_DATA_DIR=str(self.objects),
            SFTP_ENABLED="0",
            IOT_MTLS_ENABLED="0",
            DOCKER_NETWORK=self.network,
        )
