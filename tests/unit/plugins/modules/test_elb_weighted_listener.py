# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import copy
from typing import Any

import pytest
from ansible_collections.multicompute.spin.plugins.module_utils._listeners import (
    DEFAULT_SSL_POLICY,
    NEW_LISTENER,
    OptionError,
    as_weights,
    default_action,
    normalised,
    wanted,
    weighted,
)
from ansible_collections.multicompute.spin.plugins.modules import elb_weighted_listener as module
from ansible_collections.multicompute.spin.tests.unit.plugins._stub import (
    AwsError,
    FakeAws,
    run_module,
)
from hypothesis import assume, given
from hypothesis import strategies as st

PREFIX = "arn:aws:elasticloadbalancing:eu-central-1:123456789012"
BALANCER = f"{PREFIX}:loadbalancer/app/demo/0123456789abcdef"
LISTENER = f"{PREFIX}:listener/app/demo/0123456789abcdef/fedcba9876543210"
PLACEHOLDER = "arn:aws:elasticloadbalancing:eu-central-1:000000000000:placeholder"


def group_arn(name: str) -> str:
    return f"{PREFIX}:targetgroup/{name}/0123456789abcdef"


A, B, C = map(group_arn, ("a", "b", "c"))
ALIASES = {"a": A, "b": B, "c": C}


class FakeElb:
    """One load balancer with its listeners, the way that the API shows them."""

    def __init__(self, aws: FakeAws) -> None:
        self.aws = aws
        self.balancer = True
        self.groups = [A, B, C]
        self.listeners: dict[str, dict[str, Any]] = {}
        self.certificates: list[str] = []
        self.tags: dict[str, str] = {}
        self.rules: dict[str, dict[str, Any]] = {}
        for operation in (
            "DescribeLoadBalancers",
            "DescribeListeners",
            "DescribeListenerCertificates",
            "DescribeTags",
            "DescribeTargetGroups",
            "CreateListener",
            "ModifyListener",
            "DeleteListener",
            "AddListenerCertificates",
            "RemoveListenerCertificates",
            "AddTags",
            "RemoveTags",
            "DescribeRules",
            "CreateRule",
            "ModifyRule",
            "DeleteRule",
        ):
            aws.on(f"elbv2.{operation}", getattr(self, operation))

    def weights(self) -> dict[str, int]:
        action = self.listeners[LISTENER]["DefaultActions"][0]
        return {
            group["TargetGroupArn"]: group["Weight"]
            for group in action.get("ForwardConfig", {}).get("TargetGroups", [])
        }

    def DescribeLoadBalancers(self, params: dict[str, Any]) -> Any:
        if not self.balancer or params["Names"] != ["demo"]:
            return AwsError("LoadBalancerNotFound", "not found")
        return {"LoadBalancers": [{"LoadBalancerArn": BALANCER}]}

    def DescribeListeners(self, params: dict[str, Any]) -> Any:
        if params["LoadBalancerArn"].endswith(":placeholder"):
            return AwsError("ValidationError", "not a valid load balancer ARN")
        if not self.balancer or params["LoadBalancerArn"] != BALANCER:
            return AwsError("LoadBalancerNotFound", "not found")
        return {"Listeners": copy.deepcopy(list(self.listeners.values()))}

    def DescribeListenerCertificates(self, params: dict[str, Any]) -> Any:
        default = self.listeners[LISTENER]["Certificates"][0]
        extra = [{"CertificateArn": arn, "IsDefault": False} for arn in self.certificates]
        return {"Certificates": [*extra, {**default, "IsDefault": True}]}

    def DescribeTags(self, params: dict[str, Any]) -> Any:
        tags = [{"Key": key, "Value": value} for key, value in self.tags.items()]
        shown = {"Tags": tags} if tags else {}
        return {"TagDescriptions": [{"ResourceArn": LISTENER, **shown}]}

    def DescribeTargetGroups(self, params: dict[str, Any]) -> Any:
        arns = params.get("TargetGroupArns") or [ALIASES.get(name) for name in params["Names"]]
        if not set(arns) <= set(self.groups):
            return AwsError("TargetGroupNotFound", "One or more target groups not found")
        return {"TargetGroups": [{"TargetGroupArn": arn} for arn in arns]}

    def CreateListener(self, params: dict[str, Any]) -> Any:
        if not self.balancer:
            return AwsError("LoadBalancerNotFound", "not found")
        self.tags = {tag["Key"]: tag["Value"] for tag in params.pop("Tags", [])}
        self.listeners[LISTENER] = {"ListenerArn": LISTENER, **params}
        return {"Listeners": [self.listeners[LISTENER]]}

    def ModifyListener(self, params: dict[str, Any]) -> Any:
        listener = self.listeners[params["ListenerArn"]]
        listener.update(params)
        if listener["Protocol"] == "HTTP":
            listener.pop("SslPolicy", None)
        return {"Listeners": [listener]}

    def DeleteListener(self, params: dict[str, Any]) -> Any:
        if not self.listeners.pop(params["ListenerArn"], None):
            return AwsError("ListenerNotFound")
        return {}

    def AddListenerCertificates(self, params: dict[str, Any]) -> Any:
        self.certificates += [entry["CertificateArn"] for entry in params["Certificates"]]
        return {}

    def RemoveListenerCertificates(self, params: dict[str, Any]) -> Any:
        for entry in params["Certificates"]:
            self.certificates.remove(entry["CertificateArn"])
        return {}

    def DescribeRules(self, params: dict[str, Any]) -> Any:
        default = {"Priority": "default", "IsDefault": True, "RuleArn": f"{LISTENER}/default"}
        return {"Rules": [*self.rules.values(), default]}

    def CreateRule(self, params: dict[str, Any]) -> Any:
        number = str(params["Priority"])
        if number in (rule["Priority"] for rule in self.rules.values()):
            return AwsError("PriorityInUse", "in use")
        arn = f"{LISTENER}/{len(self.rules)}"
        shown = {key: copy.deepcopy(params[key]) for key in ("Conditions", "Actions")}
        self.rules[arn] = {"RuleArn": arn, "Priority": number, "IsDefault": False, **shown}
        return {"Rules": [self.rules[arn]]}

    def ModifyRule(self, params: dict[str, Any]) -> Any:
        rule = self.rules[params["RuleArn"]]
        rule |= {key: copy.deepcopy(params[key]) for key in ("Conditions", "Actions")}
        return {"Rules": [rule]}

    def DeleteRule(self, params: dict[str, Any]) -> Any:
        del self.rules[params["RuleArn"]]
        return {}

    def AddTags(self, params: dict[str, Any]) -> Any:
        self.tags |= {tag["Key"]: tag["Value"] for tag in params["Tags"]}
        return {}

    def RemoveTags(self, params: dict[str, Any]) -> Any:
        for key in params["TagKeys"]:
            del self.tags[key]
        return {}


