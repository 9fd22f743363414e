"""What the names of folders mean."""

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from pyramid_cron import Cron, Every
from pyramid_cron.schedule.every import EveryDays
from pyramid_cron.sources.folder import parse_folder_names, scan_folder

NIGHT = datetime(2026, 6, 15, tzinfo=timezone.utc)  # a Monday


@pytest.mark.parametrize(
    ("names", "schedule"),
    [
        (["15min"], Every("15m")),
        (["1min"], Every("1m")),
        (["90min"], Every("90m")),
        (["1hour"], Every("1h")),
        (["5hour"], Every("5h")),
        (["1hour", "at0030"], Cron("30 * * * *")),
        (["1hour", "at0530"], Cron("30 * * * *")),
        (["2hour", "at0045"], Cron(min=45, hour=range(0, 24, 2))),
        (["12hour", "at0045"], Cron(min=45, hour=[0, 12])),
        (["6hour", "at0415"], Cron(min=15, hour=[4, 10, 16, 22])),
        (["24hour", "at0415"], Cron(min=15, hour=[4])),
        (["24hour", "at0030"], Cron(min=30, hour=[0])),
        (["1day"], Cron("0 0 * * *")),
        (["1day", "at0415"], Cron("15 4 * * *")),
        (["1day", "at2359"], Cron("59 23 * * *")),
        (["3day", "at0045"], EveryDays(3, min=45)),
        (["1week"], Cron("0 0 * * mon")),
        (["1week", "at1733"], Cron("33 17 * * mon")),
        (["2week", "at1733"], EveryDays(14, hour=17, min=33, phase=4)),
        (["4week", "at2359"], EveryDays(28, hour=23, min=59, phase=4)),
    ],
)
def test_a_name_is_a_schedule(names, schedule):
    assert parse_folder_names(*names) == schedule


@pytest.mark.parametrize(("number", "unit"), [(n, u) for n in (1, 2, 5) for u in ("min", "hour")])
def test_intervals_are_what_they_say(number, unit):
    length = timedelta(minutes=number * {"min": 1, "hour": 60}[unit])
    first = parse_folder_names(f"{number}{unit}").following(NIGHT)
    assert parse_folder_names(f"{number}{unit}").following(first) - first == length


@pytest.mark.parametrize("name", ["1day", "2day", "1week", "2week"])
def test_days_and_weeks_begin_at_midnight(name):
    assert parse_folder_names(name).following(NIGHT).time() == NIGHT.time()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0min"], "0min must be 1min or more"),
        (["166mins"], "must be a number and min, hour, day or week"),
        (["2weeks"], "must be a number and min, hour, day or week"),
        (["2days"], "must be a number and min"),
        (["Day"], "must be a number and min"),
        (["-1day"], "must be a number and min"),
        (["٣day"], "must be a number and min"),
        (["1DAY"], "must be a number and min"),
        (["9999week"], "at most ten years"),
        (["2week", "at2500"], "there is no such time: use at0000 to at2359"),
        (["2week", "at3000"], "there is no such time"),
        (["2week", "at0069"], "there is no such time"),
        (["1day", "at-0988"], "must be at and a time in four digits"),
        (["1day", "at30"], "must be at and a time in four digits"),
        (["1day", "0415"], "must be at and a time in four digits"),
        (["15min", "at0030"], "at0030 has no meaning in 15min"),
        (["5hour", "at0030"], "5 hours do not divide a day"),
    ],
)
def test_any_other_name_is_refused(names, message):
    with pytest.raises(ValueError, match=message):
        parse_folder_names(*names)


@pytest.mark.parametrize(
    ("names", "zone", "day", "slots"),
    [
        # 0:00 to 1:00 is skipped, and happens twice.
        (["24hour", "at0030"], "America/Havana", (2026, 3, 8), ["01:00"]),
        (["24hour", "at0030"], "America/Havana", (2026, 11, 1), ["00:30"]),
        (["1day", "at0030"], "America/Havana", (2026, 11, 1), ["00:30"]),
        # 2:00 to 3:00 is skipped.
        (["12hour", "at0230"], "Europe/Berlin", (2026, 3, 29), ["03:00", "14:30"]),
        (["8hour", "at0230"], "Europe/Berlin", (2026, 3, 29), ["03:00", "10:30", "18:30"]),
    ],
)
def test_times_on_the_clock_are_kept_when_it_shifts(names, zone, day, slots):
    schedule = parse_folder_names(*names).with_timezone(zone)
    start = datetime(*day, tzinfo=ZoneInfo(zone))
    end = datetime(*day, 23, 59, tzinfo=ZoneInfo(zone))
    before = start - timedelta(minutes=1)
    found = [slot.astimezone(ZoneInfo(zone)) for slot in schedule.between(before, end)]
    assert [f"{slot:%H:%M}" for slot in found] == slots


@pytest.mark.parametrize("number", [2, 3, 4, 6, 8, 12, 24])
def test_hours_with_a_time_are_fixed_times(number):
    for hour in range(number):
        assert not parse_folder_names(f"{number}hour", f"at{hour:02}30").fields.is_wildcard
    assert parse_folder_names("1hour", "at0030").fields.is_wildcard


@pytest.mark.parametrize(
    "leftover",
    [
        *("it.dpkg-old", "it.dpkg-new", "it.dpkg-dist", "it.ucf-old", "it.rpmsave", "it.rpmnew"),
        *("it.bak", "it.BAK", "it.orig", "it.old", "it.save", "it.rej", "it.swp", "it.pacnew"),
        *("it~", "it.~1~", "#it#", ".it", "it,v", "it.tmp", "it.disabled", "it.cfsaved"),
    ],
)
def test_leftovers_are_no_scripts(tmp_path, leftover):
    for path in (f"1day/{leftover}", f"{leftover}/it", f"1day/{leftover}/it"):
        for name in (path, "1day/bak", "1day/my.old.sh"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("#!/bin/sh\n")
            (tmp_path / name).chmod(0o755)
        scan = scan_folder(str(tmp_path))
        assert (sorted(scan.scripts), scan.problems) == (["1day/bak", "1day/my.old.sh"], [])
        (tmp_path / path).unlink()
