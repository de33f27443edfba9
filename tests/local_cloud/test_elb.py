"""The load balancer: its API keeps what it is told, and requests really reach targets."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .balancing import Balancer, Target, balancer, forward, metric, targets, upstream_request
from .conftest import Api, LocalCloud, answers, free_port, until


@pytest.fixture
def three(local_cloud: LocalCloud) -> Iterator[tuple[Balancer, list[Target]]]:
    """Three healthy targets behind one listener."""
    with targets("a", "b", "c") as made, balancer(local_cloud, made) as behind:
        behind.wait_healthy()
        yield behind, made


def code_of(call: Callable[..., Any], **arguments: Any) -> str:
    with pytest.raises(ClientError) as raised:
        call(**arguments)
    return raised.value.response["Error"]["Code"]


# Shares


def test_thirty_requests_over_three_equal_groups_are_ten_each(three: tuple) -> None:
    behind, _ = three
    names = behind.names(30)
    assert Counter(names) == {"a": 10, "b": 10, "c": 10}
    assert names[:6] == names[:3] * 2  # interleaved, not in runs


def test_weights_are_exact_shares_and_zero_gets_nothing(three: tuple) -> None:
    behind, _ = three
    weights = dict(zip(behind.groups, (5, 1, 0), strict=True))
    behind.elb.modify_listener(ListenerArn=behind.listener, DefaultActions=[forward(weights)])
    assert Counter(behind.names(12)) == {"a": 10, "b": 2}


def test_all_weights_zero_is_a_503(three: tuple) -> None:
    behind, _ = three
    weights = dict.fromkeys(behind.groups, 0)
    behind.elb.modify_listener(ListenerArn=behind.listener, DefaultActions=[forward(weights)])
    assert behind.get()[0] == 503


def test_forward_config_is_returned(three: tuple) -> None:
    behind, _ = three
    listener = behind.elb.describe_listeners(ListenerArns=[behind.listener])["Listeners"][0]
    (action,) = listener["DefaultActions"]
    assert action["ForwardConfig"]["TargetGroups"] == [
        {"TargetGroupArn": arn, "Weight": 1} for arn in behind.groups
    ]
    assert action["ForwardConfig"]["TargetGroupStickinessConfig"] == {"Enabled": False}
    assert "TargetGroupArn" not in action
    (rule,) = behind.elb.describe_rules(ListenerArn=behind.listener)["Rules"]
    assert rule["Actions"] == [action]


def test_a_single_group_is_returned_in_both_notations(three: tuple) -> None:
    behind, _ = three
    one = behind.groups[0]
    actions = [{"Type": "forward", "TargetGroupArn": one}]
    behind.elb.modify_listener(ListenerArn=behind.listener, DefaultActions=actions)
    listener = behind.elb.describe_listeners(ListenerArns=[behind.listener])["Listeners"][0]
    (action,) = listener["DefaultActions"]
    assert action["TargetGroupArn"] == one
    assert action["ForwardConfig"]["TargetGroups"] == [{"TargetGroupArn": one, "Weight": 1}]


def test_a_rule_shares_by_its_own_weights(three: tuple) -> None:
    behind, _ = three
    behind.elb.create_rule(
        ListenerArn=behind.listener,
        Priority=1,
        Conditions=[{"Field": "path-pattern", "Values": ["/canary/*"]}],
        Actions=[forward({behind.groups[2]: 1})],
    )
    assert behind.get("/canary/x")[2]["name"] == "c"
    assert Counter(behind.names(3)) == {"a": 1, "b": 1, "c": 1}


PROOF = {"x-multicompute-proof": "6f1ed002"}


def test_a_private_rule_leads_to_its_group_alone_which_is_checked_like_any_other(
    local_cloud: LocalCloud,
) -> None:
    with targets("a", "b") as made, balancer(local_cloud, []) as behind:
        public, private = behind.add_group(interval=1), behind.add_group(interval=1)
        for group, target in zip((public, private), made, strict=True):
            behind.elb.register_targets(TargetGroupArn=group, Targets=[target.registration])
        behind.listen({public: 1})
        time.sleep(1.5)
        assert set(behind.states(private).values()) == {"unused"}
        assert made[1].checks == []
        ((header, value),) = PROOF.items()
        condition = {"HttpHeaderName": header, "Values": [value]}
        behind.elb.create_rule(
            ListenerArn=behind.listener,
            Priority=1,
            Conditions=[
                {"Field": "http-header", "HttpHeaderConfig": condition},
                {"Field": "path-pattern", "PathPatternConfig": {"Values": ["/*"]}},
            ],
            Actions=[forward({private: 1})],
        )
        assert set(behind.states(private).values()) <= {"initial", "healthy"}
        behind.wait_healthy()
        assert behind.names(3, path="/any/path?q=1", headers=PROOF) == ["b"] * 3
        # Header names have no case.
        assert behind.names(1, headers={header.upper(): value}) == ["b"]
        assert behind.names(3) == ["a"] * 3
        assert behind.names(1, headers={header: "other"}) == ["a"]
        found = behind.elb.describe_target_groups(TargetGroupArns=[private])["TargetGroups"][0]
        assert found["LoadBalancerArns"] == [behind.arn]
        assert code_of(behind.elb.delete_target_group, TargetGroupArn=private) == "ResourceInUse"
        # Its health counts as others' does.
        made[1].health = 503
        until(lambda: set(behind.states(private).values()) == {"unhealthy"})


def test_a_private_rule_without_a_ready_target_is_a_503(three: tuple) -> None:
    behind, _ = three
    empty = behind.add_group()
    condition = {"HttpHeaderName": "x-multicompute-proof", "Values": ["6f1ed002"]}
    behind.elb.create_rule(
        ListenerArn=behind.listener,
        Priority=1,
        Conditions=[{"Field": "http-header", "HttpHeaderConfig": condition}],
        Actions=[forward({empty: 1})],
    )
    assert behind.get(headers=PROOF)[0] == 503
    assert behind.get()[0] == 200


def test_upstream_drops_forward_config(plain_ministack: Api) -> None:
    with targets("a", "b") as made, balancer(plain_ministack, made) as behind:
        listener = behind.elb.describe_listeners(ListenerArns=[behind.listener])["Listeners"][0]
        assert "ForwardConfig" not in listener["DefaultActions"][0]
        assert upstream_request(plain_ministack, behind.arn)[0] == 502


@pytest.mark.parametrize("weight", [-1, 1000])
def test_weights_out_of_range_are_refused(three: tuple, weight: int) -> None:
    behind, _ = three
    action = forward({behind.groups[0]: weight})
    change = {"ListenerArn": behind.listener, "DefaultActions": [action]}
    assert code_of(behind.elb.modify_listener, **change) == "ValidationError"
    assert len(behind.names(3)) == 3


# Requests


def test_targets_see_who_asked_and_the_host_that_was_asked(three: tuple) -> None:
    behind, _ = three
    _, headers, said = behind.get(
        "/a%20b?q=1&q=2", "POST", body=b"hello", headers={"Host": "app.example:81", "X-One": "1"}
    )
    sent = said["headers"]
    assert said["path"] == "/a%20b?q=1&q=2"
    assert said["body"] == "hello"
    assert sent["host"] == "app.example:81"
    assert sent["x-one"] == "1"
    assert sent["x-forwarded-for"] == "127.0.0.1"
    assert sent["x-forwarded-proto"] == "http"
    assert sent["x-forwarded-port"] == str(behind.port)
    assert sent["x-amzn-trace-id"].startswith("Root=1-")
    assert headers.get_all("set-cookie") == ["one=1", "two=2"]


def test_clients_keep_their_connection(three: tuple) -> None:
    behind, _ = three
    connection = http.client.HTTPConnection("127.0.0.1", behind.port, timeout=10)
    connection.connect()
    local = connection.sock.getsockname()
    for _ in range(5):
        connection.request("GET", "/")
        connection.getresponse().read()
        assert connection.sock.getsockname() == local
    connection.close()


def test_chunked_requests_pass(three: tuple) -> None:
    behind, _ = three
    connection = http.client.HTTPConnection("127.0.0.1", behind.port, timeout=10)
    connection.request("POST", "/", body=iter([b"ab", b"cd"]), encode_chunked=True)
    response = connection.getresponse()
    said = json.load(response)
    assert (response.status, said["body"]) == (200, "abcd")
    assert said["headers"]["transfer-encoding"] == "chunked"
    connection.close()


def test_head_requests_and_errors_for_them(three: tuple) -> None:
    behind, _ = three
    status, headers, body = behind.get("/", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 0
    weights = dict.fromkeys(behind.groups, 0)
    behind.elb.modify_listener(ListenerArn=behind.listener, DefaultActions=[forward(weights)])
    assert behind.get("/", "HEAD")[::2] == (503, b"")


def test_a_malformed_request_gets_a_400(three: tuple) -> None:
    behind, _ = three
    with socket.create_connection(("127.0.0.1", behind.port), 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nno colon\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


def test_a_target_that_speaks_no_http_is_a_502(local_cloud: LocalCloud) -> None:
    with targets("a") as made, balancer(local_cloud, made) as behind:
        behind.wait_healthy()
        made[0].babble = True
        assert behind.get()[0] == 502


def test_a_target_that_hangs_up_is_a_502_and_the_next_one_answers(three: tuple) -> None:
    behind, made = three
    made[0].close()
    assert sorted(behind.get()[0] for _ in range(3)) == [200, 200, 502]


def test_redirects_and_fixed_responses(three: tuple) -> None:
    behind, _ = three
    fixed = {"StatusCode": "410", "ContentType": "text/plain", "MessageBody": "gone"}
    actions = [{"Type": "fixed-response", "FixedResponseConfig": fixed}]
    behind.elb.modify_listener(ListenerArn=behind.listener, DefaultActions=actions)
    assert behind.get()[::2] == (410, b"gone")


def test_five_hundred_requests_a_second_without_an_error(three: tuple) -> None:
    behind, _ = three

    def ask(number: int) -> Counter[int]:
        connection = http.client.HTTPConnection("127.0.0.1", behind.port, timeout=10)
        statuses: Counter[int] = Counter()
        for _ in range(number):
            connection.request("GET", "/")
            response = connection.getresponse()
            response.read()
            statuses[response.status] += 1
        connection.close()
        return statuses

    with ThreadPoolExecutor(10) as pool:
        statuses = sum(pool.map(ask, [100] * 10), Counter())
    assert statuses == {200: 1000}


# Listeners


def test_the_dns_name_and_the_port_are_this_machine(three: tuple) -> None:
    behind, _ = three
    described = behind.elb.describe_load_balancers(LoadBalancerArns=[behind.arn])
    assert described["LoadBalancers"][0]["DNSName"] == "127.0.0.1"


def test_upstream_listens_on_no_port(plain_ministack: Api) -> None:
    with targets("a") as made, balancer(plain_ministack, made) as behind:
        described = behind.elb.describe_load_balancers(LoadBalancerArns=[behind.arn])
        assert described["LoadBalancers"][0]["DNSName"].endswith(".elb.amazonaws.com")
        with pytest.raises(ConnectionRefusedError):
            behind.get()


def test_a_port_that_is_taken_is_named_with_its_holder(three: tuple) -> None:
    behind, _ = three
    made = behind.elb.create_load_balancer(Name="second", Subnets=["subnet-1"])
    arn = made["LoadBalancers"][0]["LoadBalancerArn"]
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ClientError, match=rf"Port {port} .*pid {os.getpid()}"):
            behind.elb.create_listener(
                LoadBalancerArn=arn,
                Protocol="HTTP",
                Port=port,
                DefaultActions=[forward({behind.groups[0]: 1})],
            )
    assert behind.elb.describe_listeners(LoadBalancerArn=arn)["Listeners"] == []
    behind.elb.delete_load_balancer(LoadBalancerArn=arn)


def test_a_listener_can_move_to_another_port(three: tuple) -> None:
    behind, _ = three
    before, behind.port = behind.port, free_port()
    behind.elb.modify_listener(ListenerArn=behind.listener, Port=behind.port)
    assert behind.get()[0] == 200
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", before), 5)


def test_deleting_the_load_balancer_frees_its_port(local_cloud: LocalCloud) -> None:
    with targets("a") as made:
        with balancer(local_cloud, made) as behind:
            assert behind.elb.describe_listeners(LoadBalancerArn=behind.arn)["Listeners"]
        with socket.create_server(("127.0.0.1", behind.port)):
            pass


def test_a_group_in_use_is_not_deleted(three: tuple) -> None:
    behind, _ = three
    arguments = {"TargetGroupArn": behind.groups[0]}
    assert code_of(behind.elb.delete_target_group, **arguments) == "ResourceInUse"


def test_upstream_deletes_a_group_in_use(plain_ministack: Api) -> None:
    with targets("a") as made, balancer(plain_ministack, made) as behind:
        behind.elb.delete_target_group(TargetGroupArn=behind.groups.pop())


def test_listeners_targets_and_weights_survive_kill_9(
    make_local_cloud: Callable[..., LocalCloud],
) -> None:
    cloud = make_local_cloud()
    cloud("start")
    with targets("a", "b") as made, balancer(cloud, made) as behind:
        weights = dict(zip(behind.groups, (3, 1), strict=True))
        behind.elb.modify_listener(ListenerArn=behind.listener, DefaultActions=[forward(weights)])
        saved = cloud.home / "state/alb.json"
        until(lambda: saved.exists() and '"Weight": 3' in saved.read_text(), what="the save")
        os.kill(cloud.pid, signal.SIGKILL)
        until(lambda: not answers(f"{cloud.endpoint}/_ministack/health"))
        cloud("start")
        behind.wait_healthy()
        assert Counter(behind.names(8)) == {"a": 6, "b": 2}


def test_stop_lets_a_request_under_way_finish(
    make_local_cloud: Callable[..., LocalCloud],
) -> None:
    cloud = make_local_cloud()
    cloud("start")
    with targets("a") as made, balancer(cloud, made) as behind, ThreadPoolExecutor() as pool:
        behind.wait_healthy()
        answer = pool.submit(behind.get, "/slow")
        assert made[0].slow.acquire(timeout=10)
        stopped = pool.submit(cloud, "stop")
        until(lambda: not answers(f"{cloud.endpoint}/_ministack/health"))
        made[0].release.set()
        assert answer.result()[0] == 200
        assert stopped.result() == {"changed": True}
        cloud("start")


# Health


def test_health_is_checked_and_routing_respects_it(local_cloud: LocalCloud) -> None:
    with targets("a", "b") as made, balancer(local_cloud, []) as behind:
        made[1].health = 500
        group = behind.add_group()
        registered = [target.registration for target in made]
        behind.elb.register_targets(TargetGroupArn=group, Targets=registered)
        assert set(behind.states(group).values()) == {"unused"}
        behind.listen()
        assert behind.states(group)[made[1].port] == "initial"
        until(lambda: behind.states(group)[made[0].port] == "healthy")
        assert behind.names(4) == ["a"] * 4
        made[1].health = 200
        until(lambda: behind.states(group)[made[1].port] == "healthy", 10)
        assert Counter(behind.names(4)) == {"a": 2, "b": 2}
        assert made[0].checks[0]["host"] == f"127.0.0.1:{made[0].port}"
        assert made[0].checks[0]["user-agent"] == "ELB-HealthChecker/2.0"


def test_a_target_that_fails_its_checks_becomes_unhealthy_and_comes_back(
    local_cloud: LocalCloud,
) -> None:
    with targets("a", "b") as made, balancer(local_cloud, []) as behind:
        group = behind.add_group(interval=1, UnhealthyThresholdCount=2)
        registered = [target.registration for target in made]
        behind.elb.register_targets(TargetGroupArn=group, Targets=registered)
        behind.listen()
        behind.wait_healthy()
        made[0].health = 503
        until(lambda: behind.states(group)[made[0].port] == "unhealthy")
        described = behind.elb.describe_target_health(
            TargetGroupArn=group, Targets=[made[0].registration]
        )
        (one,) = described["TargetHealthDescriptions"]
        assert one["TargetHealth"]["Reason"] == "Target.ResponseCodeMismatch"
        assert "[503]" in one["TargetHealth"]["Description"]
        assert behind.names(3) == ["b"] * 3
        made[0].health = 200
        until(lambda: behind.states(group)[made[0].port] == "healthy")


def test_with_no_target_ready_the_answer_is_503_and_with_all_unhealthy_they_are_tried(
    local_cloud: LocalCloud,
) -> None:
    with targets("a") as made, balancer(local_cloud, []) as behind:
        made[0].health = 500
        group = behind.add_group(interval=1, UnhealthyThresholdCount=2)
        behind.listen()
        assert behind.get()[0] == 503
        behind.elb.register_targets(TargetGroupArn=group, Targets=[made[0].registration])
        assert behind.get()[0] == 503
        until(lambda: behind.states(group)[made[0].port] == "unhealthy")
        assert behind.get()[0] == 200


def test_upstream_calls_every_target_healthy(plain_ministack: Api) -> None:
    with balancer(plain_ministack, []) as behind:
        group = behind.add_group()
        behind.elb.register_targets(
            TargetGroupArn=group, Targets=[{"Id": "127.0.0.1", "Port": free_port()}]
        )
        behind.listen()
        assert set(behind.states(group).values()) == {"healthy"}


def test_a_deregistered_target_drains_while_its_requests_finish(local_cloud: LocalCloud) -> None:
    with targets("a", "b") as made, balancer(local_cloud, []) as behind:
        group = behind.add_group()
        delay = {"Key": "deregistration_delay.timeout_seconds", "Value": "3"}
        behind.elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=[delay])
        for target in made:
            behind.elb.register_targets(TargetGroupArn=group, Targets=[target.registration])
        behind.listen()
        behind.wait_healthy()
        with ThreadPoolExecutor() as pool:
            answers_ = [pool.submit(behind.get, "/slow") for _ in range(2)]
            assert made[0].slow.acquire(timeout=10)
            behind.elb.deregister_targets(TargetGroupArn=group, Targets=[made[0].registration])
            assert behind.states(group)[made[0].port] == "draining"
            assert behind.names(4) == ["b"] * 4
            until(lambda: made[0].port not in behind.states(group))
            for target in made:
                target.release.set()
            assert [answer.result()[0] for answer in answers_] == [200, 200]


def test_a_target_that_is_not_registered_is_unused_so_that_waiters_end(three: tuple) -> None:
    behind, made = three
    wanted = {"TargetGroupArn": behind.groups[0], "Targets": [made[1].registration]}
    (described,) = behind.elb.describe_target_health(**wanted)["TargetHealthDescriptions"]
    assert described["TargetHealth"]["Reason"] == "Target.NotRegistered"
    behind.elb.get_waiter("target_deregistered").wait(**wanted)


def test_upstream_forgets_a_deregistered_target_at_once(plain_ministack: Api) -> None:
    with targets("a") as made, balancer(plain_ministack, made) as behind:
        group = behind.groups[0]
        behind.elb.deregister_targets(TargetGroupArn=group, Targets=[made[0].registration])
        assert behind.states(group) == {}


def test_one_machine_on_two_ports_is_two_targets(local_cloud: LocalCloud) -> None:
    with targets("blue", "green") as made, balancer(local_cloud, []) as behind:
        group = behind.add_group()
        registered = [target.registration for target in made]
        behind.elb.register_targets(TargetGroupArn=group, Targets=registered)
        behind.listen()
        behind.wait_healthy()
        behind.elb.deregister_targets(TargetGroupArn=group, Targets=registered[:1])
        assert behind.states(group)[made[1].port] == "healthy"
        assert behind.names(3) == ["green"] * 3


def test_no_request_fails_while_targets_change_places(local_cloud: LocalCloud) -> None:
    statuses: Counter[int] = Counter()
    done = threading.Event()

    def keep_asking(behind: Balancer) -> None:
        while not done.is_set():
            statuses[behind.get()[0]] += 1

    with (
        targets("blue", "green") as (blue, green),
        balancer(local_cloud, []) as behind,
        ThreadPoolExecutor() as pool,
    ):
        group = behind.add_group()
        delay = {"Key": "deregistration_delay.timeout_seconds", "Value": "1"}
        behind.elb.modify_target_group_attributes(TargetGroupArn=group, Attributes=[delay])
        behind.elb.register_targets(TargetGroupArn=group, Targets=[blue.registration])
        behind.listen()
        behind.wait_healthy()
        asking = [pool.submit(keep_asking, behind) for _ in range(4)]
        for new, old in ((green, blue), (blue, green)):
            behind.elb.register_targets(TargetGroupArn=group, Targets=[new.registration])
            until(lambda port=new.port: behind.states(group)[port] == "healthy")
            behind.elb.deregister_targets(TargetGroupArn=group, Targets=[old.registration])
            until(lambda port=old.port: port not in behind.states(group))
        done.set()
        for one in asking:
            one.result()
    assert set(statuses) == {200}
    assert statuses[200] > 100


def test_upstream_takes_two_ports_of_one_machine_for_one_target(plain_ministack: Api) -> None:
    with targets("blue", "green") as made, balancer(plain_ministack, []) as behind:
        group = behind.add_group()
        registered = [target.registration for target in made]
        behind.elb.register_targets(TargetGroupArn=group, Targets=registered)
        assert len(behind.states(group)) == 1


# Errors


LOAD_BALANCER = {"LoadBalancerArn": "{}loadbalancer/app/x/1"}
UNKNOWN = [
    ("describe_load_balancers", {"Names": ["nobody"]}, "LoadBalancerNotFound"),
    ("describe_target_groups", {"Names": ["nobody"]}, "TargetGroupNotFound"),
    (
        "describe_target_groups",
        {"LoadBalancerArn": "{}loadbalancer/app/x/1"},
        "LoadBalancerNotFound",
    ),
    ("describe_listeners", LOAD_BALANCER, "LoadBalancerNotFound"),
    ("describe_listeners", {"ListenerArns": ["{}listener/app/x/1/2"]}, "ListenerNotFound"),
    ("describe_rules", {"ListenerArn": "{}listener/app/x/1/2"}, "ListenerNotFound"),
    ("describe_rules", {"RuleArns": ["{}listener-rule/app/x/1/2/3"]}, "RuleNotFound"),
]
# MiniStack itself answers these as AWS does.
UNKNOWN_UPSTREAM = {("describe_load_balancers", "LoadBalancerNotFound")}


def with_arns(value: Any) -> Any:
    prefix = "arn:aws:elasticloadbalancing:eu-central-1:000000000000:"
    if isinstance(value, list):
        return [with_arns(one) for one in value]
    return value.replace("{}", prefix)


@pytest.mark.parametrize(("action", "arguments", "code"), UNKNOWN)
def test_unknown_names_are_errors(
    local_cloud: LocalCloud, action: str, arguments: dict, code: str
) -> None:
    call = getattr(local_cloud.client("elbv2"), action)
    assert code_of(call, **{k: with_arns(v) for k, v in arguments.items()}) == code


@pytest.mark.parametrize(("action", "arguments", "code"), UNKNOWN)
def test_upstream_answers_unknown_names_with_an_empty_list(
    plain_ministack: Api, action: str, arguments: dict, code: str
) -> None:
    if (action, code) in UNKNOWN_UPSTREAM:
        pytest.skip("upstream says it too")
    answer = getattr(plain_ministack.client("elbv2"), action)(
        **{k: with_arns(v) for k, v in arguments.items()}
    )
    assert [v for k, v in answer.items() if k != "ResponseMetadata"] == [[]]


def two_rules_of_one_priority(api: Api) -> None:
    with balancer(api, []) as behind:
        group = behind.add_group("lambda")
        behind.listen({group: 1})
        for _ in range(2):
            behind.elb.create_rule(
                ListenerArn=behind.listener,
                Priority=1,
                Conditions=[{"Field": "path-pattern", "Values": ["/x"]}],
                Actions=[{"Type": "forward", "TargetGroupArn": group}],
            )


def test_a_priority_belongs_to_one_rule(local_cloud: LocalCloud) -> None:
    assert code_of(two_rules_of_one_priority, api=local_cloud) == "PriorityInUse"


def test_upstream_takes_a_priority_twice(plain_ministack: Api) -> None:
    two_rules_of_one_priority(plain_ministack)


def test_a_listener_to_an_unknown_group_is_refused(three: tuple) -> None:
    behind, _ = three
    action = forward({with_arns("{}targetgroup/nobody/1"): 1})
    change = {"ListenerArn": behind.listener, "DefaultActions": [action]}
    assert code_of(behind.elb.modify_listener, **change) == "TargetGroupNotFound"


# Metrics


def test_requests_are_counted_per_target_group(three: tuple, local_cloud: LocalCloud) -> None:
    behind, _ = three
    behind.names(9)

    def counted(name: str) -> list[float]:
        return [metric(local_cloud, name, "Sum", behind, group) for group in behind.groups]

    until(lambda: counted("RequestCount") == [3, 3, 3], 3)
    assert counted("HTTPCode_Target_2XX_Count") == [3, 3, 3]
    seconds = metric(local_cloud, "TargetResponseTime", "Average", behind, behind.groups[0])
    assert 0 < seconds < 1


def test_connections_that_a_target_refuses_are_counted(local_cloud: LocalCloud) -> None:
    with targets("a", "b") as made, balancer(local_cloud, []) as behind:
        # Checked so rarely that it stays healthy.
        for target in made:
            group = behind.add_group(interval=300)
            behind.elb.register_targets(TargetGroupArn=group, Targets=[target.registration])
        behind.listen()
        behind.wait_healthy()
        made[1].close()
        assert sorted(behind.get()[0] for _ in range(4)) == [200, 200, 502, 502]

        def counted(name: str) -> list[float]:
            return [metric(local_cloud, name, "Sum", behind, group) for group in behind.groups]

        until(lambda: counted("TargetConnectionErrorCount") == [0, 2], 3)
        assert counted("RequestCount") == [2, 2]
        # A target that says something else than HTTP was connected to.
        made[0].babble = True
        assert [behind.get()[0] for _ in range(2)] == [502, 502]
        until(lambda: counted("RequestCount") == [3, 3], 3)
        assert counted("TargetConnectionErrorCount") == [0, 3]


def test_upstream_counts_no_requests(plain_ministack: Api) -> None:
    with targets("a") as made, balancer(plain_ministack, made) as behind:
        actions = [{"Type": "forward", "TargetGroupArn": behind.groups[0]}]
        behind.elb.modify_listener(ListenerArn=behind.listener, DefaultActions=actions)
        assert upstream_request(plain_ministack, behind.arn)[0] == 200
        time.sleep(1)
        assert metric(plain_ministack, "RequestCount", "Sum", behind, behind.groups[0]) == 0
