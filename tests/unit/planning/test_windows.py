"""Each task's slots since a tick last looked, whatever version of the application made it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from pyramid_cron.planning.slots import (
    TaskSet,
    compute_task_set_id,
    slots_since,
    window_start,
    window_starts,
)
from pyramid_cron.schedule import At, Cron, Every
from pyramid_cron.task import Task

from .builders import DAY, HOUR, MINUTE, at, calendar, moments, show, task


def rosters(**last_ticks: str) -> list[TaskSet]:
    """Return versions of the application by the letters of their tasks, as ``ab="12:00"``."""
    return [TaskSet(names, frozenset(names), at(moment)) for names, moment in last_ticks.items()]


def slots_of(*tasks: Task, since: str | list[str], now: str) -> dict[str, list[str]]:
    """Return each task's slots in its window."""
    starts = at(since) if isinstance(since, str) else moments(*since)
    windows = slots_since(tasks, calendar(*tasks), starts, at(now))
    return {tasks[position].name: [show(slot) for slot in slots] for position, slots in windows}


class TestStart:
    def test_a_window_begins_at_the_last_tick(self) -> None:
        assert window_start(at("12:05"), at("12:03:20")) == at("12:03:20")

    def test_a_second_tick_at_the_same_moment_has_an_empty_window(self) -> None:
        assert window_start(at("12:05"), at("12:05")) == at("12:05")
        assert slots_of(task(), since="12:05", now="12:05") == {}

    def test_a_task_that_is_new_has_the_slot_of_this_minute(self) -> None:
        start = window_start(at("12:05:20.500"), None)
        assert start == at("12:05") - timedelta(microseconds=1)
        assert slots_of(task(), since=show(start), now="12:05:20") == {"a": ["12:05"]}

    def test_after_the_clock_was_set_back_a_window_is_this_minute(self) -> None:
        assert window_start(at("12:05:20"), at("12:06")) == window_start(at("12:05:20"), None)


class TestVersions:
    def test_without_other_versions_every_window_begins_at_this_version_s_last_tick(self) -> None:
        assert window_starts(["a", "b"], at("12:05"), at("12:04"), []) == moments("12:04", "12:04")

    def test_a_task_that_another_version_knows_begins_at_that_one_s_last_tick(self) -> None:
        starts = window_starts(["a", "b"], at("12:05"), at("12:01"), rosters(a="12:04"))
        assert starts == moments("12:04", "12:01")

    def test_of_several_versions_the_newest_tick_counts(self) -> None:
        newer = rosters(a="12:03", ab="12:04", b="12:02")
        starts = window_starts(["a", "b", "c"], at("12:05"), at("12:01"), newer)
        assert starts == moments("12:04", "12:04", "12:01")

    def test_the_first_window_of_a_version_begins_at_another_one_s_last_tick(self) -> None:
        starts = window_starts(["a", "new"], at("12:05:30"), None, rosters(a="12:04"))
        assert starts == [at("12:04"), at("12:05") - timedelta(microseconds=1)]

    def test_another_version_s_older_tick_does_not_widen_a_window(self) -> None:
        starts = window_starts(["a"], at("12:05"), at("12:04"), rosters(a="12:02"))
        assert starts == moments("12:04")

    def test_another_version_s_tick_by_a_clock_ahead_makes_a_window_of_this_minute(self) -> None:
        [start] = window_starts(["a"], at("12:05"), at("12:04"), rosters(a="12:09"))
        assert start == at("12:05") - timedelta(microseconds=1)

    def test_windows_come_in_the_order_of_the_names(self) -> None:
        newer = rosters(a="12:02", b="12:03")
        assert window_starts(["b", "a"], at("12:05"), None, newer) == moments("12:03", "12:02")


class TestTaskSet:
    def test_every_process_with_the_same_names_has_the_same_id(self) -> None:
        assert compute_task_set_id(["b", "a"]) == compute_task_set_id(["a", "b"])
        assert compute_task_set_id({"a": 1, "b": 2}) == compute_task_set_id(["a", "b"])

    def test_other_names_have_another_id(self) -> None:
        assert (
            len({compute_task_set_id(names) for names in ([], ["a"], ["a", "b"], ["ab"], ["b"])})
            == 5
        )

    def test_an_id_is_32_hexadecimal_digits(self) -> None:
        assert len(compute_task_set_id(["a"])) == 32
        assert int(compute_task_set_id(["a"]), 16) > 0

    def test_an_id_is_the_same_in_every_release(self) -> None:
        assert compute_task_set_id(["a", "b"]) == "7e18f737311b2dc3b2f269dd78396b03"


