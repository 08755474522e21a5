"""Definitions are read or refused by field; states follow one another as the table says."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.jobs.definition import model
from jupyter_cloudml.jobs.definition.circles import circle, refuse_circle
from jupyter_cloudml.jobs.definition.model import JobSpec
from jupyter_cloudml.jobs.definition.retries import RETRY, RetryPolicy
from jupyter_cloudml.jobs.definition.triggers import TRIGGER, Trigger
from jupyter_cloudml.jobs.scheduling.states import FOLLOWS, State, may_follow

NIGHTLY: dict[str, Any] = {
    "name": "nightly",
    "notebook": "reports/nightly.ipynb",
    "project": "digits",
    "machine": "box-2",
    "parameters": {"alpha": 0.5, "days": [1, 2], "who": "Zoë", "deep": {"a": None}},
    "triggers": [
        {"cron": "30 2 * * 1-5", "tz": "Europe/Prague"},
        {"every": "15m"},
        {"at": "2026-12-01T09:00", "tz": "America/New_York"},
        {"after": "load", "on": "always"},
    ],
    "overlap": "allow",
    "max_running": 3,
    "missed": "all",
    "catchup_cap": 5,
    "timeout_s": 3600,
    "retry": {"count": 2, "delay_s": 10, "on": ["timeout", "ConnectionError"]},
    "pool": "gpu",
    "priority": -5,
    "secrets": {"TOKEN": "keyring:digits/token"},
    "keep_on_failure": "30m",
}


def refused(**more: Any) -> list[dict[str, str]]:
    value = {"name": "nightly", "notebook": "a.ipynb"} | more
    with pytest.raises(UsageError) as caught:
        JobSpec.from_dict(value)
    assert caught.value.code == "bad_job"
    problems = caught.value.details["problems"]
    assert isinstance(problems, list)
    assert caught.value.hint == problems[0]["remedy"]
    assert f"{problems[0]['field']} {problems[0]['cause']}" in caught.value.message
    return problems


def test_what_is_written_is_what_is_read() -> None:
    spec = JobSpec.from_dict(NIGHTLY)
    assert spec.to_dict() == NIGHTLY
    assert JobSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert JobSpec.from_dict({"name": "a", "notebook": "b"}).to_dict() == {
        "name": "a",
        "notebook": "b",
    }


@pytest.mark.parametrize(
    ("given_", "field", "says"),
    [
        ({"name": "-rf"}, "name", "cannot be '-rf'"),
        ({"name": "<b>x</b>"}, "name", "cannot be"),
        ({"name": 5}, "name", "is a number"),
        ({"name": "schema"}, "name", "cannot be 'schema'"),
        ({"notebook": ""}, "notebook", "is empty"),
        ({"notebook": "a\0b"}, "notebook", "null character"),
        ({"timeout_s": 0}, "timeout_s", "is 0"),
        ({"timeout_s": True}, "timeout_s", "is true or false"),
        ({"timeout_s": 1.5}, "timeout_s", "is 1.5"),
        ({"timeout_s": float("nan")}, "timeout_s", "is a number"),
        ({"timeout_s": 1e300}, "timeout_s", "is 1e+300"),
        ({"overlap": "sometimes"}, "overlap", "cannot be 'sometimes'"),
        ({"overlap": ["skip"]}, "overlap", "cannot be a list"),
        ({"max_running": 2}, "max_running", "means nothing"),
        ({"retry": {"count": -1}}, "retry.count", "is -1"),
        ({"retry": {"often": 1}}, "retry.often", "is not known"),
        ({"retry": 3}, "retry", "is a number"),
        ({"parameters": {"2a": 1}}, "a name in parameters", "cannot be"),
        ({"parameters": {"a": "x" * 200_000}}, "parameters.a", "is too long"),
        ({"parameters": {"a": float("inf")}}, "parameters.a", "is no JSON"),
        ({"secrets": {"TOKEN": "hunter2"}}, "secrets.TOKEN", "cannot be"),
        ({"secrets": {"A=B": "env:X"}}, "a name in secrets", "cannot be"),
        ({"triggers": [{"cron": "0 0 31 2 *"}]}, "triggers[0].cron", "no next time"),
        ({"triggers": [{"every": "1m"}, {"cron": "x"}]}, "triggers[1].cron", "cannot be read"),
        ({"triggers": [{"cron": "* * * * *", "tz": "Mars"}]}, "triggers[0].tz", "no time zone"),
        ({"triggers": [{}]}, "triggers[0]", "has none of"),
        ({"triggers": [{"cron": "* * * * *", "at": "2026-01-01T00:00"}]}, "triggers[0]", "has at and cron"),
        ({"triggers": [{"at": "soon"}]}, "triggers[0].at", "no date"),
        ({"triggers": [{"at": "2026-03-29T02:30", "tz": "Europe/Berlin"}]}, "triggers[0].at", "set forward"),
        ({"triggers": [{"every": "0m"}]}, "triggers[0].every", "no interval"),
        ({"triggers": [{"every": "99999999d"}]}, "triggers[0].every", "no interval"),
        ({"triggers": [{"every": "1m", "on": "always"}]}, "triggers[0].on", "means nothing beside every"),
        ({"triggers": [{"every": "1m"}] * 2}, "triggers[1]", "is there twice"),
        ({"triggers": [{"every": "1m"}] * 101}, "triggers", "more than 100"),
        ({"color": "red"}, "color", "is not known"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_cause_and_remedy(
    given_: dict[str, Any], field: str, says: str
) -> None:
    (problem,) = refused(**given_)
    assert problem["field"] == field
    assert says in problem["cause"]
    assert problem["remedy"]


def test_all_wrong_fields_are_told_at_once() -> None:
    problems = refused(timeout_s="soon", missed="never", triggers=[{"cron": "* *"}])
    assert [problem["field"] for problem in problems] == ["triggers[0].cron", "missed", "timeout_s"]
    assert [problem["field"] for problem in refused(notebook=None)] == ["notebook"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from([*NIGHTLY, "x"]), _JSON, max_size=6) | _JSON)
def test_any_json_is_a_job_or_refused(value: object) -> None:
    for given_ in (value, NIGHTLY | value if isinstance(value, dict) else value):
        try:
            spec = JobSpec.from_dict(given_)
        except UsageError:
            continue
        assert JobSpec.from_dict(spec.to_dict()) == spec


class TestSchema:
    def test_it_is_a_schema_and_takes_what_the_program_takes(self) -> None:
        schema = model.schema()
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(NIGHTLY, schema)
        jsonschema.validate({"name": "a", "notebook": "b"}, schema)

    @pytest.mark.parametrize(
        "wrong",
        [{"name": "-rf"}, {"timeout_s": 0}, {"overlap": "x"}, {"color": 1}, {"triggers": [{}]}, {"retry": {"count": "2"}}, {"secrets": {"A": "plain"}}],
    )  # fmt: skip
    def test_it_refuses_what_the_program_refuses(self, wrong: dict[str, Any]) -> None:
        refused(**wrong)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"name": "a", "notebook": "b"} | wrong, model.schema())

    def test_every_field_says_what_it_is_for(self) -> None:
        properties = model.schema()["properties"]
        assert isinstance(properties, dict)
        assert set(properties) == set(JobSpec.__dataclass_fields__)
        assert all(isinstance(each, dict) and each["description"] for each in properties.values())

    def test_its_defaults_are_those_of_the_program(self) -> None:
        bare = JobSpec("a", "b")
        for name, member in model.JOB.members.items():
            if isinstance(member.default, str | int | bool):
                assert getattr(bare, name) == member.default, name
        for name, member in RETRY.members.items():
            assert getattr(RetryPolicy(), name) in (member.default, ())
        assert Trigger().tz == TRIGGER.members["tz"].default


def test_the_same_trigger_has_the_same_key_and_another_one_another() -> None:
    first = Trigger.from_dict({"cron": "0 * * * *", "tz": "UTC"})
    assert first.key == Trigger.from_dict({"cron": "0 * * * *"}).key
    others = [
        Trigger(cron="1 * * * *"),
        Trigger(cron="0 * * * *", tz="Europe/Prague"),
        Trigger(every="1h"),
    ]
    assert len({first.key, *(each.key for each in others)}) == 4


class TestRetries:
    def test_the_delay_grows_to_its_limit(self) -> None:
        policy = RetryPolicy(count=5, delay_s=10, factor=3, max_delay_s=100)
        assert [policy.delay_ms(n) for n in (1, 2, 3, 4, 5000)] == [
            10_000,
            30_000,
            90_000,
            100_000,
            100_000,
        ]

    @pytest.mark.parametrize(
        ("policy", "attempts", "cause", "exception", "covers"),
        [
            (RetryPolicy(), 1, "error", None, False),
            (RetryPolicy(count=1), 1, "error", None, True),
            (RetryPolicy(count=1), 2, "error", None, False),
            (RetryPolicy(count=1, on=("timeout",)), 1, "error", "ValueError", False),
            (RetryPolicy(count=1, on=("timeout",)), 1, "timeout", None, True),
            (RetryPolicy(count=1, on=("ValueError",)), 1, "error", "ValueError", True),
            (RetryPolicy(count=1, on=("ValueError",)), 1, "error", None, False),
        ],
    )  # fmt: skip
    def test_which_failures_are_tried_again(
        self, policy: RetryPolicy, attempts: int, cause: str, exception: str | None, covers: bool
    ) -> None:
        assert policy.covers(attempts, cause, exception) is covers


@pytest.mark.parametrize(
    ("edges", "found"),
    [
        ([], None),
        ([("b", "a"), ("c", "b"), ("c", "a"), ("d", "c")], None),
        ([("a", "a")], ["a", "a"]),
        ([("b", "a"), ("c", "b"), ("a", "c")], ["a", "c", "b", "a"]),
        ([("x", "a"), ("a", "b"), ("b", "a")], ["a", "b", "a"]),
    ],
)
def test_a_circle_is_found_and_named(edges: list[tuple[str, str]], found: list[str] | None) -> None:
    assert circle(edges) == found
    if found is None:
        refuse_circle(edges)
        return
    with pytest.raises(UsageError, match=" after ".join(found)):
        refuse_circle(edges)


def test_a_long_chain_is_no_circle_and_takes_no_depth() -> None:
    chain = [(f"job-{n}", f"job-{n + 1}") for n in range(3000)]
    assert circle(chain) is None
    assert circle([*chain, ("job-3000", "job-0")]) is not None


class TestStates:
    def test_nothing_follows_the_end(self) -> None:
        ends = {state for state in State if state.final}
        assert ends == {
            State.SUCCEEDED,
            State.FAILED,
            State.TIMED_OUT,
            State.CANCELLED,
            State.SKIPPED,
        }
        assert all(FOLLOWS[state] == frozenset() for state in ends)

    def test_every_state_is_reached_and_left(self) -> None:
        reached = {State.SCHEDULED}
        for _ in State:
            reached |= {after for before in reached for after in FOLLOWS[before]}
        assert reached == set(State) == set(FOLLOWS)

    @pytest.mark.parametrize(
        ("before", "after", "may"),
        [
            (State.QUEUED, State.RUNNING, False),
            (State.QUEUED, State.CLAIMED, True),
            (State.LOST, State.RUNNING, True),
            (State.LOST, State.SUCCEEDED, False),
            (State.RUNNING, State.SKIPPED, False),
            (State.RETRY_WAIT, State.RUNNING, False),
            (State.CLAIMED, State.SUCCEEDED, False),
        ],
    )
    def test_which_may_follow(self, before: State, after: State, may: bool) -> None:
        assert may_follow(before, after) is may
