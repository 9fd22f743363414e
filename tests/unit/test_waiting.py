"""What waits is a run with an id: to look at, to move, to replace, and to cancel."""

import sys
from datetime import timedelta

import pytest

from pyramid_cron import RunState, events, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.run import evolve
from pyramid_cron.store.queries import list_runs
from pyramid_cron.store.waiting import find_by_key
from tests.apps import NOON, Note, configure, configure_with_database, cron_of
from tests.records import MINUTE, SECOND, slot, wait
from tests.unit.test_defer import MODES, transaction_of

HOUR = 60 * MINUTE


@pytest.fixture
def config():
    config = configure()
    config.add_cron_task(lambda system: None, name="mail", on_demand=True)
    config.add_cron_task(lambda system: None, name="other", on_demand=True)
    return config


@pytest.fixture
def cron(config):
    cron = cron_of(config)
    cron.tick(NOON)
    get_cron(cron.registry).clock = lambda: NOON
    return cron


@pytest.fixture
def control(cron):
    return scheduler(cron.registry)


def store_of(control):
    return control._cron.store


class TestKeys:
    def test_the_same_key_returns_the_run_that_waits(self, control):
        first = control.defer("mail", 1, key="order 7", after="10m")
        assert control.defer("mail", 2, key="order 7") == first
        assert control.waiting() == [first]
        assert (first.state, first.payload, first.key) == (RunState.WAITING, 1, "order 7")
        assert (first.not_before, first.why) == (NOON + 10 * MINUTE, "later")

    def test_the_same_key_returns_the_run_that_is_over(self, cron, control):
        first = control.defer("mail", key="order 7")
        cron.tick(NOON + MINUTE)
        again = control.defer("mail", key="order 7", replace=True)
        assert (again.id, again.state) == (first.id, RunState.SUCCEEDED)
        assert control.waiting() == []

    def test_a_key_is_that_of_a_task(self, control):
        assert control.defer("mail", key="7").id != control.defer("other", key="7").id
        assert len(control.waiting()) == 2

    def test_a_run_that_waits_is_replaced(self, cron, control):
        first = control.defer("mail", 1, key="order 7", after="10m")
        second = control.defer("mail", 2, key="order 7", at=NOON + HOUR, replace=True)
        assert (second.id, second.payload, second.not_before) == (first.id, 2, NOON + HOUR)
        assert control.waiting() == [second]
        assert cron.tick(NOON + 10 * MINUTE).runs == ()
        [run] = cron.tick(NOON + HOUR).runs
        assert (run.id, run.payload, run.slot) == (first.id, 2, NOON + HOUR)

    def test_where_none_waits_there_is_nothing_to_replace(self, control):
        run = control.defer("mail", 1, key="order 7", replace=True)
        assert control.waiting() == [run]

    def test_replacing_needs_a_key(self, control):
        with pytest.raises(ValueError, match="replace=True: needs a key"):
            control.defer("mail", replace=True)

    def test_a_run_is_found_by_its_key_waiting_or_over(self, cron, control):
        store = store_of(control)
        assert find_by_key(store, "mail", "7") is None
        run = control.defer("mail", key="7")
        assert find_by_key(store, "mail", "7") == run
        assert find_by_key(store, "other", "7") is None
        cron.tick(NOON + MINUTE)
        assert find_by_key(store, "mail", "7").state is RunState.SUCCEEDED