@pytest.fixture
def elb(aws: FakeAws) -> FakeElb:
    return FakeElb(aws)


def run(*, check: bool = False, **options: Any) -> dict[str, Any]:
    if not options.keys() & {"load_balancer_arn", "load_balancer_name"}:
        options["load_balancer_arn"] = BALANCER
    return run_module(module, {"port": 80, **options}, check=check)


def groups(**weights: int | str | None) -> list[dict[str, Any]]:
    return [
        {"target_group_arn": ALIASES[name]} | ({} if weight is None else {"weight": weight})
        for name, weight in weights.items()
    ]


# --- each step: predicted, done as predicted, done only once ------------------------------------

STEPS: list[tuple[dict[str, Any], dict[str, int]]] = [
    ({"target_groups": [], "purge_target_groups": False, "tags": {"team": "a"}}, {}),
    ({"target_groups": groups(b=None), "purge_target_groups": False}, {B: 1}),
    ({"target_groups": groups(a=None, c=None), "purge_target_groups": False}, {A: 0, B: 1, C: 0}),
    ({"target_groups": groups(a=90), "purge_target_groups": False}, {A: 90, B: 1, C: 0}),
    ({"target_groups": groups(b=0, a="70", c=30)}, {A: 70, B: 0, C: 30}),
    ({"target_groups": groups(a=70, b=0, c=30), "stickiness_duration": 60}, {A: 70, B: 0, C: 30}),
    (
        {"target_groups": groups(c=None, a=None), "tags": {"n": 1}, "stickiness_duration": 0},
        {A: 70, C: 30},
    ),
    (
        {
            "target_groups": [],
            "purge_target_groups": False,
            "protocol": "HTTPS",
            "certificates": [
                "arn:aws:acm:x:1:certificate/1",
                "arn:aws:acm:x:1:certificate/3",
                "arn:aws:acm:x:1:certificate/2",
            ],
        },
        {A: 70, C: 30},
    ),
    (
        {
            "target_groups": [],
            "purge_target_groups": False,
            "certificates": ["arn:aws:acm:x:1:certificate/2"],
            "ssl_policy": "ELBSecurityPolicy-TLS13-1-3-2021-06",
        },
        {A: 70, C: 30},
    ),
    ({"target_groups": [], "purge_target_groups": False, "protocol": "HTTP"}, {A: 70, C: 30}),
    (
        {
            "target_groups": [{"target_group_name": "a", "state": "absent"}],
            "purge_target_groups": False,
        },
        {C: 30},
    ),
    ({"target_groups": []}, {}),
]


