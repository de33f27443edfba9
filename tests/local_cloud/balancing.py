"""What the tests of the load balancer share: HTTP targets, and a balancer made by the API."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any

from .conftest import REGION, Api, free_port, until

_numbers = count()


class Target:
    """An HTTP server that says its name, what it was sent, and whether it is well."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.health = 200
        self.babble = False  # answers with no HTTP
        self.checks: list[dict[str, str]] = []
        self.release = threading.Event()  # lets requests for /slow go on
        self.slow = threading.Semaphore(0)  # counts requests that wait in /slow
        handler = type("Handler", (_Handler,), {"target": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        return self.server.server_address[1]

    @property
    def registration(self) -> dict[str, Any]:
        return {"Id": "127.0.0.1", "Port": self.port}

    def close(self) -> None:
        self.release.set()
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    target: Target

    def do_GET(self) -> None:
        status = 200
        if self.target.babble:
            self.wfile.write(b"hello?\r\n\r\n")
            self.close_connection = True
            return
        if self.path == "/health":
            self.target.checks.append({k.lower(): v for k, v in self.headers.items()})
            status = self.target.health
        if self.path == "/slow":
            self.target.slow.release()
            self.target.release.wait(20)
        said = {
            "name": self.target.name,
            "path": self.path,
            "headers": {k.lower(): v for k, v in self.headers.items()},
            "body": self._body().decode(),
        }
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.send_header("set-cookie", "one=1")
        self.send_header("set-cookie", "two=2")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_HEAD = do_GET

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def targets(*names: str) -> Iterator[list[Target]]:
    made = [Target(name) for name in names]
    try:
        yield made
    finally:
        for target in made:
            target.close()


@dataclass
class Balancer:
    """A load balancer of the API with one listener."""

    api: Api
    groups: list[str] = field(default_factory=list)
    arn: str = ""
    listener: str = ""
    port: int = 0

    @property
    def elb(self) -> Any:
        return self.api.client("elbv2")

    def add_group(self, kind: str = "ip", interval: int = 5, **settings: Any) -> str:
        if kind != "lambda":
            settings = {
                "Protocol": "HTTP",
                "Port": 80,
                "VpcId": "vpc-1",
                "HealthCheckPath": "/health",
                "HealthCheckIntervalSeconds": interval,
                "HealthCheckTimeoutSeconds": 2,
                "HealthyThresholdCount": 2,
            } | settings
        name = f"group-{next(_numbers)}"
        # The API takes no interval below 5 s, which would make the tests slow.
        elb = self.api.client("elbv2", parameter_validation=False)
        made = elb.create_target_group(Name=name, TargetType=kind, **settings)
        self.groups.append(made["TargetGroups"][0]["TargetGroupArn"])
        return self.groups[-1]

    def listen(self, weights: dict[str, int] | None = None) -> None:
        """Make the load balancer with a listener that shares by weight (default: equally)."""
        made = self.elb.create_load_balancer(
            Name=f"balancer-{next(_numbers)}", Subnets=["subnet-1", "subnet-2"]
        )
        self.arn = made["LoadBalancers"][0]["LoadBalancerArn"]
        self.port = free_port()
        listener = self.elb.create_listener(
            LoadBalancerArn=self.arn,
            Protocol="HTTP",
            Port=self.port,
            DefaultActions=[forward(weights or dict.fromkeys(self.groups, 1))],
        )
        self.listener = listener["Listeners"][0]["ListenerArn"]

    def states(self, group: str) -> dict[int | None, str]:
        described = self.elb.describe_target_health(TargetGroupArn=group)
        return {
            health["Target"].get("Port"): health["TargetHealth"]["State"]
            for health in described["TargetHealthDescriptions"]
        }

    def wait_healthy(self) -> None:
        for group in self.groups:
            until(lambda g=group: set(self.states(g).values()) == {"healthy"}, what="health")

    def get(self, path: str = "/", method: str = "GET", **sent: Any) -> tuple[int, Any, Any]:
        """Status, headers and body of a request to the listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, **sent)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        is_json = body.startswith(b"{")
        return response.status, response.headers, json.loads(body) if is_json else body

    def names(self, number: int, **sent: Any) -> list[str]:
        """Which targets answered so many requests."""
        return [self.get(**sent)[2]["name"] for _ in range(number)]

    def delete(self) -> None:
        if self.arn:
            self.elb.delete_load_balancer(LoadBalancerArn=self.arn)
        for group in self.groups:
            self.elb.delete_target_group(TargetGroupArn=group)


def forward(weights: dict[str, int]) -> dict[str, Any]:
    groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}


@contextmanager
def balancer(api: Api, made: list[Target]) -> Iterator[Balancer]:
    """A balancer with one group per target, of equal weights; with no targets, none yet."""
    result = Balancer(api)
    try:
        for target in made:
            group = result.add_group()
            result.elb.register_targets(TargetGroupArn=group, Targets=[target.registration])
        if made:
            result.listen()
        yield result
    finally:
        result.delete()


def metric(api: Api, name: str, statistic: str, behind: Balancer, group: str) -> float:
    now = datetime.now(UTC)
    answer = api.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/ApplicationELB",
        MetricName=name,
        Dimensions=[
            {"Name": "LoadBalancer", "Value": behind.arn.split("loadbalancer/")[1]},
            {"Name": "TargetGroup", "Value": group.split(":")[5]},
        ],
        StartTime=now - timedelta(minutes=10),
        EndTime=now + timedelta(minutes=1),
        Period=3600,
        Statistics=[statistic],
    )
    return sum(point[statistic] for point in answer["Datapoints"])


def upstream_request(api: Api, load_balancer: str, path: str = "/") -> tuple[int, bytes]:
    """A request by plain MiniStack's own way to a load balancer: a path of its API port."""
    connection = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)
    name = load_balancer.split("/")[-2]
    # Unsigned requests are for another region.
    scope = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/alb/aws4_request"
    }
    connection.request("GET", f"/_alb/{name}{path}", headers=scope)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body
