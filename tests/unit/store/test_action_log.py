"""The actions on record: put there, and found again."""

import pytest

from pyramid_cron.action_record import ActionKind, make_action
from pyramid_cron.planning.snapshot import PauseRule
from pyramid_cron.run import RunState
from pyramid_cron.store.action_log import ANY_ACTION, ActionFilter, list_actions, record_action
from tests.apps import NOON
from tests.records import MINUTE, claim, ended, slot, write


@pytest.fixture
def act(store):
    """Put an action on record, some minutes after noon; return it."""

    def act(minute, kind=ActionKind.RUN, who="ann", **what):
        action = make_action(kind, NOON + minute * MINUTE, who, **what)
        with store.write_session() as session:
            record_action(session, action)
        return action

    return act


def find(store, limit=10, **wanted):
    with store.read_session() as session:
        return list_actions(session, limit, ActionFilter(**wanted))


def test_an_action_is_read_as_it_was_put_on_record(store, act):
    details = {"reason": "moving 🚚", "until": None}
    action = act(
        0,
        ActionKind.PAUSE,
        "Zoë",
        task="a",
        schedule="s",
        run="0" * 26,
        pattern="a*",
        details=details,
    )
    assert find(store) == [action]
    assert action.details == {"reason": "moving 🚚"}


def test_actions_are_listed_newest_first_up_to_a_limit(store, act):
    actions = [act(minute) for minute in range(4)]
    assert find(store, 2) == [actions[3], actions[2]]
    assert find(store, before=actions[2].id) == [actions[1], actions[0]]
    with store.read_session() as session:
        assert list_actions(session, 1) == [actions[3]]
    assert ActionFilter() == ANY_ACTION


def test_actions_are_found_by_what_they_were(store, act):
    first = act(0, who="ann", run="1" * 26)
    second = act(1, ActionKind.PAUSE, "bob")
    assert find(store, kind=ActionKind.PAUSE) == [second]
    assert find(store, who="ann") == [first]
    assert find(store, who="Ann") == []
    assert find(store, run="1" * 26) == [first]
    assert find(store, since=NOON + MINUTE) == [second]
    assert find(store, until=NOON + MINUTE) == [first]


def test_actions_on_a_task_are_also_those_by_a_pattern_and_on_a_schedule_of_that_name(store, act):
    own = act(0, task="mail-a")
    scheduled = act(1, task="mail-a", schedule="weekly")
    all_mails = act(2, ActionKind.PAUSE, pattern="mail-*")
    act(3, ActionKind.PAUSE, pattern="re:^x")
    act(4, ActionKind.RESET)
    act(5, task="other")
    assert find(store, task="mail-a") == [all_mails, scheduled, own]
    assert find(store, 1, task="mail-a") == [all_mails]
    assert find(store, task="weekly") == [scheduled]


def test_who_is_stored_whatever_it_is(store, act):
    act(0, who="\0" + "ü" * 300)
    [action] = find(store)
    assert action.who == "\\x00" + "ü" * 196


def test_a_pause_after_failures_is_an_action(store):
    [run] = claim(store, slot("mail"))
    write(store, ended(run, RunState.FAILED), pause_after_failures=1)
    [action] = find(store)
    assert (action.kind, action.who, action.task) == ("pause", "pause_after", "mail")
    assert (action.run, action.details) == (run.id, {"reason": "1 failure"})
    assert action.at == run.slot + MINUTE / 60


def test_an_action_and_what_it_did_are_recorded_together(store, act):
    action = make_action(ActionKind.PAUSE, NOON, "ann", pattern="*")
    store.add_pause_rule(PauseRule(NOON, True, "*"), action)
    assert find(store) == [action]
