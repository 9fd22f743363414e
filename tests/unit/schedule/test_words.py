"""Schedules in plain English, and back as a crontab."""

import re

import pytest
from hypothesis import assume, given, settings

from pyramid_cron.schedule import Cron

from .expressions import expressions


@pytest.mark.parametrize(
    ("expression", "description"),
    [
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("*/7 * * * *", "at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour"),
        ("0 * * * *", "every hour"),
        ("15 * * * *", "at minute 15 of every hour"),
        ("5-10,20 * * * *", "at minutes 5 to 10 and 20 of every hour"),
        ("0 */2 * * *", "every 2 hours"),
        ("15 */8 * * *", "every 8 hours at minute 15"),
        ("0 */12 * * *", "at 00:00 and 12:00 every day"),
        ("30 2 * * *", "at 02:30 every day"),
        ("0,30 9,17 * * *", "at 09:00, 09:30, 17:00 and 17:30 every day"),
        ("* 2 * * *", "every minute from 02:00 to 02:59 every day"),
        ("*/15 9-17 * * 1-5", "every 15 minutes from 09:00 to 17:45 on Monday to Friday"),
        ("5 9-17 * * *", "every hour from 09:05 to 17:05 every day"),
        ("* 2,4 * * *", "every minute of hours 2 and 4 every day"),
        ("1-7 3 * * *", "at minutes 1 to 7 of hour 3 every day"),
        ("9 1,3-5,7,9,11 * * *", "at minute 9 of hours 1, 3 to 5, 7, 9 and 11 every day"),
        ("0 9 * * mon-fri", "at 09:00 on Monday to Friday"),
        ("0 0 * * 0,6", "at 00:00 on Saturday and Sunday"),
        ("*/5 * * * 1", "every 5 minutes on Monday"),
        ("0 0 1 * *", "at 00:00 on day 1 of the month"),
        ("0 0 1,15 * *", "at 00:00 on days 1 and 15 of the month"),
        ("0 0 */2 * *", "at 00:00 on every 2nd day of the month"),
        ("0 0 2-31/3 * *", "at 00:00 on every 3rd day from day 2 of the month"),
        ("0 0 */5 1 *", "at 00:00 on every 5th day of January"),
        ("0 0 1-9/2 * *", "at 00:00 on days 1, 3, 5, 7 and 9 of the month"),
        ("0 0 L * *", "at 00:00 on the last day of the month"),
        ("0 0 15,L * *", "at 00:00 on day 15 and the last day of the month"),
        ("0 0 1 1 *", "at 00:00 on day 1 of January"),
        ("0 0 1 1-3,7 *", "at 00:00 on day 1 of January to March and July"),
        ("0 0 * 3 *", "at 00:00 every day in March"),
        ("*/5 * * 3 *", "every 5 minutes in March"),
        ("0 0 * 3 0", "at 00:00 on Sunday in March"),
        ("0 0 1 * 1", "at 00:00 on day 1 of the month or on every Monday"),
        ("0 0 1 1 1", "at 00:00 on day 1 of January or on every Monday in January"),
        ("0 6 1 * 5#2", "at 06:00 on day 1 of the month or on the second Friday"),
        ("0 6 * * 5#2,L5", "at 06:00 on the second Friday and the last Friday of the month"),
        ("0 6 * 5 L5", "at 06:00 on the last Friday of May"),
        ("0 0 */2 * 6,0", "at 00:00 on every 2nd day of the month if it is Saturday or Sunday"),
    ],
)
def test_a_schedule_reads_as_english(expression, description):
    assert Cron(expression).describe() == description
    assert str(Cron(expression)) == description


def test_day_and_weekday_by_keyword_read_as_both():
    assert Cron(day=13, dow=4).describe() == "at 00:00 on day 13 of the month if it is Friday"


def test_the_zone_is_told_where_it_is_set():
    cron = Cron("30 2 * * *", timezone="Europe/Berlin")
    assert cron.describe() == "at 02:30 every day (Europe/Berlin)"