def test_check_predicts_the_diff_of_each_step_and_a_second_run_is_unchanged(
    elb: FakeElb, aws: FakeAws
) -> None:
    for options, weights in STEPS:
        predicted = run(check=True, **options)
        assert aws.writes() == [], options
        done = run(**options)
        assert aws.writes(), options
        assert done["changed"], options
        assert predicted["changed"], options
        assert predicted["diff"] == done["diff"], options
        assert elb.weights() == weights, options
        assert as_weights(done["listener"]["target_groups"]) == weights
        assert done["listener"]["listener_arn"] == LISTENER
        aws.calls.clear()
        for check in (False, True):
            again = run(check=check, **options)
            assert not again["changed"], options
            assert again["diff"]["before"] == again["diff"]["after"] == done["diff"]["after"]
        assert aws.writes() == []
        aws.calls.clear()


def test_delete(elb: FakeElb, aws: FakeAws) -> None:
    run(target_groups=groups(a=1))
    aws.calls.clear()
    predicted = run(state="absent", check=True)
    assert aws.writes() == []
    done = run(state="absent")
    assert done["changed"]
    assert done["diff"] == predicted["diff"]
    assert not elb.listeners
    assert not run(state="absent")["changed"]
    elb.balancer = False
    assert not run(state="absent")["changed"]
    assert not run(state="absent", load_balancer_name="demo")["changed"]


def test_https_is_created_with_all_certificates(elb: FakeElb) -> None:
    certificates = ["arn:aws:acm:x:1:certificate/2", "arn:aws:acm:x:1:certificate/1"]
    options = {"protocol": "HTTPS", "certificates": certificates, "target_groups": groups(a=1)}
    predicted = run(check=True, **options)
    done = run(**options)
    assert done["listener"]["certificates"] == certificates
    assert done["listener"]["ssl_policy"] == DEFAULT_SSL_POLICY
    assert done["diff"] == predicted["diff"]
    assert not run(**options)["changed"]


def test_what_others_changed_is_put_right(elb: FakeElb) -> None:
    options = {"target_groups": groups(a=90, b=10)}
    run(**options)
    forward = elb.listeners[LISTENER]["DefaultActions"][0]["ForwardConfig"]
    forward["TargetGroups"][0]["Weight"] = 1
    forward["TargetGroupStickinessConfig"] = {"Enabled": True, "DurationSeconds": 60}
    result = run(**options)
    assert elb.weights() == {A: 90, B: 10}
    assert result["listener"]["stickiness_duration"] == 60, "the task does not say, so it stays"
    assert not run(**options)["changed"]


def test_every_way_that_aws_writes_the_same_is_unchanged(elb: FakeElb) -> None:
    run(target_groups=groups(a=1))
    listener = elb.listeners[LISTENER]
    for action in (
        {"Type": "forward", "TargetGroupArn": A},
        {"Type": "forward", "TargetGroupArn": A, "Order": 1},
        {"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": A}]}},
        {
            "Type": "forward",
            "TargetGroupArn": A,
            "ForwardConfig": {
                "TargetGroups": [{"TargetGroupArn": A, "Weight": 1}],
                "TargetGroupStickinessConfig": {"Enabled": False, "DurationSeconds": 3600},
            },
        },
    ):
        listener["DefaultActions"] = [action]
        assert not run(target_groups=groups(a=1))["changed"], action
        assert not run(target_groups=groups(a=None))["changed"], action


