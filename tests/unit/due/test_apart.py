"""Which runs outside the request begin, what waits on, and what has waited for too long."""

from datetime import timedelta

from pyramid_cron.due.apart import Candidate, share
from pyramid_cron.due.facts import Pending
from pyramid_cron.run import Trigger
from pyramid_cron.task import CatchUp, Overlap, Task
from tests.apps import NOON

MINUTE = timedelta(minutes=1)


def candidate(name, weight=1, *, slot=NOON, trigger=Trigger.SCHEDULE, **policies):
    task = Task(name, print, (), "UTC", executor="thread", weight=weight, **policies)
    return Candidate(task, Pending(name, slot, trigger, slot))


def names(pending):
    return [each.task for each in pending]


def test_as_many_begin_as_there_is_room_for():
    shares = share([candidate("a", 2), candidate("b"), candidate("c")], 3, NOON)
    assert names(shares.begin) == ["a", "b"]
    assert names(shares.wait) == ["c"]


def test_nobody_overtakes_a_heavy_one_that_does_not_fit():
    shares = share([candidate("a"), candidate("heavy", 3), candidate("light")], 3, NOON)
    assert names(shares.begin) == ["a"]
    assert names(shares.wait) == ["heavy", "light"]


def test_nothing_begins_where_more_goes_on_than_there_is_room_for():
    assert names(share([candidate("a")], -2, NOON).wait) == ["a"]


def test_two_slots_of_a_task_begin_one_at_a_time_and_keep_no_other_waiting():
    two = [candidate("a", slot=NOON - MINUTE), candidate("a"), candidate("b")]
    shares = share(two, 8, NOON)
    assert names(shares.begin) == ["a", "b"]
    assert shares.wait == [two[1].pending]


def test_they_begin_side_by_side_where_the_task_allows_it():
    two = [candidate("a", slot=slot, overlap=Overlap.ALLOW) for slot in (NOON - MINUTE, NOON)]
    assert len(share(two, 8, NOON).begin) == 2


def test_a_slot_that_waited_longer_than_its_grace_does_not_run_any_more():
    old = candidate("a", slot=NOON - 61 * MINUTE, grace=60 * MINUTE)
    for room in (0, 8):
        assert names(share([old], room, NOON).expired) == ["a"]


def test_what_somebody_asked_for_waits_for_ever():
    for trigger in (Trigger.RETRY, Trigger.DEFERRED, Trigger.BACKFILL):
        old = candidate("a", slot=NOON - 61 * MINUTE, grace=60 * MINUTE, trigger=trigger)
        assert names(share([old], 0, NOON).wait) == ["a"]


def test_a_slot_that_waited_for_its_own_task_begins_once_there_is_room():
    for policies in ({"overlap": Overlap.DELAY}, {"catch_up": CatchUp.ALL}):
        old = candidate("a", slot=NOON - 61 * MINUTE, grace=60 * MINUTE, **policies)
        assert names(share([old], 1, NOON).begin) == ["a"]
        assert names(share([old], 0, NOON).expired) == ["a"]
