# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What follow-tags tells systemd, which is a systemctl that takes notes here."""

from __future__ import annotations

import runpy
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[3] / "runtime/follow-tags"


@dataclass
class Service:
    """The metadata service of one instance."""

    tags: dict[str, str] | None = field(default_factory=dict)
    tokens: int = 0
    url: str = ""

    def answer(self, method: str, path: str, token: str | None) -> tuple[int, str]:
        if (method, path) == ("PUT", "/latest/api/token"):
            self.tokens += 1
            return 200, f"token-{self.tokens}"
        if token != f"token-{self.tokens}":
            return 401, ""
        name = path.removeprefix("/latest/meta-data/tags/instance").strip("/")
        if self.tags is None or name and name not in self.tags:
            return 404, ""
        return 200, self.tags[name] if name else "\n".join(self.tags)


@pytest.fixture
def service() -> Iterator[Service]:
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            token = self.headers.get("x-aws-ec2-metadata-token")
            status, text = state.answer(self.command, self.path, token)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_PUT = answer  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}/"
    yield state
    server.shutdown()


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What systemctl was asked to do."""
    made: list[str] = []

    def run(command: list[str], check: bool) -> None:
        assert check and command[0] == "systemctl"
        made.append(" ".join(command[1:]))

    monkeypatch.setattr(subprocess, "run", run)
    return made


@pytest.fixture
def follow(
    service: Service, done: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[str]]:
    """One look at the tags; what it led to."""
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
    program = runpy.run_path(str(PROGRAM), run_name="follow_tags")
    program["follow"].__globals__["SETTINGS"] = tmp_path
    metadata = program["Metadata"]()

    def look() -> list[str]:
        done.clear()
        program["follow"](metadata)
        return list(done)

    return look


def test_a_port_serves_what_its_tag_says(
    service: Service, follow: Callable[[], list[str]], tmp_path: Path
) -> None:
    service.tags = {"Name": "demo", "multicompute:8000": "1.0.0", "multicompute:configuration": "x"}
    assert follow() == ["restart --no-block multicompute@8000.service"]
    settings = "APP_RELEASE=1.0.0\nAPP_LISTEN=0.0.0.0:8000\n"
    assert (tmp_path / "8000.env").read_text() == settings
    assert follow() == []

    service.tags["multicompute:8001"] = "1.1.0"
    assert follow() == ["restart --no-block multicompute@8001.service"]
    del service.tags["multicompute:8000"]
    assert follow() == ["stop multicompute@8000.service"]
    assert [file.name for file in tmp_path.iterdir()] == ["8001.env"]

    service.tags["multicompute:8001"] = "1.2.0"
    assert follow() == ["restart --no-block multicompute@8001.service"]


def test_a_token_that_ran_out_is_renewed(service: Service, follow: Callable[[], list[str]]) -> None:
    service.tags = {"multicompute:8000": "1.0.0"}
    follow()
    service.tokens += 1
    assert follow() == []
    assert service.tokens == 3


def test_without_tags_what_runs_goes_on(service: Service, follow: Callable[[], list[str]]) -> None:
    service.tags = {"multicompute:8000": "1.0.0"}
    follow()
    service.tags = None
    with pytest.raises(OSError, match="404"):
        follow()
    service.tags = {"Name": "demo", "multicompute:8000": "1.0.0\nAPP_LISTEN=0.0.0.0:80"}
    with pytest.raises(ValueError, match="is no release"):
        follow()
    service.tags = {"multicompute:8000": "1.0.0"}
    assert follow() == []
