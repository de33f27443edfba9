# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Listener and function target against the local cloud, whose load balancer carries requests."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.modules import (
    elb_lambda_target,
    elb_metrics_info,
    elb_target_group,
    elb_watch_info,
    elb_weighted_listener,
)
from ansible_collections.multicompute.spin.tests.local_cloud import conftest as local
from ansible_collections.multicompute.spin.tests.local_cloud.balancing import (
    Balancer,
    targets,
)
from ansible_collections.multicompute.spin.tests.local_cloud.balancing import balancer as many
from ansible_collections.multicompute.spin.tests.local_cloud.test_elb_lambda import function
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import run_module

Run = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def account(local_cloud: local.LocalCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", local_cloud.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", local.REGION)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


@pytest.fixture
def balancer(local_cloud: local.LocalCloud) -> Iterator[Balancer]:
    """A load balancer of its own, without a listener."""
    made = Balancer(local_cloud)
    made.listen({made.add_group("lambda"): 1})
    made.elb.delete_listener(ListenerArn=made.listener)
    yield made
    made.delete()


@pytest.fixture
def groups(balancer: Balancer) -> Iterator[dict[str, str]]:
    """Target groups of a, b and c, whose targets answer with their name."""
    with targets("a", "b", "c") as servers:
        arns = {}
        for server in servers:
            arns[server.name] = balancer.add_group()
            balancer.elb.register_targets(
                TargetGroupArn=arns[server.name], Targets=[server.registration]
            )
        yield arns


def listener(balancer: Balancer, **options: Any) -> dict[str, Any]:
    return {"load_balancer_arn": balancer.arn, "port": balancer.port, **options}


def weights(groups: dict[str, str], **of: int | None) -> list[dict[str, Any]]:
    return [
        {"target_group_arn": groups[name]} | ({} if weight is None else {"weight": weight})
        for name, weight in of.items()
    ]


def wait_healthy(balancer: Balancer, *arns: str) -> None:
    for arn in arns:
        local.until(lambda arn=arn: set(balancer.states(arn).values()) == {"healthy"})


def test_requests_follow_the_weights(
    balancer: Balancer, groups: dict[str, str], converge: Run
) -> None:
    def weigh(purge: bool = True, **of: int | None) -> dict[str, Any]:
        args = listener(balancer, target_groups=weights(groups, **of), purge_target_groups=purge)
        return converge(elb_weighted_listener, args)

    assert weigh(purge=False)["changed"]
    assert balancer.get()[0] == 503
    weigh(purge=False, a=None)
    weigh(purge=False, b=None, c=None)
    wait_healthy(balancer, *groups.values())
    assert Counter(balancer.names(10)) == {"a": 10}
    weigh(purge=False, b=1)
    weigh(purge=False, c=1)
    assert Counter(balancer.names(30)) == {"a": 10, "b": 10, "c": 10}
    weigh(a=0, b=90, c=10)
    assert Counter(balancer.names(10)) == {"b": 9, "c": 1}
    weigh(a=None, c=None)
    assert Counter(balancer.names(10)) == {"c": 10}
    name = groups["c"].split("/")[1]
    leaving = [{"target_group_name": name, "state": "absent"}]
    converge(
        elb_weighted_listener,
        listener(balancer, target_groups=leaving, purge_target_groups=False),
    )
    assert Counter(balancer.names(10)) == {"a": 10}, "the last one left carries the requests"
    assert converge(elb_weighted_listener, listener(balancer, state="absent"))["changed"]
    assert not converge(elb_weighted_listener, listener(balancer, state="absent"))["changed"]
    with pytest.raises(OSError):
        balancer.get()


def test_what_others_changed_is_put_right(
    balancer: Balancer, groups: dict[str, str], converge: Run
) -> None:
    args = listener(balancer, target_groups=weights(groups, a=1, b=1), tags={"team": "wasm"})
    arn = converge(elb_weighted_listener, args)["listener"]["listener_arn"]
    other = {"Type": "forward", "TargetGroupArn": groups["c"]}
    balancer.elb.modify_listener(ListenerArn=arn, DefaultActions=[other])
    balancer.elb.remove_tags(ResourceArns=[arn], TagKeys=["team"])
    restored = converge(elb_weighted_listener, args)
    assert restored["changed"]
    assert restored["listener"]["tags"] == {"team": "wasm"}
    wait_healthy(balancer, groups["a"], groups["b"])
    assert Counter(balancer.names(10)) == {"a": 5, "b": 5}