def test_other_listeners_are_left_alone(elb: FakeElb) -> None:
    other = {
        "ListenerArn": f"{LISTENER}0",
        "Port": 443,
        "Protocol": "HTTP",
        "DefaultActions": [{"Type": "redirect"}],
    }
    elb.listeners[f"{LISTENER}0"] = copy.deepcopy(other)
    run(target_groups=groups(a=1))
    run(state="absent")
    assert elb.listeners == {f"{LISTENER}0": other}


def test_a_redirect_is_kept_until_there_are_target_groups(elb: FakeElb) -> None:
    run(target_groups=[])
    elb.listeners[LISTENER]["DefaultActions"] = [{"Type": "redirect"}]
    assert not run(target_groups=[])["changed"]
    result = run(target_groups=groups(a=1))
    assert result["diff"]["before"]["default_action"] == "redirect"
    assert result["diff"]["after"]["default_action"] == "forward"


# --- rules --------------------------------------------------------------------------------------


def rule(header: str, group: str | None = "a", **options: Any) -> dict[str, Any]:
    """Requests with this value of a header go to one target group."""
    to = {} if group is None else {"target_groups": [{"target_group_name": group}]}
    return {"headers": {"X-Proof": header}, **to, **options}


def absent(header: str, **options: Any) -> dict[str, Any]:
    return rule(header, None, state="absent", **options)


def by_priority(elb: FakeElb) -> dict[int, tuple[str, str]]:
    """Value of the header and target group of each rule."""
    found = {}
    for each in elb.rules.values():
        (value,) = each["Conditions"][0]["HttpHeaderConfig"]["Values"]
        (group,) = each["Actions"][0]["ForwardConfig"]["TargetGroups"]
        found[int(each["Priority"])] = (value, group["TargetGroupArn"].split("/")[1])
    return found


KEEP = {"purge_target_groups": False, "purge_rules": False}
# Options, and the rules after them.
RULES: list[tuple[dict[str, Any], dict[int, tuple[str, str]]]] = [
    ({"rules": [rule("one", priority=2), rule("two")]}, {1: ("two", "a"), 2: ("one", "a")}),
    (
        {"rules": [rule("three"), rule("one", "b")]} | KEEP,
        {1: ("two", "a"), 2: ("one", "b"), 3: ("three", "a")},
    ),
    # By conditions, by priority, and where there is none.
    (
        {"rules": [absent("two"), {"priority": 3, "state": "absent"}, absent("x")]} | KEEP,
        {2: ("one", "b")},
    ),
    # Whoever gives a priority gets it; the rule that was there is moved.
    ({"rules": [rule("one"), rule("four", priority=2)]}, {1: ("one", "a"), 2: ("four", "a")}),
    # A priority is free when its rule goes.
    ({"rules": [rule("five"), rule("four", "b")]}, {1: ("five", "a"), 2: ("four", "b")}),
    ({"rules": [absent("five"), rule("six")]} | KEEP, {1: ("six", "a"), 2: ("four", "b")}),
]


def test_rules_without_a_priority_are_known_by_their_conditions(elb: FakeElb, aws: FakeAws) -> None:
    run(target_groups=groups(a=1))
    for options, wanted_ones in RULES:
        predicted = run(check=True, **options)
        done = run(**options)
        assert by_priority(elb) == wanted_ones, options
        assert done["changed"]
        assert predicted["diff"] == done["diff"]
        assert [each["priority"] for each in done["listener"]["rules"]] == sorted(wanted_ones)
        aws.calls.clear()
        assert not run(**options)["changed"], options
        assert not run(check=True, **options)["changed"], options
        assert aws.writes() == []


def test_the_target_group_of_an_absent_rule_may_be_gone(elb: FakeElb) -> None:
    run(target_groups=groups(a=1), rules=[rule("one", "b")])
    elb.groups = [A]
    assert run(rules=[rule("one", "b", state="absent")], **KEEP)["changed"]
    assert by_priority(elb) == {}


def test_taking_off_rules_makes_no_listener(elb: FakeElb) -> None:
    assert not run(rules=[absent("one")], **KEEP)["changed"]
    assert not elb.listeners