class TestSlots:
    def test_the_start_of_a_window_is_outside_and_its_end_inside(self) -> None:
        assert slots_of(task(), since="12:00", now="12:02") == {"a": ["12:01", "12:02"]}

    def test_tasks_without_slots_in_the_window_are_left_out(self) -> None:
        tasks = [task("hourly", Cron("0 * * * *")), task("minutely")]
        assert slots_of(*tasks, since="12:01", now="12:02") == {"minutely": ["12:02"]}

    def test_each_task_has_a_window_of_its_own(self) -> None:
        tasks = [task("a"), task("b"), task("c")]
        assert slots_of(*tasks, since=["12:00", "12:01", "12:02"], now="12:02") == {
            "a": ["12:01", "12:02"],
            "b": ["12:02"],
        }

    def test_every_kind_of_schedule_is_looked_up(self) -> None:
        tasks = [
            task("cron", Cron("*/10 * * * *")),
            task("every", Every("7m")),
            task("once", At(at("12:03"))),
            task("demand", None),
        ]
        assert slots_of(*tasks, since="12:00", now="12:15") == {
            "cron": ["12:10"],
            "every": ["12:02", "12:09"],
            "once": ["12:03"],
        }

    def test_a_slot_of_two_schedules_is_one_slot(self) -> None:
        twofold = replace(task(), schedules=(Every("5m"), Cron("10,12 * * * *")))
        assert slots_of(twofold, since="12:04", now="12:12") == {"a": ["12:05", "12:10", "12:12"]}

    def test_a_task_with_an_offset_has_its_slots_later(self) -> None:
        assert slots_of(task(offset=20), since="12:00", now="12:01:30") == {
            "a": ["12:00:20", "12:01:20"]
        }

    def test_a_minute_has_all_the_slots_of_an_interval_of_seconds(self) -> None:
        assert slots_of(task("a", Every("10s")), since="12:00", now="12:01") == {
            "a": ["12:00:10", "12:00:20", "12:00:30", "12:00:40", "12:00:50", "12:01"]
        }

    def test_no_tasks_have_no_slots(self) -> None:
        assert slots_of(since="12:00", now="12:05") == {}
        assert slots_of(since=[], now="12:05") == {}


class TestLongWindow:
    def test_a_window_of_more_than_six_hours_has_the_same_slots(self) -> None:
        tasks = [
            task("cron", Cron("*/10 8-20 * * *")),
            task("every", Every("7m")),
            task("once", At(at("12:03"))),
            task("offset", Cron("30 * * * *"), offset=40),
            task("never", None),
        ]
        for since, now in [("06:00", "12:00"), ("06:00", "12:10"), ("06:00", "22:00")]:
            assert slots_of(*tasks, since=since, now=now) == {
                policy.name: [show(slot) for slot in between]
                for policy in tasks
                if (between := policy.between(at(since), at(now)))
            }

    def test_each_task_has_a_window_of_its_own_there_too(self) -> None:
        tasks = [task("a", Cron("0 * * * *")), task("b", Cron("0 * * * *"))]
        assert slots_of(*tasks, since=["04:00", "11:00"], now="12:00") == {
            "a": [f"{hour:02}:00" for hour in range(5, 13)],
            "b": ["12:00"],
        }

    def test_one_long_window_does_not_widen_the_others(self) -> None:
        tasks = [task("a", Cron("0 * * * *")), task("b", Cron("0 * * * *"))]
        assert slots_of(*tasks, since=["04:00", "12:00"], now="12:00").keys() == {"a"}

    def test_slots_older_than_thirty_days_are_not_due(self) -> None:
        daily = task("a", Cron("0 12 * * *"))
        slots = slots_of(daily, since="2026-01-01 12:00", now="12:00")["a"]
        assert (slots[0], slots[-1], len(slots)) == ("2026-05-17 12:00", "12:00", 30)

    def test_a_longer_grace_makes_older_slots_count(self) -> None:
        daily = task("a", Cron("0 12 * * *"), grace=40 * DAY)
        assert len(slots_of(daily, since="2026-01-01 12:00", now="12:00")["a"]) == 40

    def test_without_a_grace_every_slot_counts(self) -> None:
        daily = task("a", Cron("0 12 * * *"), grace=None)
        assert len(slots_of(daily, since="2026-01-01 12:00", now="12:00")["a"]) == 165

    def test_tasks_of_one_schedule_share_their_slots(self) -> None:
        tasks = [task("a", Cron("0 * * * *")), task("b", Cron("0 * * * *"))]
        windows = dict(slots_since(tasks, calendar(*tasks), at("04:00"), at("12:00")))
        assert windows[0] is windows[1]

    def test_tasks_with_another_offset_or_grace_do_not(self) -> None:
        tasks = [
            task("a", Cron("0 12 * * *")),
            task("later", Cron("0 12 * * *"), offset=60),
            task("patient", Cron("0 12 * * *"), grace=None),
        ]
        slots = slots_of(*tasks, since="2026-05-01 00:00", now="12:01")
        assert slots["a"][-1] == "12:00"
        assert slots["later"][-1] == "12:01"
        assert (slots["a"][0], slots["patient"][0]) == ("2026-05-17 12:00", "2026-05-01 12:00")

    @pytest.mark.parametrize("length", [6 * HOUR - MINUTE, 6 * HOUR, 6 * HOUR + MINUTE])
    def test_no_slot_is_lost_or_doubled_where_windows_become_long(self, length: timedelta) -> None:
        now: datetime = at("2026-06-16 00:00")
        windows = dict(slots_since([task()], calendar(task()), now - length, now))
        assert windows[0] == task().between(now - length, now)