def test_stickiness(balancer: Balancer, groups: dict[str, str], converge: Run) -> None:
    args = listener(balancer, target_groups=weights(groups, a=1, b=1))
    converge(elb_weighted_listener, {**args, "stickiness_duration": 60})
    assert not converge(elb_weighted_listener, args)["changed"]
    assert converge(elb_weighted_listener, {**args, "stickiness_duration": 0})["changed"]


def test_requests_with_a_header_go_by_a_rule(
    balancer: Balancer, groups: dict[str, str], converge: Run
) -> None:
    def rule(priority: int, name: str, **conditions: Any) -> dict[str, Any]:
        return {"priority": priority, "target_groups": weights(groups, **{name: 1}), **conditions}

    def names(count: int, path: str = "/", **headers: str) -> Counter[str]:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return Counter(balancer.names(count, path=path, headers=given))

    args = listener(balancer, target_groups=weights(groups, a=1))
    canary = rule(10, "b", headers={"X-Canary": "always"})
    assert converge(elb_weighted_listener, args | {"rules": [canary]})["changed"]
    wait_healthy(balancer, groups["a"], groups["b"])
    assert names(5) == {"a": 5} and names(5, x_canary="always") == {"b": 5}

    # Not mentioned, rules stay; named by another priority, they are others.
    assert not converge(elb_weighted_listener, args)["changed"]
    more = rule(5, "c", paths=["/c/*"], headers={"x-canary": ["always", "c"]})
    both = args | {"rules": [more], "purge_rules": False}
    assert [r["priority"] for r in converge(elb_weighted_listener, both)["listener"]["rules"]] == [
        5,
        10,
    ]
    wait_healthy(balancer, groups["c"])
    assert names(5, "/c/x", x_canary="c") == {"c": 5} and names(5, x_canary="always") == {"b": 5}

    changed = args | {"rules": [canary | {"target_groups": weights(groups, c=1)}]}
    assert converge(elb_weighted_listener, changed)["changed"]
    assert names(5, x_canary="always") == {"c": 5}
    assert converge(elb_weighted_listener, args | {"rules": []})["changed"]
    assert names(5, x_canary="always") == {"a": 5}


def test_clients_are_sent_elsewhere(
    balancer: Balancer, groups: dict[str, str], converge: Run
) -> None:
    redirect = {"protocol": "HTTPS", "port": "443"}
    args = listener(balancer, redirect=redirect)
    assert converge(elb_weighted_listener, args)["listener"]["default_action"] == "redirect"
    status, headers, _body = balancer.get("/a?b=c")
    assert (status, headers["location"]) == (301, "https://127.0.0.1:443/a?b=c")
    assert converge(elb_weighted_listener, listener(balancer))["changed"] is False
    forward = listener(balancer, target_groups=weights(groups, a=1))
    assert converge(elb_weighted_listener, forward)["listener"]["redirect"] is None
    assert converge(elb_weighted_listener, args | {"redirect": redirect | {"host": "x.test"}})
    assert balancer.get("/")[1]["location"] == "https://x.test:443/"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"redirect": {"status_code": "HTTP_302"}}, "leads to where it came from"),
        ({"redirect": {"port": "1"}, "target_groups": [{"target_group_name": "x"}]}, "contradict"),
        ({"rules": [{"priority": 0, "target_groups": []}]}, "priority of a rule is 0"),
        ({"rules": [{"priority": 1, "target_groups": []}]}, "needs headers, hosts or paths"),
        (
            {"rules": [{"priority": 1, "paths": ["/"], "target_groups": []}]},
            "needs a target group with a weight",
        ),
    ],
)
def test_contradictions_are_refused(
    balancer: Balancer, options: dict[str, Any], message: str
) -> None:
    for check in (True, False):
        refused = run_module(elb_weighted_listener, listener(balancer, **options), check=check)
        assert message in refused["msg"]


def test_an_unknown_target_group_is_named(balancer: Balancer, groups: dict[str, str]) -> None:
    unknown = groups["b"].replace("targetgroup/", "targetgroup/x")
    args = listener(balancer, target_groups=[{"target_group_arn": groups["a"]}])
    args["target_groups"].append({"target_group_arn": unknown})
    assert (
        f"target group {unknown} does not exist" in run_module(elb_weighted_listener, args)["msg"]
    )
    assert balancer.elb.describe_listeners(LoadBalancerArn=balancer.arn)["Listeners"] == []


def test_more_groups_than_aws_allows(balancer: Balancer) -> None:
    args = listener(
        balancer,
        target_groups=[{"target_group_arn": balancer.add_group("lambda")} for _ in range(6)],
    )
    result = run_module(elb_weighted_listener, args)
    assert result["failed"]
    assert f"Could not create the listener for port {balancer.port}" in result["msg"]


