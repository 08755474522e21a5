"""Due times by the rules of Debian's cron, through changes of the clock, and what becomes of those that were missed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_cloudml.errors import UsageError
from jupyter_cloudml.jobs.definition import cron, schedule
from jupyter_cloudml.jobs.definition.triggers import Trigger, moment
from jupyter_cloudml.store.jobs.firing import Fire

UTC = timezone.utc
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text + "+00:00").timestamp() * 1000)


def local(due: int, tz: str) -> str:
    return f"{datetime.fromtimestamp(due / 1000, UTC).astimezone(ZoneInfo(tz)):%m-%dT%H:%M%z}"


@pytest.mark.parametrize(
    ("tz", "expression", "start", "expected"),
    [
        # the clock is set forward: 02:00 → 03:00
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T00:00", ["03-28T02:30+0100", "03-29T03:00+0200", "03-30T02:30+0200"]),
        ("Europe/Berlin", "0 * * * *", "2026-03-29T00:00", ["03-29T03:00+0200", "03-29T04:00+0200", "03-29T05:00+0200"]),
        ("Europe/Berlin", "*/30 * * * *", "2026-03-29T00:15", ["03-29T01:30+0100", "03-29T03:00+0200", "03-29T03:30+0200"]),
        # set back: 03:00 → 02:00, a daily time comes once, an hourly one twice
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T00:00", ["10-24T02:30+0200", "10-25T02:30+0200", "10-26T02:30+0100"]),
        ("Europe/Berlin", "0 * * * *", "2026-10-24T22:30", ["10-25T01:00+0200", "10-25T02:00+0200", "10-25T02:00+0100", "10-25T03:00+0100"]),
        ("Europe/Berlin", "*/30 * * * *", "2026-10-24T23:45", ["10-25T02:00+0200", "10-25T02:30+0200", "10-25T02:00+0100", "10-25T02:30+0100"]),
        ("Europe/Prague", "10 3 * * 0", "2025-10-19T10:00", ["10-26T03:10+0100", "11-02T03:10+0100"]),
        # half an hour, and a midnight that is left out
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-02T12:00", ["10-03T02:15+1030", "10-04T02:30+1100", "10-05T02:15+1100"]),
        ("America/Sao_Paulo", "0 0 * * *", "2018-11-03T00:00", ["11-03T00:00-0300", "11-04T01:00-0200", "11-05T00:00-0200"]),
    ],
)  # fmt: skip
def test_through_changes_of_the_clock(
    tz: str, expression: str, start: str, expected: list[str]
) -> None:
    trigger = Trigger(cron=expression, tz=tz)
    found = schedule.upcoming(trigger, ms(start), len(expected))
    assert [local(due, tz) for due in found] == expected


def test_from_within_the_hour_that_comes_twice_nothing_is_due_in_the_past() -> None:
    trigger = Trigger(cron="30 2 * * *", tz="Europe/Berlin")
    second_time = ms("2026-10-25T01:10")  # 02:10, the second one
    assert local(schedule.upcoming(trigger, second_time, 1)[0], trigger.tz) == "10-26T02:30+0100"


_FIELDS = st.tuples(
    st.sampled_from(["*", "*/7", "30", "0,45", "10-20"]),
    st.sampled_from(["*", "2", "*/5", "1-3", "0,23"]),
    st.sampled_from(["*", "1", "29", "L"]),
    st.sampled_from(["*", "2", "3,10", "*/4"]),
    st.sampled_from(["*", "0", "MON-FRI", "5L", "1#2"]),
)
_ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu"]
)
_MOMENTS = st.integers(ms("2015-01-01T00:00"), ms("2030-01-01T00:00"))


@pytest.mark.parametrize(
    ("expression", "tz", "start", "until"),
    [  # a clock that is set by half an hour; one minute after midnight; a day that was left out
        ("59 * * * SUN", "Australia/Lord_Howe", "2026-10-03T00:21", "2026-10-04T12:00"),
        ("*/7 1 * * *", "America/St_Johns", "2011-03-12T03:59", "2011-03-14T12:00"),
        ("*/15 23 1 * 1-5", "Pacific/Apia", "2011-12-28T16:06", "2012-01-02T12:00"),
    ],
)
def test_odd_changes_of_the_clock_are_met_backwards_as_forwards(
    expression: str, tz: str, start: str, until: str
) -> None:
    ahead = takewhile(lambda due: due <= ms(until), cron.forward(expression, tz, ms(start)))
    back = takewhile(lambda due: due > ms(start), cron.backward(expression, tz, ms(until)))
    assert (found := list(ahead)) and list(back) == found[::-1]


@settings(max_examples=150, deadline=None)
@given(_FIELDS, _ZONES, _MOMENTS)
def test_times_only_grow_and_are_the_same_from_both_sides(
    fields: tuple[str, ...], tz: str, start: int
) -> None:
    expression = " ".join(fields)
    found = list(islice(cron.forward(expression, tz, start), 6))
    assert found == sorted(set(found))
    assert all(due > start and due % 1000 == 0 for due in found)
    for due in found[:3]:
        assert next(cron.forward(expression, tz, due - 1)) == due
    if found:
        back = takewhile(lambda due: due > start, cron.backward(expression, tz, found[-1]))
        assert list(islice(back, 10)) == found[::-1]


@pytest.mark.parametrize(
    ("expression", "code", "says"),
    [
        ("0 0 31 2 *", "never", "no next time"),
        ("0 0 31 4,6,9,11 *", "never", "no next time"),
        ("0 25 * * *", "bad_cron", "its hour is wrong"),
        ("61 * * * *", "bad_cron", "its minute is wrong"),
        ("0 0 0 2 *", "bad_cron", "its day of month is wrong"),
        ("* * * *", "bad_cron", "wrong number of fields"),
        ("", "bad_cron", "wrong number of fields"),
        ("@daily", "bad_cron", "wrong number of fields"),
        ("* * * * MOON", "bad_cron", "its day of week is wrong"),
        ("*/0 * * * *", "bad_cron", "its minute is wrong"),
        ("9" * 5000 + " * * * *", "bad_cron", "longer than 200"),
        ("９ * * * *", "bad_cron", "its minute is wrong"),
    ],
)
def test_an_expression_that_cannot_be_is_named(expression: str, code: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        cron.check(expression)
    assert caught.value.code == code
    assert says in caught.value.message
    assert caught.value.hint


@settings(max_examples=200, deadline=None)
@given(st.text("0123456789*/,-#LWMONJAN ", max_size=30))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        cron.check(text)
    except UsageError:
        return
    assert next(cron.forward(text, "Europe/Berlin", ms("2026-01-01T00:00"))) > 0
    assert cron.describe(text)


@pytest.mark.parametrize(
    "name",
    [
        "Europe/Nowhere",
        "",
        "../../etc/passwd",
        "/etc/localtime",
        "Mars",
        "x" * 500,
        "a\0b",
        "localtime",
        "posixrules",
        "right/Europe/Berlin",
        "Factory",
    ],
)
def test_an_unknown_zone_is_named(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        cron.zone(name)
    assert caught.value.code == "unknown_zone"


def test_an_interval_is_counted_from_its_start_and_not_from_now() -> None:
    quarter = Trigger(every="15m")
    assert schedule.upcoming(quarter, ms("2026-01-01T10:07"), 2) == [
        ms("2026-01-01T10:15"),
        ms("2026-01-01T10:30"),
    ]
    assert schedule.next_after(quarter, ms("2026-01-01T10:15")) == ms("2026-01-01T10:30")
    odd = Trigger(every="1h", start="2026-01-01T10:20", tz="Europe/Berlin")
    assert schedule.upcoming(odd, ms("2026-01-01T00:00"), 1) == [ms("2026-01-01T09:20")]
    assert schedule.upcoming(odd, ms("2026-01-01T09:20"), 1) == [ms("2026-01-01T10:20")]


def test_a_moment_comes_once() -> None:
    once = Trigger(at="2026-03-29T09:00", tz="Europe/Berlin")
    due = ms("2026-03-29T07:00")
    assert schedule.upcoming(once, due - 1) == [due]
    assert schedule.upcoming(once, due) == []
    assert schedule.next_after(Trigger(after="other"), 0) is None


def test_a_moment_that_the_clock_leaves_out_is_refused() -> None:
    with pytest.raises(UsageError, match="set forward"):
        moment("2026-03-29T02:30", "Europe/Berlin")
    assert moment("2026-10-25T02:30", "Europe/Berlin") == ms("2026-10-25T00:30"), "the first of two"
    assert moment("2026-10-25T02:30Z", "Europe/Berlin") == ms("2026-10-25T02:30")
    for wrong in ("tomorrow", "2026-13-01T00:00", "", "0001-01-01T00:00"):
        with pytest.raises(UsageError, match="no date"):
            moment(wrong, "Asia/Tokyo")


class TestMissed:
    hourly = Trigger(cron="0 * * * *")
    due = ms("2026-01-01T00:00")

    def fires(
        self, now: int, missed: str, cap: int = 3, *, paused: bool = False
    ) -> tuple[list[Fire], int | None]:
        found = schedule.firing(self.hourly, self.due, now, missed=missed, cap=cap, paused=paused)
        return list(found.fires), found.next_due_ms

    @pytest.mark.parametrize("missed", ["one", "skip", "all"])
    def test_what_is_on_time_runs(self, missed: str) -> None:
        assert self.fires(self.due + 900, missed) == ([Fire(self.due)], self.due + HOUR)

    @pytest.mark.parametrize(
        ("missed", "late", "runs", "skipped"),
        [
            ("one", HOUR // 2, [0], 0),
            ("one", 5 * HOUR, [5], 5),
            ("skip", HOUR // 2, [], 1),
            ("skip", 5 * HOUR, [5], 5),  # the fifth is on time
            ("skip", 5 * HOUR + 2 * MINUTE, [], 6),
            ("all", 2 * HOUR, [0, 1, 2], 0),
            ("all", 5 * HOUR, [3, 4, 5], 3),
        ],
    )
    def test_what_was_missed_is_made_up_for_by_policy_and_recorded(
        self, missed: str, late: int, runs: list[int], skipped: int
    ) -> None:
        found, next_due = self.fires(self.due + late, missed)
        assert [fire.due_ms for fire in found if fire.reason is None] == [
            self.due + n * HOUR for n in runs
        ]
        rows = [fire for fire in found if fire.reason is not None]
        assert len(rows) == bool(skipped)
        if rows:
            assert rows[0].due_ms == self.due
            assert rows[0].reason is not None and rows[0].reason.startswith(
                "missed: no server was there"
            )
            assert (f"({skipped} due times from 2026-01-01T00:00:00Z" in rows[0].reason) == (
                skipped > 1
            )
        assert next_due == self.due + (late // HOUR + 1) * HOUR

    @pytest.mark.parametrize(
        ("missed", "cap", "runs"), [("one", 3, 1), ("all", 3, 3), ("all", 1000, 1000)]
    )
    def test_a_clock_that_jumps_a_year_makes_no_storm(
        self, missed: str, cap: int, runs: int
    ) -> None:
        now = self.due + 365 * DAY + 5
        found, next_due = self.fires(now, missed, cap)
        ran = [fire.due_ms for fire in found if fire.reason is None]
        assert ran == [now - 5 - n * HOUR for n in reversed(range(runs))]
        (row,) = [fire for fire in found if fire.reason is not None]
        assert row.due_ms == self.due and row.reason is not None
        last = datetime.fromtimestamp(ran[0] / 1000, UTC) - timedelta(hours=1)
        assert f"from 2026-01-01T00:00:00Z to {last:%Y-%m-%dT%H:%M:%SZ}" in row.reason
        assert next_due == now - 5 + HOUR

    def test_a_paused_job_skips_and_says_so(self) -> None:
        found, next_due = self.fires(self.due + 10, "one", paused=True)
        assert found == [Fire(self.due, "the job is paused")]
        assert next_due == self.due + HOUR
        (row,) = self.fires(self.due + 3 * HOUR, "all", paused=True)[0]
        assert row.reason is not None and row.reason.startswith("the job is paused (4 due times")

    def test_a_moment_that_was_missed_is_made_up_for_once(self) -> None:
        once = Trigger(at="2026-01-01T00:00")
        found = schedule.firing(once, self.due, self.due + DAY, missed="one", cap=10)
        assert (list(found.fires), found.next_due_ms) == ([Fire(self.due)], None)


def test_a_range_is_filled_from_end_to_end_or_refused() -> None:
    daily = Trigger(cron="0 6 * * *", tz="Europe/Prague")
    found = schedule.between(daily, ms("2026-03-27T05:00"), ms("2026-03-30T04:00"))
    assert [local(due, daily.tz) for due in found] == [
        "03-27T06:00+0100",
        "03-28T06:00+0100",
        "03-29T06:00+0200",
        "03-30T06:00+0200",
    ]
    with pytest.raises(UsageError, match="was not due"):
        schedule.between(daily, ms("2026-03-27T07:00"), ms("2026-03-27T09:00"))
    with pytest.raises(UsageError, match="more than 10,000"):
        schedule.between(Trigger(every="1s"), 0, DAY)


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (Trigger(cron="30 2 * * 1-5", tz="Europe/Prague"), "At 02:30 on Monday through Friday (Europe/Prague)"),
        (Trigger(cron="0 0 21,22,23,11,12,13 * *"), "At 00:00 on the 21st, the 22nd, the 23rd, the 11th, the 12th, and the 13th day of month (UTC)"),
        (Trigger(cron="*/15 * * * *"), "Every 15th minute of every hour (UTC)"),
        (Trigger(at="2026-12-01T09:00", tz="Europe/Prague"), "Once, at 2026-12-01 09:00 (Europe/Prague)"),
        (Trigger(every="15m"), "Every 15 minutes"),
        (Trigger(every="1d"), "Every day"),
        (Trigger(after="load", on="failure"), "After each failed run of load"),
    ],
)  # fmt: skip
def test_in_words(trigger: Trigger, words: str) -> None:
    assert schedule.describe(trigger) == words