def test_a_rule_that_another_run_made_meanwhile_keeps_its_priority(
    elb: FakeElb, aws: FakeAws
) -> None:
    run(target_groups=groups(a=1))
    theirs = rule("theirs", "b")

    def late(params: dict[str, Any]) -> Any:
        aws.on("elbv2.CreateRule", elb.CreateRule)
        run(rules=[theirs], **KEEP)
        return elb.CreateRule(params)

    aws.on("elbv2.CreateRule", late)
    done = run(rules=[rule("ours")], **KEEP)
    assert by_priority(elb) == {1: ("theirs", "b"), 2: ("ours", "a")}
    assert [each["priority"] for each in done["listener"]["rules"]] == [2]


def test_a_rule_whose_creation_got_no_answer_is_not_made_twice(elb: FakeElb, aws: FakeAws) -> None:
    run(target_groups=groups(a=1))

    def lost(params: dict[str, Any]) -> Any:
        elb.CreateRule(params)
        return elb.CreateRule(params)

    aws.on("elbv2.CreateRule", lost)
    run(rules=[rule("ours")], **KEEP)
    assert by_priority(elb) == {1: ("ours", "a")}


# --- names and placeholders ---------------------------------------------------------------------


def test_names_do_as_well_as_arns(elb: FakeElb) -> None:
    by_name = {
        "load_balancer_name": "demo",
        "target_groups": [{"target_group_name": "a", "weight": 1}],
    }
    assert run(**by_name)["changed"]
    assert not run(target_groups=groups(a=1))["changed"]
    assert not run(**by_name)["changed"]


def test_taking_off_what_is_gone_already(elb: FakeElb) -> None:
    options = {
        "load_balancer_name": "demo",
        "target_groups": [{"target_group_name": "gone", "state": "absent"}],
        "purge_target_groups": False,
    }
    assert not run(**options)["changed"]
    elb.balancer = False
    assert not run(**options)["changed"]
    assert not elb.listeners


def test_a_target_group_that_is_deleted_can_still_be_taken_off(elb: FakeElb) -> None:
    run(target_groups=groups(a=1, b=1))
    elb.groups = [B]
    options = {
        "target_groups": [{"target_group_name": "a", "state": "absent"}],
        "purge_target_groups": False,
    }
    assert run(**options)["changed"]
    assert elb.weights() == {B: 1}


@pytest.mark.parametrize(
    "balancer",
    [
        {"load_balancer_arn": PLACEHOLDER},
        {"load_balancer_arn": BALANCER.replace("demo", "new")},
        {"load_balancer_name": "new"},
    ],
)
def test_check_mode_before_anything_exists(elb: FakeElb, balancer: dict[str, str]) -> None:
    options = {
        **balancer,
        "target_groups": [
            {"target_group_name": "new"},
            {"target_group_arn": PLACEHOLDER, "weight": 5},
        ],
    }
    result = run(check=True, **options)
    assert result["changed"]
    assert result["diff"]["before"] == {}
    assert sorted(group["weight"] for group in result["listener"]["target_groups"]) == [0, 5]
    assert result["listener"]["listener_arn"].startswith("arn:aws:elasticloadbalancing:")


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target_groups": groups(a=0, b=0)}, "all weights of target_groups are 0"),
        ({"target_groups": groups(a=1000)}, "is 1000, it must be 0 to 999"),
        ({"target_groups": groups(a=-1)}, "is -1, it must be 0 to 999"),
        ({"target_groups": groups(a="lots")}, "cannot be converted to an int"),
        ({"target_groups": groups(a=1) * 2}, f"names {A} twice"),
        (
            {"target_groups": [*groups(a=1), {"target_group_arn": A, "state": "absent"}]},
            f"names {A} as present and as absent",
        ),
        ({"target_groups": [{"weight": 1}]}, "target_group_arn, target_group_name"),
        ({"target_groups": [{"target_group_name": "x"}]}, "target group x does not exist in eu-c"),
        (
            {"target_groups": [{"target_group_arn": group_arn("x")}]},
            f"target group {group_arn('x')} does not exist in eu-central-1",
        ),
        ({"protocol": "HTTPS"}, "needs certificates"),
        ({"certificates": ["arn:aws:acm:x:1:certificate/1"]}, "need protocol HTTPS"),
        ({"rules": [rule("x", None)]}, "state is present but all of the following are missing"),
        ({"rules": [rule("x", headers={})]}, "a rule without priority needs headers, hosts or"),
        ({"rules": [absent("x", headers={})]}, "needs headers, hosts or paths, by which it is"),
        ({"rules": [rule("x"), rule("x", "b")]}, "['x']}, 'hosts': [], 'paths': []} more than"),
        ({"stickiness_duration": 604801}, "must be 0 to 604800"),
        ({"load_balancer_name": "x"}, "load balancer x does not exist"),
        ({"load_balancer_arn": BALANCER + "x"}, "create the listener for port 80 of"),
    ],
)
def test_errors(elb: FakeElb, options: dict[str, Any], message: str) -> None:
    elb.balancer = options.get("load_balancer_arn") is None
    result = run(**options)
    assert result["failed"]
    assert message in result["msg"]
    assert not elb.listeners