@pytest.mark.parametrize("kind", ["throttling", "unavailable"])
def test_a_busy_api_is_retried(
    balancer: Balancer, groups: dict[str, str], faults: Callable[..., None], kind: str
) -> None:
    steps = [
        (
            listener(balancer, target_groups=weights(groups, a=1)),
            ["DescribeListeners", "DescribeTargetGroups", "CreateListener"],
        ),
        (
            listener(balancer, target_groups=weights(groups, b=1), tags={"x": "y"}),
            ["DescribeTags", "ModifyListener", "AddTags"],
        ),
        (listener(balancer, state="absent"), ["DeleteListener"]),
    ]
    for args, actions in steps:
        faults(
            *(
                {"action": f"elasticloadbalancing:{action}", "kind": kind, "count": 1}
                for action in actions
            )
        )
        result = run_module(elb_weighted_listener, args)
        assert not result.get("failed"), result["msg"]
        assert result["changed"]


@pytest.mark.parametrize("action", ["CreateListener", "ModifyListener", "AddTags"])
def test_a_connection_that_is_cut_leaves_nothing_twice(
    balancer: Balancer, groups: dict[str, str], faults: Callable[..., None], action: str
) -> None:
    if action != "CreateListener":
        run_module(elb_weighted_listener, listener(balancer, target_groups=weights(groups, b=1)))
    args = listener(balancer, target_groups=weights(groups, a=1), tags={"x": "y"})
    faults({"action": f"elasticloadbalancing:{action}", "kind": "cut"})
    run_module(elb_weighted_listener, args)
    faults()
    run_module(elb_weighted_listener, args)
    assert not run_module(elb_weighted_listener, args)["changed"]
    assert len(balancer.elb.describe_listeners(LoadBalancerArn=balancer.arn)["Listeners"]) == 1


def test_a_refusal_says_which_action_to_allow(
    balancer: Balancer, faults: Callable[..., None]
) -> None:
    faults({"action": "elasticloadbalancing:CreateListener", "kind": "denied"})
    result = run_module(elb_weighted_listener, listener(balancer))
    assert "allow elasticloadbalancing:CreateListener to the identity" in result["msg"]


# --- functions ----------------------------------------------------------------------------------


def alias(local_cloud: local.LocalCloud, function_arn: str) -> str:
    client = local_cloud.client("lambda")
    version = client.publish_version(FunctionName=function_arn)["Version"]
    made = client.create_alias(FunctionName=function_arn, Name="live", FunctionVersion=version)
    return made["AliasArn"]


def policy(local_cloud: local.LocalCloud, arn: str) -> list[dict[str, Any]]:
    client = local_cloud.client("lambda")
    try:
        answer = client.get_policy(FunctionName=arn)
    except client.exceptions.ResourceNotFoundException:
        return []
    return json.loads(answer["Policy"])["Statement"]


def test_a_function_answers_is_replaced_and_leaves(
    balancer: Balancer, local_cloud: local.LocalCloud, converge: Run
) -> None:
    group = balancer.groups[0]
    run_module(
        elb_weighted_listener, listener(balancer, target_groups=[{"target_group_arn": group}])
    )
    with function(local_cloud, "first") as first, function(local_cloud, "second") as second:
        args = {"target_group_arn": group, "function_arn": alias(local_cloud, first)}
        assert converge(elb_lambda_target, args)["changed"]
        assert balancer.get()[0] == 201
        assert "x-single" in balancer.get()[1]
        assert converge(elb_lambda_target, {**args, "multi_value_headers": True})["changed"]
        assert balancer.get()[1].get_all("x-multi") == ["1", "2"]

        replaced = {"target_group_arn": group, "function_arn": alias(local_cloud, second)}
        result = converge(elb_lambda_target, replaced)
        assert result["targets"] == result["permissions"] == [replaced["function_arn"]]
        assert policy(local_cloud, args["function_arn"]) == []
        assert balancer.get()[0] == 201

        converge(elb_lambda_target, {"target_group_arn": group, "state": "absent"})
        assert policy(local_cloud, replaced["function_arn"]) == []
        assert balancer.get()[0] == 503


def test_a_function_that_does_not_exist(balancer: Balancer) -> None:
    arn = f"arn:aws:lambda:{local.REGION}:000000000000:function:nobody:live"
    args = {"target_group_arn": balancer.groups[0], "function_arn": arn}
    assert run_module(elb_lambda_target, args, check=True)["changed"]
    assert f"Could not read function {arn}" in run_module(elb_lambda_target, args)["msg"]


