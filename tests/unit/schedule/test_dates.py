"""Which dates a rule names."""

import pickle
from datetime import date, timedelta

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pyramid_cron.schedule import Cron

from .expressions import expressions


def named(expression, year, month):
    return [
        day
        for day in range(1, 32)
        if Cron(expression).fields.dates.day_mask(year, month) >> day & 1
    ]


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        ("0 0 13 * 5", [6, 13, 20, 27]),
        ("0 0 */10 * 5", []),
        ("0 0 */2 * 1", [9, 23]),
        ("0 0 13 * */7", []),
        ("0 0 1-31 * 5", list(range(1, 32))),
        ("0 0 5 * 0-6", list(range(1, 32))),
        ("0 0 ? * 5", [6, 13, 20, 27]),
        ("0 6 1 * 5#2", [1, 13]),
        ("0 6 * * 5#2", [13]),
        ("0 6 */2 * 5#2", [13]),
        ("0 0 L * *", [31]),
        ("0 0 15,L * *", [15, 31]),
        ("0 0 * * L5", [27]),
        ("0 0 * * mon#5,L1", [30]),
        ("0 0 L * L5", [27, 31]),
        ("0 0 * 4 *", []),
    ],
)
def test_days_and_weekdays_combine_as_in_a_crontab(expression, days):
    assert named(expression, 2026, 3) == days


def test_a_short_month_has_no_fifth_weekday_but_always_a_last():
    assert named("0 0 * * 5#5", 2026, 2) == []
    assert named("0 0 * * L5", 2026, 2) == [27]
    assert named("0 0 L * *", 2026, 2) == [28]
    assert named("0 0 L * *", 2028, 2) == [29]


def test_fields_given_by_keyword_must_all_match():
    dates = Cron(day=13, dow=4).fields.dates
    assert dates.matches(2026, 3, 13)
    assert not dates.matches(2026, 3, 20)
    assert not dates.matches(2026, 4, 13)


def test_equal_rules_are_equal_and_cannot_be_changed():
    one, other = Cron("0 0 1-31 * 5").fields.dates, Cron(hour=2).fields.dates
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError):
        one.months = 0


@settings(deadline=None, max_examples=60)
@given(drawn=expressions(), year=st.integers(1900, 2100), month=st.integers(1, 12))
def test_a_rule_names_the_dates_a_calendar_does(drawn, year, month):
    expression, schedule = drawn
    day = date(year, month, 1)
    try:
        dates = Cron(expression).fields.dates
    except ValueError as error:
        assume("no such date" not in str(error))
        raise
    for _ in range(40):
        assert dates.matches(day.year, day.month, day.day) == schedule.names_date(day), day
        day += timedelta(days=1)