def test_a_load_balancer_must_be_named(aws: FakeAws) -> None:
    result = run_module(module, {"port": 80})
    assert "required: load_balancer_arn, load_balancer_name" in result["msg"]


def test_a_listener_that_authenticates_users_is_refused(elb: FakeElb) -> None:
    run(target_groups=groups(a=1))
    elb.listeners[LISTENER]["DefaultActions"].insert(0, {"Type": "authenticate-oidc"})
    assert "authenticates users" in run(target_groups=groups(b=1))["msg"]


def test_a_listener_on_the_second_page_is_found(elb: FakeElb, aws: FakeAws) -> None:
    run(target_groups=groups(a=1))
    others = [
        {"ListenerArn": f"{LISTENER}{port}", "Port": port, "Protocol": "HTTP", "DefaultActions": []}
        for port in range(1000, 1050)
    ]
    last = elb.listeners[LISTENER]

    def page(params: dict[str, Any]) -> dict[str, Any]:
        if params.get("Marker") == "more":
            return {"Listeners": [last]}
        return {"Listeners": others, "NextMarker": "more"}

    aws.on("elbv2.DescribeListeners", page)
    assert not run(target_groups=groups(a=1))["changed"]


# --- properties of the pure functions -----------------------------------------------------------

NAMES = st.sampled_from("abcdefgh")
WEIGHTS = st.dictionaries(NAMES, st.integers(0, 999))
NAMED = st.dictionaries(NAMES, st.none() | st.integers(0, 999))


@given(WEIGHTS, NAMED, st.sets(NAMES), st.booleans())
def test_weighted(
    current: dict[str, int], named: dict[str, int | None], removed: set[str], purge: bool
) -> None:
    named = {name: weight for name, weight in named.items() if name not in removed}
    try:
        weights = weighted(current, named, removed, purge)
    except OptionError:
        assert named
        assert not any(named.values())
        return
    assert not weights or any(weights.values()), "a listener with groups answers"
    assert removed.isdisjoint(weights)
    assert set(named) <= set(weights)
    assert set(weights) - set(named) <= (set() if purge else set(current))
    for name, weight in named.items():
        assert weight is None or weights[name] == weight, "what the task says is done"
    for name in set(weights) & set(current):
        kept = weights[name] == current[name] or named.get(name) is not None
        assert kept or current[name] == 0, "no weight that carries traffic changes unasked"
    assert weighted(weights, named, removed, purge) == weights, "a second run is unchanged"


@given(WEIGHTS, st.integers(0, 604800), st.randoms())
def test_what_is_written_reads_back_the_same(
    weights: dict[str, int], stickiness: int, random: Any
) -> None:
    assume(any(weights.values()))
    params = {
        "port": 80,
        "protocol": None,
        "ssl_policy": None,
        "certificates": None,
        "redirect": None,
        "stickiness_duration": stickiness,
        "purge_target_groups": True,
        "tags": None,
        "purge_tags": True,
    }
    after = wanted(params, {}, dict(weights), set())
    action = default_action(after)
    random.shuffle(action["ForwardConfig"]["TargetGroups"])
    described = {"Port": 80, "Protocol": "HTTP", "DefaultActions": [{**action, "Order": 1}]}
    assert normalised(described, [], {}) == after
    shuffled = list(weights.items())
    random.shuffle(shuffled)
    assert wanted(params, after, dict(shuffled), set()) == after


def test_a_new_listener_is_complete() -> None:
    described = {"Port": 80, "Protocol": "HTTP", "DefaultActions": [{"Type": "fixed-response"}]}
    assert normalised(described, [], {}) == {**NEW_LISTENER, "port": 80}