@pytest.mark.parametrize(
    "action",
    [
        "lambda:GetPolicy",
        "lambda:GetFunctionConfiguration",
        "lambda:AddPermission",
        "elasticloadbalancing:RegisterTargets",
        "elasticloadbalancing:DescribeTargetHealth",
        "elasticloadbalancing:ModifyTargetGroupAttributes",
    ],
)
@pytest.mark.parametrize("kind", ["throttling", "unavailable", "cut"])
def test_after_any_fault_a_second_run_converges(
    balancer: Balancer,
    local_cloud: local.LocalCloud,
    faults: Callable[..., None],
    action: str,
    kind: str,
) -> None:
    with function(local_cloud, "faulty") as arn:
        args = {
            "target_group_arn": balancer.groups[0],
            "function_arn": alias(local_cloud, arn),
            "multi_value_headers": True,
        }
        faults({"action": action, "kind": kind, "count": 1})
        first = run_module(elb_lambda_target, args)
        assert kind == "cut" or not first.get("failed"), first["msg"]
        faults()
        second = run_module(elb_lambda_target, args)
        assert not second.get("failed"), second["msg"]
        assert not run_module(elb_lambda_target, args)["changed"]
        assert len(policy(local_cloud, args["function_arn"])) == 1
        run_module(elb_lambda_target, {"target_group_arn": balancer.groups[0], "state": "absent"})


def test_metrics_tell_answers_and_failures_of_each_target_group(
    local_cloud: local.LocalCloud,
) -> None:
    with targets("a", "b") as servers, many(local_cloud, servers) as behind:
        behind.wait_healthy()
        behind.names(6)
        name = behind.arn.split("/")[-2]
        good, bad = (arn.split("/")[1] for arn in behind.groups)

        def told() -> dict[str, Any]:
            args = {"load_balancer_name": name}
            return run_module(elb_metrics_info, args)["target_groups"]

        local.until(lambda: [told()[one]["requests"] for one in (good, bad)] == [3, 3])
        before = told()
        assert [before[one]["failures"] for one in (good, bad)] == [0, 0]
        assert 0 < before[good]["response_ms"] < 1000

        servers[1].babble = True
        statuses = [behind.get()[0] for _number in range(4)]
        assert sorted(statuses) == [200, 200, 502, 502]
        local.until(lambda: told()[bad]["requests"] == 5)
        after = told()
        assert (after[bad]["failures"], after[bad]["unanswered"]) == (2, 2)
        assert (after[good]["requests"], after[good]["failures"]) == (5, 0)


def test_the_wait_for_a_target_ends_when_it_answers_otherwise_than_wanted(
    local_cloud: local.LocalCloud,
) -> None:
    with targets("a") as servers, many(local_cloud, []) as behind:
        (server,) = servers
        server.health = 418
        group = behind.add_group(interval=1)
        behind.listen()
        result = run_module(
            elb_target_group,
            {
                "name": group.split("/")[1],
                "target_type": "ip",
                "protocol": "HTTP",
                "port": 80,
                "vpc_id": "vpc-1",
                "targets": [{"id": "127.0.0.1", "port": server.port}],
                "wait": True,
            },
        )
        assert result["unfit"] is True
        assert f"GET /health of 127.0.0.1:{server.port} was answered with 418" in result["msg"]
        assert "and 200 is wanted" in result["msg"]


def test_a_watch_ends_when_a_release_fails_its_users(local_cloud: local.LocalCloud) -> None:
    with targets("a", "b") as servers, many(local_cloud, servers) as behind:
        behind.wait_healthy()
        name = behind.arn.split("/")[-2]
        former, release = (arn.split("/")[1] for arn in behind.groups)
        behind.names(6)
        args: dict[str, Any] = {"load_balancer_name": name, "since": time.time() - 300}

        def told() -> dict[str, Any]:
            return run_module(elb_metrics_info, args)["target_groups"]

        def watch(seconds: int) -> dict[str, Any]:
            groups = {"target_group": release, "former": former, "before": before}
            result = run_module(elb_watch_info, args | groups | {"seconds": seconds})
            assert not result.get("failed"), result
            return result

        local.until(lambda: told()[release]["requests"] == 3)
        before = told()
        behind.names(4)
        local.until(lambda: told()[release]["requests"] == 5)
        good = watch(1)
        assert (good["against"], good["requests"], good["failures"]) == ("", 2, 0)

        servers[1].babble = True
        for _number in range(4):
            behind.get()
        bad = watch(50)
        assert (bad["requests"], bad["failures"]) == (4, 2)
        assert bad["former_requests"] == 7
        expected = "2 of 4 requests failed, where the former release failed 0 of 7"
        assert bad["against"] == expected