@pytest.mark.parametrize("mode", MODES)
class TestKeysInATransaction:
    def after(self, tmp_path, mode, work):
        """Let a task work; return what the scheduler has afterwards."""

        def first(system):
            work(system["request"])
            system["request"].dbsession.add(Note(text="work"))

        config = configure_with_database(tmp_path, mode=mode)
        config.add_cron_task(first, name="work", hour=12)
        config.add_cron_task(lambda system: None, name="mail", on_demand=True)
        cron = cron_of(config)
        scheduler(cron.registry).defer("mail", "old", at=NOON + HOUR, key="old")
        cron.tick(NOON)
        return scheduler(cron.registry)

    def test_twice_is_one_run(self, tmp_path, mode):
        def work(request):
            first = request.cron.defer("mail", 1, key="new")
            assert request.cron.defer("mail", 2, key="new") == first
            returned.append(first)

        returned = []
        [run, _] = self.after(tmp_path, mode, work).waiting("mail")
        assert (run.id, run.payload) == (returned[0].id, 1)

    def test_the_second_replaces_the_first(self, tmp_path, mode):
        def work(request):
            first = request.cron.defer("mail", 1, key="new")
            second = request.cron.defer("mail", 2, key="new", at=NOON + 2 * HOUR, replace=True)
            assert (second.id, second.payload) == (first.id, 2)

        [_, run] = self.after(tmp_path, mode, work).waiting("mail")
        assert (run.payload, run.not_before) == (2, NOON + 2 * HOUR)

    def test_one_that_waits_on_record_is_returned_or_replaced(self, tmp_path, mode):
        def work(request):
            run = request.cron.defer("mail", "new", key="old")
            assert run.payload == "old"
            request.cron.defer("mail", "new", at=NOON + 2 * HOUR, key="old", replace=True)

        [run] = self.after(tmp_path, mode, work).waiting("mail")
        assert (run.payload, run.slot) == ("new", NOON + 2 * HOUR)

    def test_an_abort_leaves_what_waited_as_it_was(self, tmp_path, mode):
        def work(request):
            request.cron.defer("mail", "new", key="old", replace=True)
            request.cron.defer("mail", "new", key="new")
            raise ValueError("no")

        [run] = self.after(tmp_path, mode, work).waiting("mail")
        assert (run.payload, run.key) == ("old", "old")

    def test_the_key_of_what_a_savepoint_dropped_is_free(self, tmp_path, mode):
        def work(request):
            savepoint = transaction_of(request).savepoint()
            request.cron.defer("mail", "dropped", key="new")
            savepoint.rollback()
            request.cron.defer("mail", "kept", key="new")

        [run, _] = self.after(tmp_path, mode, work).waiting("mail")
        assert (run.payload, run.key) == ("kept", "new")

    def test_a_savepoint_drops_a_replacement_and_not_what_came_before(self, tmp_path, mode):
        def work(request):
            request.cron.defer("mail", "first", key="new")
            savepoint = transaction_of(request).savepoint()
            request.cron.defer("mail", "second", key="new", replace=True)
            savepoint.rollback()
            assert request.cron.defer("mail", "third", key="new").payload == "first"

        [run, _] = self.after(tmp_path, mode, work).waiting("mail")
        assert run.payload == "first"


class TestRescheduling:
    def test_a_run_begins_at_its_new_moment(self, cron, control):
        run = control.defer("mail", after="10m")
        moved = control.reschedule(run.id, after="1h")
        assert (moved.id, moved.not_before, moved.slot) == (run.id, NOON + HOUR, run.slot)
        assert control.waiting() == [moved]
        assert cron.tick(NOON + 10 * MINUTE).runs == ()
        assert [run.id for run in cron.tick(NOON + HOUR).runs] == [run.id]

    def test_nothing_else_of_it_changes(self, control):
        run = control.defer("mail", {"order": 7}, after="10m", key="order 7")
        moved = control.reschedule(run.id, at=NOON + HOUR)
        assert moved == evolve(run, not_before=NOON + HOUR) == control.get_run(run.id)

    def test_a_run_may_begin_earlier(self, cron, control):
        run = control.defer("mail", after="1h")
        assert control.reschedule(run.id[:20]).not_before == NOON
        assert [run.id for run in cron.tick(NOON + MINUTE).runs] == [run.id]

    def test_what_does_not_wait_is_refused(self, cron, control):
        run = control.defer("mail")
        cron.tick(NOON + MINUTE)
        with pytest.raises(ValueError, match="it does not wait, it is succeeded"):
            control.reschedule(run.id)

    def test_an_unknown_run_or_a_wrong_moment_is_refused(self, control):
        with pytest.raises(LookupError, match="there is no run"):
            control.reschedule("0" * 26)
        run = control.defer("mail")
        with pytest.raises(ValueError, match="use one of them"):
            control.reschedule(run.id, at=NOON, after=1)


