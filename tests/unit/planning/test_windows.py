"""Each task's slots since a tick last looked, whatever version of the application made it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from pyramid_cron.planning.catch_up import SkippedSlots
from pyramid_cron.planning.slots import (
    TaskSet,
    compute_task_set_id,
    missed_one_shots,
    slots_since,
    window_start,
    window_starts,
)
from pyramid_cron.run import RunReason
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

    def test_a_new_task_has_the_slots_since_the_minute_in_which_it_became_known(self) -> None:
        start = window_start(at("12:05:20"), None, known_since=at("12:03:40"))
        assert start == at("12:03") - timedelta(microseconds=1)
        assert slots_of(task(), since=show(start), now="12:05:20") == {
            "a": ["12:03", "12:04", "12:05"]
        }

    @pytest.mark.parametrize("known_since", ["11:00", "12:04:30"])
    def test_when_a_task_became_known_does_not_count_once_a_tick_knew_it(
        self, known_since: str
    ) -> None:
        assert window_start(at("12:05"), at("12:03:20"), at(known_since)) == at("12:03:20")

    def test_after_the_clock_was_set_back_a_window_is_this_minute_whenever_it_became_known(
        self,
    ) -> None:
        start = window_start(at("12:05:20"), at("12:06"), known_since=at("11:00"))
        assert start == at("12:05") - timedelta(microseconds=1)


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

    def test_a_task_that_no_version_knew_begins_when_it_became_known(self) -> None:
        starts = window_starts(
            ["a", "new"], at("12:05:30"), None, rosters(a="12:04"), known_since=at("12:02:10")
        )
        assert starts == [at("12:04"), at("12:02") - timedelta(microseconds=1)]

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


class TestMissedOneShots:
    """One-shot tasks whose moment was over before any process knew them."""

    def test_a_moment_before_the_task_was_known_is_missed(self) -> None:
        launch = task("launch", At(at("11:30")))
        assert missed_one_shots([launch], at("12:00")) == [
            SkippedSlots("launch", at("11:30"), 1, RunReason.MISSED)
        ]

    def test_a_moment_in_its_first_window_is_not(self) -> None:
        now = at("12:00:40")
        start = window_start(now, None, known_since=at("12:00:30"))
        for moment in ("12:00", "12:00:20", "12:05"):
            assert missed_one_shots([task("launch", At(at(moment)))], start) == []
        before = task("launch", At(at("12:00") - timedelta(microseconds=1)))
        assert len(missed_one_shots([before], start)) == 1

    def test_a_moment_is_either_missed_or_in_the_first_window(self) -> None:
        launch = task("launch", At(at("12:00")))
        assert len(missed_one_shots([launch], at("12:00"))) == 1
        assert slots_of(launch, since="12:00", now="12:01") == {}

    def test_the_slot_is_as_much_later_as_the_task_s_offset(self) -> None:
        launch = task("launch", At(at("11:59:30")), offset=40)
        assert missed_one_shots([launch], at("12:00")) == []
        [missed] = missed_one_shots([launch], at("12:00:10"))
        assert missed.newest == at("12:00:10")

    def test_slots_that_come_again_are_not_missed(self) -> None:
        tasks = [task("cron"), task("every", Every("5m")), task("demand", None)]
        assert missed_one_shots(tasks, at("12:00")) == []

    def test_every_moment_of_a_task_is_looked_at(self) -> None:
        twice = replace(task("launch"), schedules=(At(at("11:00")), At(at("11:30"))))
        mixed = replace(task("mixed"), schedules=(At(at("11:15")), Cron("* * * * *")))
        later = task("later", At(at("13:00")))
        missed = missed_one_shots([twice, mixed, later], at("12:00"))
        assert [(skip.task, show(skip.newest)) for skip in missed] == [
            ("launch", "11:00"),
            ("launch", "11:30"),
            ("mixed", "11:15"),
        ]

    def test_no_tasks_miss_nothing(self) -> None:
        assert missed_one_shots([], at("12:00")) == []


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
