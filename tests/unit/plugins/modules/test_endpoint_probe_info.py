# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Against a real HTTP server on loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import endpoint_probe_info as module
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

Reply = tuple[int, dict[str, str], float]


class Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.requests: list[str] = []
        self.peers: set[int] = set()
        self.headers: list[Any] = []
        self.reply: Callable[[int], Reply] = lambda number: (200, {}, 0)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self.server.peers.add(self.client_address[1])
        self.server.headers.append(self.headers)
        self.server.requests.append(self.path)
        status, headers, delay = self.server.reply(len(self.server.requests) - 1)
        time.sleep(delay)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "4"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"body")

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def run(url: str, **options: Any) -> dict[str, Any]:
    result = run_module(module, {"url": url, **options})
    assert not result.get("failed"), result["msg"]
    assert result["changed"] is False
    return result


def test_counts_by_name_each_on_a_connection_of_its_own(server: Server) -> None:
    names = ["ec2", "ecs", "lambda"]

    def reply(number: int) -> Reply:
        name = names[number % 3]
        headers = {"X-Served-By": name, "x-release": "1.0.0", "x-instance": f"{name}-{number % 2}"}
        return 200, headers, 0

    server.reply = reply
    result = run(server.url + "a?b=c")
    assert result["requests"] == 30
    assert {name: one["requests"] for name, one in result["served_by"].items()} == {
        "ec2": 10,
        "ecs": 10,
        "lambda": 10,
    }
    assert result["served_by"]["ec2"]["instances"] == ["ec2-0", "ec2-1"]
    assert result["served_by"]["ec2"]["releases"] == result["releases"] == ["1.0.0"]
    assert 0 < result["p50_ms"] <= result["slowest_ms"] < 1000
    assert (result["failures"], result["first_failure"]) == (0, None)
    assert set(server.requests) == {"/a?b=c"}
    assert len(server.peers) == 30


def test_the_first_failing_answer_is_shown(server: Server) -> None:
    server.reply = lambda number: (502 + number, {"x-why": "down"}, 0) if number else (200, {}, 0)
    result = run(server.url, requests=3)
    assert result["failures"] == 2
    assert result["first_failure"]["status"] == 503
    assert result["first_failure"]["headers"]["x-why"] == "down"
    assert result["first_failure"]["body"] == "body"
    assert (result["first_failure"]["path"], result["first_failure"]["expected"]) == (
        "/",
        "200-499",
    )
    assert result["served_by"]["unknown"]["requests"] == 1


def test_any_answer_that_is_no_server_error_is_good_unless_a_probe_says_more(
    server: Server,
) -> None:
    server.reply = lambda number: (404, {}, 0)
    assert run(server.url, requests=2)["failures"] == 0
    result = run(server.url, probes=[{"path": "/x", "status": "200,302"}], requests=2)
    assert result["failures"] == 2
    shown = {key: result["first_failure"][key] for key in ("path", "expected", "status")}
    assert shown == {"path": "/x", "expected": "200,302", "status": 404}


def test_probes_are_asked_in_turn_and_need_their_text(server: Server) -> None:
    probes = [{"path": "/a"}, {"path": "/b", "text": "bod"}, {"path": "/c", "text": "Hello"}]
    result = run(server.url + "unused", probes=probes, requests=6)
    assert server.requests == ["/a", "/b", "/c"] * 2
    assert result["failures"] == 2
    shown = {key: result["first_failure"][key] for key in ("path", "expected", "status", "body")}
    assert shown == {
        "path": "/c",
        "expected": "200-499 with 'Hello'",
        "status": 200,
        "body": "body",
    }


def test_each_request_has_the_headers(server: Server) -> None:
    run(server.url, headers={"X-Proof": "abc", "x-number": 1}, requests=2)
    assert [each["x-proof"] for each in server.headers] == ["abc", "abc"]
    assert server.headers[0]["x-number"] == "1"


def test_a_header_that_cannot_be_sent_is_told(server: Server) -> None:
    result = run(server.url, headers={"x-proof": "a\nb"})
    assert "Invalid header value" in result["first_failure"]["error"]
    assert server.requests == []


def test_the_end_at_the_first_failure(server: Server) -> None:
    server.reply = lambda number: (500 if number == 2 else 200, {}, 0)
    result = run(server.url, stop_at_failure=True)
    assert (result["requests"], result["failures"]) == (3, 1)


def test_requests_side_by_side(server: Server) -> None:
    meeting = threading.Barrier(4, timeout=10)

    def reply(_number: int) -> Reply:
        meeting.wait()
        return 200, {}, 0

    server.reply = reply
    result = run(server.url, requests=8, concurrency=4)
    assert (result["requests"], result["failures"], len(server.requests)) == (8, 0, 8)
    server.reply = lambda _number: (500, {}, 0)
    few = run(server.url, requests=100, concurrency=4, stop_at_failure=True)
    assert 1 <= few["failures"] <= 4


def test_a_mixed_roll_shows_both_releases(server: Server) -> None:
    server.reply = lambda number: (200, {"x-release": f"1.{number % 2}.0"}, 0)
    assert run(server.url, requests=4)["releases"] == ["1.0.0", "1.1.0"]


def test_gives_up_where_nobody_answers() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        result = run(f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert result["requests"] == result["failures"] == 3
    assert "Connection refused" in result["first_failure"]["error"]
    assert result["p50_ms"] is result["slowest_ms"] is None
    assert result["served_by"] == {}


def test_an_answer_that_takes_too_long(server: Server) -> None:
    server.reply = lambda number: (200, {}, 0.5 if number == 1 else 0)
    result = run(server.url, requests=3, timeout=0.1)
    assert result["failures"] == 1
    assert "timed out" in result["first_failure"]["error"]


def test_no_http_at_all() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            for _ in range(3):
                connection, _peer = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b"nonsense\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        result = run(f"http://127.0.0.1:{port}/")
        thread.join()
    assert "BadStatusLine" in result["first_failure"]["error"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "ftp://x/"}, "it must be like http://host:port/path"),
        ({"url": "localhost:80"}, "it must be like http://host:port/path"),
        ({"url": "http://x/", "requests": 0}, "requests is 0"),
        ({"url": "http://x/", "timeout": -1}, "timeout is -1"),
        ({"url": "http://x/", "concurrency": 0}, "concurrency is 0"),
        ({"url": "http://x/", "probes": [{"path": "x"}]}, "probes[0].path is 'x', it must begin"),
        (
            {"url": "http://x/", "probes": [{"path": "/"}, {"path": "/", "status": "20x"}]},
            "probes[1].status is '20x': '20x' is no status code and no range of them",
        ),
        ({}, "missing required arguments: url"),
    ],
)
def test_errors(options: dict[str, Any], message: str) -> None:
    assert message in run_module(module, options)["msg"]