class TestCancelling:
    def test_a_run_that_waits_is_over_at_once_and_never_runs(self, config, caplog):
        heard = []
        config.add_subscriber(heard.append, events.RunCancelled)
        cron = cron_of(config)
        control = scheduler(cron.registry)
        run = control.defer("mail", {"order": 7})
        with caplog.at_level("INFO", "pyramid_cron"):
            returned = control.cancel(run.id)
        [over] = control.history()
        assert returned == over
        assert (over.id, over.state, over.payload) == (run.id, RunState.CANCELLED, {"order": 7})
        assert (over.error, over.started) == ("was cancelled before it began", None)
        assert (over.not_before, over.why) == (None, None)
        assert [event.run.id for event in heard] == [run.id]
        assert f"run={run.id} " in caplog.text
        assert control.waiting() == []
        assert cron.tick().runs == ()
        with pytest.raises(ValueError, match="is over"):
            control.cancel(run.id)

    def test_of_an_active_run_it_is_requested(self, config, monkeypatch):
        def cancel_itself(system):
            returned.append(scheduler(config.registry).cancel(system["run"].id))

        returned = []
        config.add_cron_task(cancel_itself, name="active", on_demand=True)
        cron = cron_of(config)
        # As if it ran in another process: it is not interrupted here.
        monkeypatch.setattr(get_cron(cron.registry).supervisor, "cancel", lambda run_id: None)
        run = cron.run("active")
        [active] = returned
        assert (active.id, active.is_cancel_requested) == (run.id, True)
        assert active.state.is_active

    def test_all_that_wait_of_a_task_are_cancelled(self, control):
        for name in ("mail", "mail", "other"):
            control.defer(name)
        assert control.cancel_all("mail") == 2
        assert [run.task for run in control.waiting()] == ["other"]
        assert control.cancel_all("mail") == 0

    def test_all_of_a_trigger_are_cancelled(self, control):
        wait(store_of(control), [slot("mail")])
        control.defer("mail")
        assert control.cancel_all("mail", trigger="deferred") == 1
        assert [run.trigger for run in control.waiting()] == ["schedule"]

    def test_there_may_be_more_than_one_transaction_takes(self, control, monkeypatch):
        monkeypatch.setattr(sys.modules["pyramid_cron.scheduler"], "CANCEL_BATCH_SIZE", 2)
        for _ in range(5):
            control.defer("mail")
        assert control.cancel_all("mail") == 5

    def test_what_follows_a_slot_of_a_fixed_delay_goes_on_waiting(self, config):
        config.add_cron_task(lambda system: None, name="poll", every="10m", overlap="delay")
        cron = cron_of(config)
        control = scheduler(cron.registry)
        cron.tick(NOON)
        assert [run.slot for run in control.waiting("poll")] == [NOON + 10 * MINUTE]
        cron.tick(NOON + MINUTE)
        assert control.cancel_all("poll") == 1
        assert [run.slot for run in control.waiting("poll")] == [NOON + 11 * MINUTE]

    @pytest.mark.parametrize("name", ["nope", "no\0name", 5])
    def test_there_is_nothing_to_cancel_of_what_is_no_task(self, control, name):
        with pytest.raises(LookupError, match="there is no cron task named"):
            control.cancel_all(name)

    def test_what_waits_of_a_removed_task_is_cancelled_too(self, control):
        wait(store_of(control), [slot("gone")])
        assert control.cancel_all("gone") == 1
        with pytest.raises(LookupError, match="gone"):
            control.cancel_all("gone")

    def test_an_unknown_trigger_is_refused(self, control):
        with pytest.raises(ValueError, match="trigger='hand': must be one of schedule, catch_up"):
            control.cancel_all("mail", trigger="hand")


