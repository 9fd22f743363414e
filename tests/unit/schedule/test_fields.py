"""One field: what it takes, what it means, and what it refuses."""

import itertools
import re

import pytest
from croniter import croniter
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pyramid_cron.schedule import Cron
from pyramid_cron.schedule.fields import (
    ALL_FIELDS,
    DAY_FIELD,
    DOW_FIELD,
    HOUR_FIELD,
    MINUTE_FIELD,
    MONTH_FIELD,
    mask_values,
    parse_integers,
    parse_text,
)
from pyramid_cron.task import compute_jitter_offset

from .expressions import fields

BY_NAME = {field.name: field for field in ALL_FIELDS}


class Four:
    def __index__(self):
        return 4


@pytest.mark.parametrize(
    ("field", "value", "numbers"),
    [
        (HOUR_FIELD, 2, [2]),
        (HOUR_FIELD, Four(), [4]),
        (HOUR_FIELD, range(0, 24, 6), [0, 6, 12, 18]),
        (HOUR_FIELD, {3, 1}, [1, 3]),
        (HOUR_FIELD, (5, 5), [5]),
        (HOUR_FIELD, (n for n in (1, 2)), [1, 2]),
        (HOUR_FIELD, (0, 23, 3), [0, 3, 23]),
        (DOW_FIELD, [0, Four(), 6], [0, 4, 6]),
        (MONTH_FIELD, frozenset([12]), [12]),
    ],
)
def test_integers_are_python(field, value, numbers):
    assert list(mask_values(parse_integers(field, value).mask)) == numbers


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (HOUR_FIELD, 24, "hour=24: 24 is out of range, use 0 to 23"),
        (DAY_FIELD, 0, "day=0: 0 is out of range, use 1 to 31"),
        (MONTH_FIELD, [1, 13], "month=[1, 13]: 13 is out of range, use 1 to 12"),
        (DOW_FIELD, 7, "dow=7: 7 is out of range, use 0 (Monday) to 6 (Sunday)"),
        (MINUTE_FIELD, -1, "min=-1: -1 is out of range, use 0 to 59"),
        (
            HOUR_FIELD,
            (0, 24, 3),
            "hour=(0, 24, 3): 24 is out of range, use 0 to 23; did you mean range(0, 24, 3)?",
        ),
        (
            MINUTE_FIELD,
            [0, 60, 5],
            "min=[0, 60, 5]: 60 is out of range, use 0 to 59; did you mean range(0, 60, 5)?",
        ),
        (HOUR_FIELD, (1, 24, 0), "hour=(1, 24, 0): 24 is out of range, use 0 to 23"),
        (HOUR_FIELD, (30, 40, 1), "hour=(30, 40, 1): 30 is out of range, use 0 to 23"),
        (HOUR_FIELD, (), "hour=(): nothing to match, use 0 to 23"),
        (HOUR_FIELD, True, "hour=True: use cron text, an int or an iterable of ints, 0 to 23"),
        (HOUR_FIELD, 2.0, "hour=2.0: use cron text, an int or an iterable of ints, 0 to 23"),
        (HOUR_FIELD, b"2", "hour=b'2': use cron text, an int or an iterable of ints, 0 to 23"),
        (HOUR_FIELD, ["2"], "hour=['2']: '2' is no int, use ints or one string of cron text"),
        (HOUR_FIELD, [True], "hour=[True]: True is no int, use ints or one string of cron text"),
    ],
)
def test_what_is_no_set_of_integers_in_range_is_refused(field, value, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        parse_integers(field, value)
    assert str(error.value) == message


def test_an_endless_iterable_is_refused_at_its_first_number_out_of_range():
    with pytest.raises(ValueError, match="24 is out of range"):
        parse_integers(HOUR_FIELD, itertools.count())


@pytest.mark.parametrize(
    ("field", "text", "numbers"),
    [
        (MINUTE_FIELD, "*/20", [0, 20, 40]),
        (MINUTE_FIELD, "5/25", [5, 30, 55]),
        (MINUTE_FIELD, "59/15", [59]),
        (MINUTE_FIELD, "*/60", [0]),
        (HOUR_FIELD, "5-5", [5]),
        (HOUR_FIELD, "5-5/2", [5]),
        (HOUR_FIELD, "22-2", [0, 1, 2, 22, 23]),
        (HOUR_FIELD, "21-2/2", [1, 21, 23]),
        (HOUR_FIELD, "007", [7]),
        (MONTH_FIELD, "nov-feb", [1, 2, 11, 12]),
        (MONTH_FIELD, "JAN,Jul", [1, 7]),
        (MONTH_FIELD, "jan-jan", [1]),
        (DAY_FIELD, "?", list(range(1, 32))),
        (DAY_FIELD, "1-L", list(range(1, 32))),
        # From here on Monday is 0.
        (DOW_FIELD, "0", [6]),
        (DOW_FIELD, "7", [6]),
        (DOW_FIELD, "0,7", [6]),
        (DOW_FIELD, "7-7", [6]),
        (DOW_FIELD, "0-7", [0, 1, 2, 3, 4, 5, 6]),
        (DOW_FIELD, "sun-7", [0, 1, 2, 3, 4, 5, 6]),
        (DOW_FIELD, "1-7", [0, 1, 2, 3, 4, 5, 6]),
        (DOW_FIELD, "7-2", [0, 1, 6]),
        (DOW_FIELD, "7-0", [6]),
        (DOW_FIELD, "sat-mon", [0, 5, 6]),
        (DOW_FIELD, "mon-fri", [0, 1, 2, 3, 4]),
        (DOW_FIELD, "5-7", [4, 5, 6]),
        (DOW_FIELD, "1-7/3", [0, 3, 6]),
        (DOW_FIELD, "mon/2", [0, 2, 4]),
        (DOW_FIELD, "*/2", [1, 3, 5, 6]),
        (DOW_FIELD, "?", [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_strings_are_cron(field, text, numbers):
    assert list(mask_values(parse_text(field, text).mask)) == numbers


def test_only_a_leading_star_counts_as_one():
    starred = [
        text
        for text in ("*", "*/2", "*,5", "5,*", "0-59", "5")
        if parse_text(MINUTE_FIELD, text).has_star
    ]
    assert starred == ["*", "*/2", "*,5"]
    assert parse_text(DAY_FIELD, "?").has_star
    assert parse_text(DAY_FIELD, "*/2,L").has_star


def test_the_last_day_may_be_one_of_a_list():
    choice = parse_text(DAY_FIELD, "L,10-10,15")
    assert (mask_values(choice.mask), choice.has_last_day) == ((10, 15), True)


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
    choice = parse_text(DOW_FIELD, text)
    assert choice.mask == 0
    weekdays = {n: list(mask_values(mask)) for n, mask in enumerate(choice.nth_weekdays, 1)}
    assert {n: days for n, days in weekdays.items() if days} == nth


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        (MINUTE_FIELD, "60", "min='60': 60 is out of range, use 0 to 59"),
        (HOUR_FIELD, "1-24", "hour='1-24': 24 is out of range, use 0 to 23"),
        (DAY_FIELD, "0", "day='0': 0 is out of range, use 1 to 31"),
        (
            DOW_FIELD,
            "8",
            "dow='8': 8 is out of range, use 0 to 7 (0 and 7 are Sunday) or sun to sat",
        ),
        (
            MONTH_FIELD,
            "mon",
            "month='mon': not understood as cron text, use 1 to 12 or jan to dec",
        ),
        (HOUR_FIELD, "*/0", "hour='*/0': a step of 0 leads nowhere, use 1 or more"),
        (MINUTE_FIELD, "*/90", "min='*/90': a step of 90 is larger than the field"),
        (MINUTE_FIELD, "*/61", "use a step of up to 60, or every='61m'"),
        (MINUTE_FIELD, "H/90", "or every='90m'"),
        (MINUTE_FIELD, "5/90", "would only ever be its first value"),
        (HOUR_FIELD, "*/36", "use a step of up to 24, or every='36h'"),
        (HOUR_FIELD, "0-23/36", "hour='0-23/36': a step of 36 is larger"),
        (DAY_FIELD, "*/40", "use a step of up to 31, or every='40d'"),
        (MONTH_FIELD, "*/18", "use a step of up to 12"),
        (DOW_FIELD, "*/14", "use a step of up to 7"),
        (
            HOUR_FIELD,
            "1, 2",
            "hour='1, 2': no spaces within a field, join a list by commas alone",
        ),
        (HOUR_FIELD, "", "hour='': not understood as cron text, use 0 to 23"),
        (HOUR_FIELD, "1,", "hour='1,': not understood as cron text, use 0 to 23"),
        (HOUR_FIELD, "*-5", "hour='*-5': not understood as cron text, use 0 to 23"),
        (HOUR_FIELD, "?", "hour='?': not understood as cron text, use 0 to 23"),
        (HOUR_FIELD, "-5", "hour='-5': not understood as cron text, use 0 to 23"),
        (HOUR_FIELD, "9" * 5000, "not understood as cron text, use 0 to 23"),
        (DAY_FIELD, "L-3", "day='L-3': not understood as cron text, use 1 to 31"),
        (MINUTE_FIELD, "R", "min='R': R would be another time at each start, use H"),
        (MINUTE_FIELD, "r(0-5)/2", "min='r(0-5)/2': R would be another time at each start, use H"),
        (DAY_FIELD, "15W", "day='15W': W (the nearest working day) is not supported"),
        (DAY_FIELD, "1,w15", "day='1,w15': W (the nearest working day) is not supported"),
        (DAY_FIELD, "LW", "day='LW': W (the nearest working day) is not supported"),
        (DOW_FIELD, "5L", "dow='5L': write L5 for the last Friday of the month"),
        (
            DOW_FIELD,
            "1,5#2",
            "dow='1,5#2': weekdays and nth weekdays of the month don't mix in one field",
        ),
        (DOW_FIELD, "5#6", "dow='5#6': not understood as cron text"),
        (
            MINUTE_FIELD,
            "H",
            "min='H': H is hashed with a task's name, so it needs a task; or use a number",
        ),
    ],
)
def test_what_is_no_cron_text_is_refused(field, text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_text(field, text)


def test_h_is_stable_under_a_name_and_varies_between_names():
    minutes = {
        name: mask_values(parse_text(MINUTE_FIELD, "H", name).mask) for name in ("a", "b", "c")
    }
    assert minutes == {
        name: mask_values(parse_text(MINUTE_FIELD, "h", name).mask) for name in minutes
    }
    assert len({tuple(found) for found in minutes.values()}) > 1
    assert all(len(found) == 1 for found in minutes.values())


def test_h_takes_a_range_and_a_step():
    (minute,) = mask_values(parse_text(MINUTE_FIELD, "H(10-19)", "backup").mask)
    assert 10 <= minute <= 19
    first, *others = mask_values(parse_text(MINUTE_FIELD, "H/15", "backup").mask)
    assert others == [first + 15, first + 30, first + 45]
    assert mask_values(parse_text(MINUTE_FIELD, "H/1", "backup").mask) == tuple(range(60))


def test_h_stands_alone_in_its_field():
    with pytest.raises(ValueError, match="min='H,5': not understood"):
        parse_text(MINUTE_FIELD, "H,5", "backup")


@settings(deadline=None, max_examples=100)
@given(name=st.sampled_from(sorted(BY_NAME)), data=st.data())
def test_cron_text_means_what_croniter_reads(name, data):
    text, numbers = data.draw(fields(name))
    field = BY_NAME[name]
    expected = {(number - 1) % 7 for number in numbers} if field is DOW_FIELD else numbers
    assert set(mask_values(parse_text(field, text).mask)) == expected
    # croniter takes 5-5 for the whole range and loses count of a step in a range that wraps.
    ranges = [item.split("/")[0].split("-") for item in text.split(",") if "-" in item]
    assume(all(first.lower() != last.lower() for first, last in ranges))
    assume("/" not in text or not ranges)
    expression = " ".join(text if n == field.position else "*" for n in range(5))
    (found,) = croniter.expand(expression)[0][field.position : field.position + 1]
    assert "*" in found or {n % 7 if field is DOW_FIELD else n for n in found} == numbers


@pytest.mark.parametrize("text", ["*/100,1-7", "1-7,*/100", "*/31"])
def test_within_a_list_a_step_may_be_larger_than_its_field(text):
    assert parse_text(DAY_FIELD, text).mask >> 1 & 1


def test_a_step_as_large_as_its_field_is_its_first_value():
    assert parse_text(MINUTE_FIELD, "*/60") == (1, True, False, None)


def test_fields_are_hashed_apart():
    names = [f"task-{number}" for number in range(12_000)]
    hash_of = {
        field: [parse_text(field, "H", name).mask.bit_length() - 1 for name in names]
        for field in ALL_FIELDS
    }
    for one, other in itertools.combinations(ALL_FIELDS, 2):
        pairs = set(zip(hash_of[one], hash_of[other], strict=True))
        sizes = [len({*hash_of[field]}) for field in (one, other)]
        assert len(pairs) > 0.99 * sizes[0] * sizes[1]
    assert len({*hash_of[MINUTE_FIELD]}) == 60
    assert len({*hash_of[HOUR_FIELD]}) == 24


def test_what_a_name_is_hashed_to_does_not_change_between_releases():
    assert Cron.for_task("backup", "H H H H *").crontab() == "15 4 19 4 *"
    assert compute_jitter_offset("backup", 3600) == 720
    assert compute_jitter_offset("backup", 59) == 16


def test_the_jitter_is_hashed_apart_from_the_fields():
    names = [f"task-{number}" for number in range(2000)]
    pairs = {
        (parse_text(MINUTE_FIELD, "H(0-9)", name).mask, compute_jitter_offset(name, 600))
        for name in names
    }
    assert len(pairs) == 100
