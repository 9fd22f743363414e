"""Which tasks are paused when, by pattern and moment, and what becomes of their slots."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from pyramid_cron.planning import snapshot
from pyramid_cron.planning.snapshot import check_pattern, exact_pattern, matches_any, text_matcher
from pyramid_cron.schedule import Cron

from .builders import at, due, pause, plan_at, resume, skips, slots, task

active_pause = partial(snapshot.active_pause, command=None)


class TestCommandPattern:
    @pytest.mark.parametrize(
        "pattern",
        ["command:*pg_dump*", "command:re:^nice .*-Fc", "command:nice pg_dump -Fc ?[fg]oo"],
    )
    def test_it_is_for_the_command_line(self, pattern: str) -> None:
        assert matches_any(pattern, ("backup",), "nice pg_dump -Fc 'foo")

    @pytest.mark.parametrize("pattern", ["command:pg_dump*", "command:re:^pg", "command:"])
    def test_another_command_line_does_not_match(self, pattern: str) -> None:
        assert not matches_any(pattern, ("backup",), "nice pg_dump")

    def test_a_function_has_none_whatever_its_name(self) -> None:
        assert not matches_any("command:*", ("pg_dump",), None)
        assert not matches_any("command:*pg_dump*", ("pg_dump",), "sh backup")

    def test_a_name_that_looks_like_a_pattern_can_be_meant(self) -> None:
        for name in ("command:x", "re:x", "a[1]", "*"):
            assert matches_any(exact_pattern(name), (name,), "x")
            assert not matches_any(exact_pattern(name), ("x",), "x")

    @pytest.mark.parametrize(
        ("pattern", "fault"), [("command:re:(", "no regular expression"), (3, "must be text")]
    )
    def test_a_wrong_one_is_refused(self, pattern: object, fault: str) -> None:
        with pytest.raises(ValueError, match=fault):
            check_pattern(pattern)

    def test_its_slots_are_skipped(self) -> None:
        tasks = [
            due(replace(task("a"), command="pg_dump shop"), "12:00", position=0),
            due(task("pg_dump"), "12:00", position=1),
        ]
        plan = plan_at("12:00", *tasks, pauses=[pause("command:pg_dump*")])
        assert skips(plan) == ["a 12:00 paused 1"]


class TestPattern:
    @pytest.mark.parametrize(
        ("pattern", "name"),
        [
            ("shop.mail", "shop.mail"),
            ("*", "shop.mail"),
            ("shop.*", "shop.mail"),
            ("*.mail", "shop.mail"),
            ("shop.ma?l", "shop.mail"),
            ("shop.[lm]ail", "shop.mail"),
            ("re:^shop", "shop.mail"),
            ("re:mail$", "shop.mail"),
            ("re:op", "shop.mail"),
            ("re:", "shop.mail"),
            ("re:^(shop|store)", "store.mail"),
            ("a[[]1]", "a[1]"),
        ],
    )
    def test_a_glob_or_a_regular_expression_names_tasks(self, pattern: str, name: str) -> None:
        assert text_matcher(pattern)(name)
        assert active_pause(name, at("12:00"), [pause(pattern)]) == pause(pattern)

    @pytest.mark.parametrize(
        ("pattern", "name"),
        [
            ("shop", "shop.mail"),
            ("mail", "shop.mail"),
            ("shop.ma?l", "shop.mal"),
            ("SHOP.*", "shop.mail"),
            ("shopxmail", "shop.mail"),
            ("a[1]", "a[1]"),
            ("^shop", "shop.mail"),
            ("re:^mail", "shop.mail"),
            ("re:SHOP", "shop.mail"),
            ("", "shop.mail"),
        ],
    )
    def test_other_tasks_are_not_paused(self, pattern: str, name: str) -> None:
        assert not text_matcher(pattern)(name)
        assert active_pause(name, at("12:00"), [pause(pattern)]) is None

    def test_a_glob_matches_the_whole_name_and_an_expression_any_part(self) -> None:
        assert not text_matcher("mail")("shop.mail.send")
        assert text_matcher("re:mail")("shop.mail.send")

    @pytest.mark.parametrize("pattern", ["re:(", "re:[a", "re:*"])
    def test_a_wrong_expression_is_a_value_error_that_names_it(self, pattern: str) -> None:
        with pytest.raises(ValueError, match="no regular expression") as caught:
            text_matcher(pattern)
        assert str(caught.value).startswith(f"pattern={pattern!r}: no regular expression: ")

    @pytest.mark.parametrize("pattern", ["(", "[a", "*("])
    def test_what_would_be_a_wrong_expression_is_a_glob(self, pattern: str) -> None:
        assert not text_matcher(pattern)("shop.mail")


class TestTime:
    def test_nobody_is_paused_where_nothing_was_said(self) -> None:
        assert active_pause("a", at("12:00"), []) is None

    @pytest.mark.parametrize(
        ("moment", "pauses"),
        [("10:59:59", False), ("11:00", True), ("12:00", True), ("2027-01-01 12:00", True)],
    )
    def test_a_pause_lasts_from_its_moment_on(self, moment: str, pauses: bool) -> None:
        assert (active_pause("a", at(moment), [pause("a", "11:00")]) is not None) is pauses

    @pytest.mark.parametrize(
        ("moment", "pauses"),
        [("11:00", True), ("11:59:59", True), ("12:00", False), ("12:01", False)],
    )
    def test_a_pause_may_end_by_itself(self, moment: str, pauses: bool) -> None:
        rule = pause("a", "11:00", until="12:00")
        assert (active_pause("a", at(moment), [rule]) is not None) is pauses

    @pytest.mark.parametrize(
        ("moment", "pauses"),
        [("11:29:59", True), ("11:30", False), ("11:59:59", False), ("12:00", True)],
    )
    def test_the_newest_rule_up_to_a_moment_counts(self, moment: str, pauses: bool) -> None:
        rules = [pause("a", "11:00"), resume("a", "11:30"), pause("a", "12:00")]
        assert (active_pause("a", at(moment), rules) is not None) is pauses

    def test_the_newest_pause_is_the_one_that_is_told_of(self) -> None:
        rules = [pause("*", "11:00", reason="old"), pause("a", "11:10", reason="new")]
        assert active_pause("a", at("12:00"), rules) == rules[1]
        assert active_pause("a", at("11:05"), rules) == rules[0]
        assert active_pause("b", at("12:00"), rules) == rules[0]

    def test_a_resume_of_all_ends_the_pause_of_one(self) -> None:
        assert active_pause("a", at("12:00"), [pause("a"), resume("*")]) is None

    def test_a_resume_of_one_leaves_the_others_paused(self) -> None:
        rules = [pause("*"), resume("a")]
        assert active_pause("a", at("12:00"), rules) is None
        assert active_pause("b", at("12:00"), rules) == rules[0]

    def test_a_resume_of_another_task_changes_nothing(self) -> None:
        rules = [pause("a"), resume("b")]
        assert active_pause("a", at("12:00"), rules) == rules[0]

    def test_after_a_pause_that_ended_by_itself_an_older_one_does_not_come_back(self) -> None:
        rules = [pause("*", "11:00"), pause("a", "11:10", until="11:20")]
        assert active_pause("a", at("11:15"), rules) == rules[1]
        assert active_pause("a", at("11:30"), rules) is None
        assert active_pause("b", at("11:30"), rules) == rules[0]

    def test_a_rule_that_is_still_to_come_does_not_count_yet(self) -> None:
        rules = [pause("a", "11:00"), resume("a", "13:00")]
        assert active_pause("a", at("12:00"), rules) == rules[0]

    def test_of_two_rules_of_one_moment_the_one_written_last_counts(self) -> None:
        assert active_pause("a", at("12:00"), [pause("a", "11:00"), resume("a", "11:00")]) is None
        assert (
            active_pause("a", at("12:00"), [resume("a", "11:00"), pause("a", "11:00")]) is not None
        )


class TestSlots:
    def test_a_slot_of_a_paused_task_is_skipped_with_the_reason(self) -> None:
        plan = plan_at("12:00", due(task(), "12:00"), pauses=[pause(reason="broken supplier")])
        assert skips(plan) == ["a 12:00 paused 1"]
        assert plan.skipped[0].detail == "broken supplier"
        assert plan.run_now == []

    def test_a_pause_without_a_reason_has_no_detail(self) -> None:
        [skip] = plan_at("12:00", due(task(), "12:00"), pauses=[pause()]).skipped
        assert (skip.detail, skip.waiting_run) == (None, None)

    def test_slots_of_paused_time_are_one_record_and_not_missed(self) -> None:
        plan = plan_at("15:00", due(task(), "12:00", "13:30", "14:30"), pauses=[pause()])
        assert skips(plan) == ["a 14:30 paused 3"]

    def test_after_a_pause_only_the_slots_outside_of_it_count(self) -> None:
        plan = plan_at(
            "12:03",
            due(task(catch_up="all"), "12:00", "12:01", "12:02", "12:03"),
            pauses=[pause("*", "12:01"), resume("*", "12:03")],
        )
        assert skips(plan) == ["a 12:02 paused 2"]
        assert slots(plan.run_now) == ["a 12:00"]
        assert slots(plan.backlog) == ["a 12:03"]

    def test_a_paused_task_catches_up_with_nothing_from_before_the_pause(self) -> None:
        plan = plan_at(
            "12:05", due(task(catch_up="all"), "12:01", "12:04"), pauses=[pause("*", "12:03")]
        )
        assert skips(plan) == ["a 12:04 paused 2"]
        assert (plan.run_now, plan.enqueue) == ([], [])

    def test_the_reason_is_that_of_the_newest_slot_s_pause(self) -> None:
        plan = plan_at(
            "12:10",
            due(task(), "12:01", "12:05"),
            pauses=[
                pause("*", "12:00", until="12:02", reason="first"),
                pause("*", "12:04", until="12:06", reason="second"),
            ],
        )
        assert skips(plan) == ["a 12:05 paused 2"]
        assert plan.skipped[0].detail == "second"

    def test_a_pause_that_ends_by_itself_lets_the_slot_of_its_end_run(self) -> None:
        pauses = [pause("re:shop", "11:00", until="12:02")]
        tasks = [
            due(task("shop.a"), "12:01", "12:02", position=0),
            due(task("bank.b"), "12:01", "12:02", position=1),
        ]
        plan = plan_at("12:02", *tasks, pauses=pauses)
        assert sorted(slots(plan.run_now)) == ["bank.b 12:02", "shop.a 12:02"]
        assert skips(plan) == ["shop.a 12:01 paused 1", "bank.b 12:01 superseded 1"]

    def test_a_slot_that_is_claimed_beside_a_pause_is_skipped_all_the_same(self) -> None:
        policy = task("a", Cron("0 * * * *"), grace=None)
        plan = plan_at("12:00", due(policy, "12:00"), pauses=[pause("re:^a$")])
        assert skips(plan) == ["a 12:00 paused 1"]

    def test_an_idle_or_background_task_is_paused_too(self) -> None:
        tasks = [
            due(task("a", idle=True), "12:00", position=0),
            due(task("b", executor="thread"), "12:00", position=1),
        ]
        plan = plan_at("12:00", *tasks, pauses=[pause()], capacity=8)
        assert skips(plan) == ["a 12:00 paused 1", "b 12:00 paused 1"]
        assert (plan.idle, plan.background, plan.enqueue) == ([], [], [])