@pytest.mark.parametrize(
    ("cron", "crontab"),
    [
        (Cron(), "* * * * *"),
        (Cron("@hourly"), "0 * * * *"),
        (Cron("*/5 * * * *"), "*/5 * * * *"),
        (Cron(hour="*/2"), "0 */2 * * *"),
        (Cron(hour=range(0, 24, 2)), "0 0-23/2 * * *"),
        (Cron("0 1-9/2 * * *"), "0 1-9/2 * * *"),
        (Cron("0 22-2 * * *"), "0 0-2,22,23 * * *"),
        (Cron("0 9 * jan,feb,jul mon-fri"), "0 9 * 1,2,7 1-5"),
        (Cron("0 9 * * 7"), "0 9 * * 0"),
        (Cron("0 0 1-31 * 5"), "0 0 * * *"),
        (Cron("0 0 1 * 5"), "0 0 1 * 5"),
        (Cron("0 0 */2 * 1"), "0 0 */2 * 1"),
        (Cron("0 0 */10,5 * 1"), "0 0 */10,5 * 1"),
        (Cron("0 0 13 * */3"), "0 0 13 * */3"),
        (Cron("0 0 13 * */7"), "0 0 13 * */7"),
        (Cron("0 0 */100,1-7 * mon"), "0 0 */31,2-7 * 1"),
        (Cron(day="*/2", dow=0), "0 0 */2 * 1"),
        (Cron("0 0 ? * ?"), "0 0 * * *"),
        (Cron("*/30,7 2 * * *"), "*/30,7 2 * * *"),
        (Cron("30 */24 * * *"), "30 */24 * * *"),
        (Cron("0 */24 * * *"), "0 */24 * * *"),
        (Cron("*/60 5 * * *"), "*/60 5 * * *"),
        (Cron("0 0 * */3 *"), "0 0 * */3 *"),
        (Cron("30 2 * * *", timezone="Europe/Berlin"), "30 2 * * *"),
    ],
)
def test_a_crontab_says_the_same(cron, crontab):
    assert cron.crontab() == crontab


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        (Cron("0 0 L * *"), "knows no last day and no nth weekday of a month"),
        (Cron("0 0 * * 5#2"), "knows no last day and no nth weekday of a month"),
        (Cron("0 0 1 * L5"), "knows no last day and no nth weekday of a month"),
        (Cron(day=13, dow=4), "either of day and day-of-week is enough"),
        (Cron(day=1, dow=0), "either of day and day-of-week is enough"),
        (Cron(day=range(1, 32, 2), dow=0), "either of day and day-of-week is enough"),
    ],
)
def test_a_crontab_that_would_mean_something_else_is_refused(cron, message):
    with pytest.raises(ValueError, match=message) as error:
        cron.crontab()
    assert repr(cron) in str(error.value)


@pytest.mark.parametrize(
    ("cron", "text"),
    [
        (Cron("0 0 L * *"), "Cron('0 0 L * *')"),
        (Cron("0 0 */2,L * fri"), "Cron('0 0 */2,L * 5')"),
        (Cron("0 0 1 * mon#1,L5"), "Cron('0 0 1 * 1#1,L5')"),
        (Cron(day=13, dow=4), "Cron(min='0', hour='0', day='13', month='*', dow='5')"),
        (Cron(hour=2, timezone="Asia/Tokyo"), "Cron('0 2 * * *', timezone='Asia/Tokyo')"),
    ],
)
def test_the_representation_makes_an_equal_schedule(cron, text):
    assert repr(cron) == text
    assert eval(text, {"Cron": Cron}) == cron


@settings(deadline=None, max_examples=80)
@given(drawn=expressions())
def test_every_expression_survives_a_crontab(drawn):
    try:
        cron = Cron(drawn[0])
    except ValueError as error:
        assume("no such date" not in str(error))
        raise
    assert eval(repr(cron), {"Cron": Cron}) == cron
    if re.search("[#L]", drawn[0]) and (
        cron.fields.dates.has_last_day or cron.fields.dates.nth_weekdays
    ):
        with pytest.raises(ValueError, match="a crontab knows no"):
            cron.crontab()
    else:
        assert Cron(cron.crontab()) == cron
