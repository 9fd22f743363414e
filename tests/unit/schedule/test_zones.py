"""Stretches of even local time."""

import zoneinfo
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramid_cron.schedule.zones import (
    END_SECOND,
    FIRST_SECOND,
    OffsetSpan,
    get_zone,
    offset_span_at,
    parse_moment,
)

UTC = timezone.utc
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ZONES = sorted(available_timezones() - {"localtime"})


def second(text):
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // timedelta(seconds=1)


@pytest.mark.parametrize(
    ("zone", "at", "start", "offset", "second_pass", "gap"),
    [
        ("Europe/Berlin", "2026-03-29 05:00", "2026-03-29 01:00", 7200, False, 3600),
        ("Europe/Berlin", "2026-10-25 01:30", "2026-10-25 01:00", 3600, True, 0),
        ("Europe/Berlin", "2026-10-25 02:30", "2026-10-25 02:00", 3600, False, 0),
        ("Australia/Lord_Howe", "2026-10-03 16:00", "2026-10-03 15:30", 39600, False, 1800),
        ("Australia/Lord_Howe", "2026-04-04 15:29", "2026-04-04 15:00", 37800, True, 0),
        ("Europe/Dublin", "2026-03-29 02:00", "2026-03-29 01:00", 3600, False, 3600),
        ("Pacific/Apia", "2011-12-30 11:00", "2011-12-30 10:00", 50400, False, 86400),
        ("Pacific/Kwajalein", "1969-10-01 00:00", "1969-09-30 13:00", -43200, True, 0),
        ("Pacific/Kwajalein", "1993-08-21 13:00", "1993-08-21 12:00", 43200, False, 86400),
        ("Africa/Monrovia", "1972-01-08 00:00", "1972-01-07 00:44:30", 0, False, 2670),
    ],
)
def test_a_stretch_begins_with_a_gap_or_an_overlap(zone, at, start, offset, second_pass, gap):
    found = offset_span_at(ZoneInfo(zone), second(at))
    assert (found.offset, found.is_repeated, found.gap) == (offset, second_pass, gap)
    assert found.start == second(start)


def test_two_changes_a_few_days_apart_are_told_apart():
    zone = ZoneInfo("Africa/Freetown")
    changed = offset_span_at(zone, second("1939-09-03 00:00"))
    assert changed.start == second("1939-09-01 01:00")
    assert changed.end == second("1939-09-05 00:40")
    assert offset_span_at(zone, changed.end).offset != changed.offset


def test_utc_is_one_stretch():
    assert offset_span_at(ZoneInfo("UTC"), 0) == OffsetSpan(FIRST_SECOND, END_SECOND, 0, False, 0)


@settings(deadline=None, max_examples=300)
@given(zone=st.sampled_from(ZONES), at=st.integers(second("1840-01-01"), second("2150-01-01")))
def test_all_of_a_stretch_has_the_offset_and_fold_zoneinfo_gives(zone, at):
    zone = ZoneInfo(zone)
    found = offset_span_at(zone, at)
    assert found.start <= at < found.end
    for moment in (found.start, at, (found.start + found.end) // 2, found.end - 1):
        local = datetime.fromtimestamp(moment, zone)
        assert local.utcoffset() == timedelta(seconds=found.offset)
        assert local.fold == found.is_repeated
    if found.start > FIRST_SECOND:
        before = datetime.fromtimestamp(found.start - 1, zone).utcoffset()
        assert found.gap == max(0, found.offset - before // timedelta(seconds=1))


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles", "Etc/GMT-14"])
def test_the_ends_of_the_calendar_are_in_a_stretch(zone):
    assert offset_span_at(ZoneInfo(zone), FIRST_SECOND).start <= FIRST_SECOND
    assert offset_span_at(ZoneInfo(zone), END_SECOND - 1).end >= END_SECOND


@pytest.mark.parametrize("name", ["Europe/Nowhere", "", "../etc/passwd", "Europe", "/utc", 5, None])
def test_an_unknown_zone_is_refused_by_name(name):
    with pytest.raises(ValueError, match="no such time zone; use an IANA name") as error:
        get_zone(name)
    assert f"timezone={name!r}" in str(error.value)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-12-01T09:00:00+01:00", "2026-12-01T08:00"),
        (" 2026-12-01T09:00Z ", "2026-12-01T09:00"),
        ("2026-12-01t09:00:00z", "2026-12-01T09:00"),
        ("2026-12-01", "2026-11-30T23:00"),
        ("2026-12-01T09:00", "2026-12-01T08:00"),
        ("2026-10-25T02:30", "2026-10-25T00:30"),  # the first of two
        ("2026-03-29T02:30", "2026-03-29T01:30"),  # skipped
    ],
)
def test_a_moment_is_read_as_utc_and_as_local_time_without_an_offset(text, utc):
    moment = parse_moment(text, ZoneInfo("Europe/Berlin"))
    assert moment == datetime.fromisoformat(utc).replace(tzinfo=timezone.utc)
    assert moment.tzinfo is timezone.utc


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-12-01T09:00",
        "2026-12-01",
        "0001-01-01T00:00+01:00",
        "9999-12-31T23:59-01:00",
    ],
)
def test_text_that_says_no_moment_is_refused(text):
    with pytest.raises(ValueError, match=r"is no moment in ISO 8601 with an offset from UTC$"):
        parse_moment(text)


def test_a_host_without_a_database_of_zones_has_them_of_a_package():
    zoneinfo.reset_tzpath([])
    try:
        assert zoneinfo.ZoneInfo.no_cache("Europe/Berlin").key == "Europe/Berlin"
    finally:
        zoneinfo.reset_tzpath()
