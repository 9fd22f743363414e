"""One field: what it takes, what it means, and what it refuses."""

import itertools
import re

import pytest
from croniter import croniter
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pyramid_cron.schedule.fields import DAY, DOW, FIELDS, HOUR, MINUTE, MONTH, from_integers
from pyramid_cron.schedule.masks import values
from pyramid_cron.schedule.text import from_text

from .expressions import fields

BY_NAME = {field.name: field for field in FIELDS}


class Four:
    def __index__(self):
        return 4


@pytest.mark.parametrize(
    ("field", "value", "numbers"),
    [
        (HOUR, 2, [2]),
        (HOUR, Four(), [4]),
        (HOUR, range(0, 24, 6), [0, 6, 12, 18]),
        (HOUR, {3, 1}, [1, 3]),
        (HOUR, (5, 5), [5]),
        (HOUR, (n for n in (1, 2)), [1, 2]),
        (HOUR, (0, 23, 3), [0, 3, 23]),
        (DOW, [0, Four(), 6], [0, 4, 6]),
        (MONTH, frozenset([12]), [12]),
    ],
)
def test_integers_are_python(field, value, numbers):
    assert values(from_integers(field, value).mask) == numbers


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (HOUR, 24, "hour=24: 24 is out of range, use 0 to 23"),
        (DAY, 0, "day=0: 0 is out of range, use 1 to 31"),
        (MONTH, [1, 13], "month=[1, 13]: 13 is out of range, use 1 to 12"),
        (DOW, 7, "dow=7: 7 is out of range, use 0 (Monday) to 6 (Sunday)"),
        (MINUTE, -1, "min=-1: -1 is out of range, use 0 to 59"),
        (
            HOUR,
            (0, 24, 3),
            "hour=(0, 24, 3): 24 is out of range, use 0 to 23; did you mean range(0, 24, 3)?",
        ),
        (
            MINUTE,
            [0, 60, 5],
            "min=[0, 60, 5]: 60 is out of range, use 0 to 59; did you mean range(0, 60, 5)?",
        ),
        (HOUR, (1, 24, 0), "hour=(1, 24, 0): 24 is out of range, use 0 to 23"),
        (HOUR, (30, 40, 1), "hour=(30, 40, 1): 30 is out of range, use 0 to 23"),
        (HOUR, (), "hour=(): nothing to match, use 0 to 23"),
        (HOUR, True, "hour=True: use cron text, an int or an iterable of ints, 0 to 23"),
        (HOUR, 2.0, "hour=2.0: use cron text, an int or an iterable of ints, 0 to 23"),
        (HOUR, b"2", "hour=b'2': use cron text, an int or an iterable of ints, 0 to 23"),
        (HOUR, ["2"], "hour=['2']: '2' is no int, use ints or one string of cron text"),
        (HOUR, [True], "hour=[True]: True is no int, use ints or one string of cron text"),
    ],
)
def test_what_is_no_set_of_integers_in_range_is_refused(field, value, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        from_integers(field, value)
    assert str(error.value) == message


def test_an_endless_iterable_is_refused_at_its_first_number_out_of_range():
    with pytest.raises(ValueError, match="24 is out of range"):
        from_integers(HOUR, itertools.count())


@pytest.mark.parametrize(
    ("field", "text", "numbers"),
    [
        (MINUTE, "*/20", [0, 20, 40]),
        (MINUTE, "5/25", [5, 30, 55]),
        (MINUTE, "59/15", [59]),
        (MINUTE, "*/60", [0]),
        (HOUR, "5-5", [5]),
        (HOUR, "5-5/2", [5]),
        (HOUR, "22-2", [0, 1, 2, 22, 23]),
        (HOUR, "21-2/2", [1, 21, 23]),
        (HOUR, "007", [7]),
        (MONTH, "nov-feb", [1, 2, 11, 12]),
        (MONTH, "JAN,Jul", [1, 7]),
        (MONTH, "jan-jan", [1]),
        (DAY, "?", list(range(1, 32))),
        (DAY, "1-L", list(range(1, 32))),
        # From here on Monday is 0.
        (DOW, "0", [6]),
        (DOW, "7", [6]),
        (DOW, "0,7", [6]),
        (DOW, "7-7", [6]),
        (DOW, "0-7", [0, 1, 2, 3, 4, 5, 6]),
        (DOW, "sun-7", [0, 1, 2, 3, 4, 5, 6]),
        (DOW, "1-7", [0, 1, 2, 3, 4, 5, 6]),
        (DOW, "7-2", [0, 1, 6]),
        (DOW, "7-0", [6]),
        (DOW, "sat-mon", [0, 5, 6]),
        (DOW, "mon-fri", [0, 1, 2, 3, 4]),
        (DOW, "5-7", [4, 5, 6]),
        (DOW, "1-7/3", [0, 3, 6]),
        (DOW, "mon/2", [0, 2, 4]),
        (DOW, "*/2", [1, 3, 5, 6]),
        (DOW, "?", [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_strings_are_cron(field, text, numbers):
    assert values(from_text(field, text).mask) == numbers


def test_only_a_leading_star_counts_as_one():
    starred = [
        text for text in ("*", "*/2", "*,5", "5,*", "0-59", "5") if from_text(MINUTE, text).star
    ]
    assert starred == ["*", "*/2", "*,5"]
    assert from_text(DAY, "?").star
    assert from_text(DAY, "*/2,L").star


def test_the_last_day_may_be_one_of_a_list():
    choice = from_text(DAY, "L,10-10,15")
    assert (values(choice.mask), choice.last) == ([10, 15], True)


@pytest.mark.parametrize(
    ("text", "nth"),
    [
        ("5#2", {2: [4]}),
        ("sun#5", {5: [6]}),
        ("7#1", {1: [6]}),
        ("L5", {6: [4]}),
        ("mon-tue#1,L3", {1: [0, 1], 6: [2]}),
    ],
)
def test_nth_and_last_weekdays_are_kept_apart(text, nth):
    choice = from_text(DOW, text)
    assert choice.mask == 0
    assert {n: values(mask) for n, mask in enumerate(choice.nth, 1) if mask} == nth


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        (MINUTE, "60", "min='60': 60 is out of range, use 0 to 59"),
        (HOUR, "1-24", "hour='1-24': 24 is out of range, use 0 to 23"),
        (DAY, "0", "day='0': 0 is out of range, use 1 to 31"),
        (
            DOW,
            "8",
            "dow='8': 8 is out of range, use 0 to 7 (0 and 7 are Sunday) or sun to sat",
        ),
        (
            MONTH,
            "mon",
            "month='mon': not understood as cron text, use 1 to 12 or jan to dec",
        ),
        (HOUR, "*/0", "hour='*/0': a step of 0 leads nowhere, use 1 or more"),
        (
            HOUR,
            "1, 2",
            "hour='1, 2': no spaces within a field, join a list by commas alone",
        ),
        (HOUR, "", "hour='': not understood as cron text, use 0 to 23"),
        (HOUR, "1,", "hour='1,': not understood as cron text, use 0 to 23"),
        (HOUR, "*-5", "hour='*-5': not understood as cron text, use 0 to 23"),
        (HOUR, "?", "hour='?': not understood as cron text, use 0 to 23"),
        (HOUR, "-5", "hour='-5': not understood as cron text, use 0 to 23"),
        (HOUR, "9" * 5000, "not understood as cron text, use 0 to 23"),
        (DAY, "L-3", "day='L-3': not understood as cron text, use 1 to 31"),
        (MINUTE, "R", "min='R': R would be another time at each start, use H"),
        (MINUTE, "r(0-5)/2", "min='r(0-5)/2': R would be another time at each start, use H"),
        (DAY, "15W", "day='15W': W (the nearest working day) is not supported"),
        (DAY, "1,w15", "day='1,w15': W (the nearest working day) is not supported"),
        (DAY, "LW", "day='LW': W (the nearest working day) is not supported"),
        (DOW, "5L", "dow='5L': write L5 for the last Friday of the month"),
        (
            DOW,
            "1,5#2",
            "dow='1,5#2': weekdays and nth weekdays of the month don't mix in one field",
        ),
        (DOW, "5#6", "dow='5#6': not understood as cron text"),
        (
            MINUTE,
            "H",
            "min='H': H is hashed with a task's name, so it needs a task; or use a number",
        ),
    ],
)
def test_what_is_no_cron_text_is_refused(field, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        from_text(field, text)


def test_h_is_stable_under_a_name_and_varies_between_names():
    minutes = {name: values(from_text(MINUTE, "H", name).mask) for name in ("a", "b", "c")}
    assert minutes == {name: values(from_text(MINUTE, "h", name).mask) for name in minutes}
    assert len({tuple(found) for found in minutes.values()}) > 1
    assert all(len(found) == 1 for found in minutes.values())


def test_h_takes_a_range_and_a_step():
    (minute,) = values(from_text(MINUTE, "H(10-19)", "backup").mask)
    assert 10 <= minute <= 19
    first, *others = values(from_text(MINUTE, "H/15", "backup").mask)
    assert others == [first + 15, first + 30, first + 45]
    assert values(from_text(MINUTE, "H/1", "backup").mask) == list(range(60))


def test_h_stands_alone_in_its_field():
    with pytest.raises(ValueError, match="min='H,5': not understood"):
        from_text(MINUTE, "H,5", "backup")


@settings(deadline=None, max_examples=200)
@given(name=st.sampled_from(sorted(BY_NAME)), data=st.data())
def test_cron_text_means_what_croniter_reads(name, data):
    text, numbers = data.draw(fields(name))
    field = BY_NAME[name]
    expected = {(number - 1) % 7 for number in numbers} if field is DOW else numbers
    assert set(values(from_text(field, text).mask)) == expected
    # croniter takes 5-5 for the whole range and loses count of a step in a range that wraps.
    ranges = [item.split("/")[0].split("-") for item in text.split(",") if "-" in item]
    assume(all(first.lower() != last.lower() for first, last in ranges))
    assume("/" not in text or not ranges)
    expression = " ".join(text if n == field.position else "*" for n in range(5))
    (found,) = croniter.expand(expression)[0][field.position : field.position + 1]
    assert "*" in found or {n % 7 if field is DOW else n for n in found} == numbers