class TestLists:
    def test_the_next_is_the_first(self, control):
        late = control.defer("mail", after="2h")
        soon = control.defer("other", after="1h")
        assert control.waiting() == [soon, late]
        assert control.waiting(limit=1) == [soon]
        assert control.waiting("mail") == [late]
        assert control.waiting("unknown") == control.waiting("no\0name") == []

    def test_only_those_with_a_trigger_are_listed(self, control):
        wait(store_of(control), [slot("mail")])
        run = control.defer("mail")
        assert control.waiting(trigger="deferred") == [run]
        assert control.waiting("other", trigger="deferred") == []
        with pytest.raises(ValueError, match="trigger='hand': must be one of schedule, catch_up"):
            control.waiting(trigger="hand")

    def test_a_limit_that_makes_no_sense_is_refused(self, control):
        with pytest.raises(ValueError, match="limit=0"):
            control.waiting(limit=0)

    def test_history_has_them_only_where_they_are_asked_for(self, control):
        run = control.defer("mail")
        assert control.history() == []
        assert control.history(state="waiting") == [run]

    def test_pages_of_all_states_end_with_them(self, control):
        for _ in range(3):
            control.defer("mail", after="1h")
        control.run("mail")
        pages, before = [], None
        while page := list_runs(store_of(control), 1, states=list(RunState), before=before):
            before = page[0].id
            pages += page
        assert [run.state.value for run in pages] == ["succeeded", *["waiting"] * 3]
        assert len({run.id for run in pages}) == 4


class TestRetries:
    def test_it_returns_the_next_attempt(self, control):
        run = control.cancel(control.defer("mail", {"order": 7}).id)
        retry = control.retry(run.id)
        assert (retry.state, retry.attempt, retry.why) == (RunState.WAITING, 2, "retry")
        assert (retry.slot, retry.payload, retry.not_before) == (run.slot, {"order": 7}, NOON)
        assert control.waiting() == [retry]
        assert control.get_run(retry.id) == retry

    def test_twice_is_one_run_which_may_begin_at_once(self, control):
        run = control.cancel(control.defer("mail").id)
        retry = control.retry(run.id)
        assert control.reschedule(retry.id, after="1h").not_before == NOON + HOUR
        assert control.retry(run.id) == retry


class TestShortIds:
    def runs(self, control, count=2):
        """Runs whose ids have ten characters or more in common."""
        moments = [NOON + number * SECOND / 1000 for number in range(count)]
        return [control.defer("mail", at=moment) for moment in moments]

    def test_an_unambiguous_beginning_will_do(self, control):
        first, second = (
            control.defer("mail", at=NOON + number * timedelta(days=1)) for number in range(2)
        )
        length = next(n for n in range(26) if first.id[:n] != second.id[:n])
        assert control.get_run(first.id[:length]).id == first.id
        assert control.get_run(second.id[:25]).id == second.id
        assert control.get_run(second.id).id == second.id

    def test_an_ambiguous_one_is_refused(self, control):
        ids = [run.id for run in self.runs(control)]
        with pytest.raises(LookupError) as refused:
            control.get_run(ids[0][:4])
        assert refused.value.args[0] == (
            f"the ids of 2 runs begin with {ids[0][:4]!r}: {ids[0]}, {ids[1]}; give more characters"
        )

    def test_of_many_only_some_are_named(self, control):
        ids = [run.id for run in self.runs(control, 5)]
        with pytest.raises(LookupError) as refused:
            control.get_run(ids[0][:4])
        message = refused.value.args[0]
        assert message.startswith(f"the ids of more than 3 runs begin with {ids[0][:4]!r}: ")
        assert sum(run_id in message for run_id in ids) == 3

    def test_one_of_less_than_four_characters_is_too_short(self, control):
        run = control.defer("mail")
        assert control.get_run(run.id[:4]).id == run.id
        with pytest.raises(LookupError, match=f"'{run.id[:3]}' is too short .* 4 characters or"):
            control.get_run(run.id[:3])

    @pytest.mark.parametrize("run_id", ["ffff", "0" * 27, "%%%%", "abcg", "", None, 7])
    def test_what_begins_no_id_is_none(self, control, run_id):
        control.defer("mail")
        with pytest.raises(LookupError, match="there is no run"):
            control.get_run(run_id)

    def test_it_will_do_for_cancelling(self, control):
        control.cancel(control.defer("mail").id[:6])
        assert control.waiting() == []
