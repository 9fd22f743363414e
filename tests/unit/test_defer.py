"""``request.cron.defer``: once, at a later tick, with the work of the transaction that asks."""

from datetime import timedelta

import pytest
import transaction
from webtest import TestApp

from pyramid_cron import scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.store.retention import prune
from pyramid_cron.testing import CronTester
from tests.apps import NOON, Note, committed, configure, configure_with_database, cron_of

MINUTE = timedelta(minutes=1)
MODES = ["explicit", "implicit", "none"]


def ran(report):
    return [(run.task, run.trigger, run.state) for run in report.runs]


class TestWhen:
    @pytest.fixture
    def payloads(self):
        return []

    @pytest.fixture
    def cron(self, payloads):
        config = configure()
        config.add_cron_task(
            lambda system: payloads.append(system["payload"]), name="mail", on_demand=True
        )
        cron = cron_of(config)
        cron.tick(NOON)
        return cron

    @pytest.fixture
    def control(self, cron):
        return scheduler(cron.registry)

    def test_without_a_moment_it_runs_at_the_next_tick(self, cron, control, payloads):
        pending = control.defer("mail", {"to": ["ann", 3]})
        assert control.status("mail").waiting == 1
        assert ran(cron.tick(NOON + MINUTE)) == [("mail", "deferred", "succeeded")]
        assert payloads == [{"to": ["ann", 3]}]
        [run] = control.history("mail")
        assert (run.slot, run.payload) == (pending.slot, {"to": ["ann", 3]})
        assert ran(cron.tick(NOON + 2 * MINUTE)) == []

    def test_what_becomes_of_the_payload_later_plays_no_part(self, cron, control, payloads):
        given = {}
        for number in range(3):
            given["to"] = number
            pending = control.defer("mail", given)
            assert pending.payload == {"to": number}
        given["to"] = object()
        cron.tick(NOON + MINUTE)
        assert payloads == [{"to": 0}, {"to": 1}, {"to": 2}]

    @pytest.mark.parametrize(
        "when",
        [
            {"at": NOON + 90 * MINUTE},
            {"at": "2026-06-15T15:30:00+02:00"},
            {"at": "2026-06-15T13:30:00Z"},
            {"after": "90m"},
            {"after": 5400},
            {"after": timedelta(hours=1, minutes=30)},
        ],
    )
    def test_it_runs_at_the_first_tick_at_its_moment_or_later(self, cron, control, when):
        cron.tick(NOON)
        with_clock(cron, NOON)
        assert control.defer("mail", **when).slot == NOON + 90 * MINUTE
        assert ran(cron.tick(NOON + 89 * MINUTE)) == []
        assert len(cron.tick(NOON + 90 * MINUTE).runs) == 1
        [run] = control.history("mail")
        assert run.slot == NOON + 90 * MINUTE

    def test_an_interval_from_a_tick_is_over_with_a_tick(self, cron, control):
        control.defer("mail", after="10m")
        assert ran(cron.tick(NOON + 9 * MINUTE)) == []
        assert len(cron.tick(NOON + 10 * MINUTE).runs) == 1

    def test_a_tick_at_the_same_moment_is_the_next_one(self, cron, control):
        control.defer("mail")
        assert len(cron.tick(NOON).runs) == 1

    def test_a_moment_that_is_given_is_kept_to_the_microsecond(self, cron, control):
        moment = NOON + timedelta(microseconds=1)
        assert control.defer("mail", at=moment).slot == moment
        assert ran(cron.tick(NOON)) == []
        assert len(cron.tick(moment).runs) == 1

    def test_what_was_due_long_ago_runs_all_the_same(self, cron, control):
        control.defer("mail", at=NOON - timedelta(days=400))
        assert len(cron.tick(NOON + MINUTE).runs) == 1

    def test_each_call_is_a_run_of_its_own(self, cron, control):
        for _ in range(3):
            control.defer("mail", at=NOON)
        assert len(cron.tick(NOON + MINUTE).runs) == 3

    def test_the_same_key_twice_is_one_run(self, cron, control, payloads):
        control.defer("mail", 1, key="order 7")
        control.defer("mail", 2, key="order 7")
        control.defer("mail", 3, key="order 8")
        cron.tick(NOON + MINUTE)
        control.defer("mail", 4, key="order 7")
        cron.tick(NOON + 2 * MINUTE)
        assert sorted(payloads) == [1, 3]

    def test_a_key_is_free_again_once_its_run_is_forgotten(self, cron, control, payloads):
        control.defer("mail", 1, key="order 7")
        cron.tick(NOON + MINUTE)
        later = NOON + timedelta(days=40)
        prune(get_cron(cron.registry).store, later, 100, ["mail"], later)
        with_clock(cron, later)
        control.defer("mail", 2, key="order 7")
        cron.tick(later + MINUTE)
        assert payloads == [1, 2]

    def test_a_key_is_not_free_while_what_it_stands_for_waits(self, cron, control, payloads):
        control.pause("mail")
        control.defer("mail", 1, key="order 7")
        later = NOON + timedelta(days=40)
        prune(get_cron(cron.registry).store, later, 100, ["mail"], later)
        control.defer("mail", 2, key="order 7")
        control.resume("mail")
        cron.tick(later)
        prune(get_cron(cron.registry).store, later, 100, ["mail"], later)
        control.defer("mail", 3, key="order 7")
        cron.tick(later + MINUTE)
        assert payloads == [1]

    def test_the_key_of_what_was_due_long_ago_is_kept_with_its_run(self, cron, control, payloads):
        for number in range(3):
            control.defer("mail", number, key="order 7", at=NOON - timedelta(days=400))
            cron.tick(NOON + number * MINUTE)
            prune(get_cron(cron.registry).store, NOON - timedelta(days=30), 100, ["mail"], NOON)
        assert payloads == [0]

    def test_a_paused_task_runs_it_once_it_is_resumed(self, cron, control):
        control.pause("mail")
        control.defer("mail")
        assert ran(cron.tick(NOON + MINUTE)) == []
        control.resume("mail")
        assert len(cron.tick(NOON + 2 * MINUTE).runs) == 1

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"name": "mial"}, LookupError, "did you mean 'mail'"),
            ({"payload": {1, 2}}, TypeError, "JSON"),
            ({"at": NOON.replace(tzinfo=None)}, ValueError, "use an aware datetime"),
            ({"at": "tomorrow"}, ValueError, "use an aware datetime"),
            ({"after": "soon"}, ValueError, "after='soon'"),
            ({"after": -1}, ValueError, "after=-1"),
            ({"after": "99999999d"}, ValueError, "after='99999999d': .* at most 36525d"),
            ({"at": NOON, "after": 1}, ValueError, "use one of them"),
            ({"key": ""}, ValueError, "key=''"),
            ({"key": 7}, ValueError, "key=7"),
            ({"key": "x" * 201}, ValueError, "200 printable characters"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, control, arguments, error, message):
        with pytest.raises(error, match=message):
            control.defer(**{"name": "mail", **arguments})
        assert control.status("mail").waiting == 0


def with_clock(cron, moment):
    get_cron(cron.registry).clock = lambda: moment


@pytest.mark.parametrize("mode", MODES)
class TestInATask:
    def app(self, tmp_path, mode, work):
        config = configure_with_database(tmp_path, mode=mode)
        config.add_cron_task(work, name="work", hour=12)
        config.add_cron_task(lambda system: None, name="mail", on_demand=True)
        return config, cron_of(config)

    def test_it_comes_with_the_task_s_work(self, tmp_path, mode):
        def work(system):
            system["request"].dbsession.add(Note(text="order"))
            system["request"].cron.defer("mail")
            waiting.append(system["request"].cron.status("mail").waiting)

        waiting = []
        config, cron = self.app(tmp_path, mode, work)
        cron.tick(NOON)
        assert waiting == [0]
        assert committed(config) == ["order"]
        assert ran(cron.tick(NOON + MINUTE)) == [("mail", "deferred", "succeeded")]

    def test_it_goes_with_the_task_s_work(self, tmp_path, mode):
        def work(system):
            system["request"].cron.defer("mail")
            raise ValueError("no")

        _, cron = self.app(tmp_path, mode, work)
        cron.tick(NOON)
        assert ran(cron.tick(NOON + MINUTE)) == []

    def test_it_goes_with_the_savepoint_it_came_after(self, tmp_path, mode):
        def work(system):
            request = system["request"]
            request.cron.defer("mail", "before")
            outer = transaction_of(request).savepoint()
            request.cron.defer("mail", "between")
            inner = transaction_of(request).savepoint()
            request.dbsession.add(Note(text="order"))
            request.cron.defer("mail", "last")
            inner.rollback()
            waiting.append(request.cron.status("mail").waiting)
            request.cron.defer("mail", "again")
            outer.rollback()
            request.cron.defer("mail", "after")
            request.dbsession.add(Note(text="another"))

        waiting = []
        config, cron = self.app(tmp_path, mode, work)
        cron.tick(NOON)
        assert (waiting, committed(config)) == ([0], ["another"])
        assert [run.payload for run in cron.tick(NOON + MINUTE).runs] == ["before", "after"]

    def test_it_may_be_asked_for_once_the_transaction_is_committed(self, tmp_path, mode):
        def work(system):
            def hook(_):
                system["request"].cron.defer("mail")

            transaction_of(system["request"]).get().addAfterCommitHook(hook)

        _, cron = self.app(tmp_path, mode, work)
        cron.tick(NOON)
        assert ran(cron.tick(NOON + MINUTE)) == [("mail", "deferred", "succeeded")]

    def test_outside_of_the_request_it_is_the_task_s_transaction_too(self, tmp_path, mode):
        def work(system):
            scheduler(system["registry"]).defer("mail")
            transaction_of(system["request"]).doom()

        _, cron = self.app(tmp_path, mode, work)
        cron.tick(NOON)
        assert ran(cron.tick(NOON + MINUTE)) == []


def transaction_of(request):
    return getattr(request, "tm", None) or transaction.manager


@pytest.mark.parametrize("mode", ["explicit", "implicit"])
class TestInAView:
    def app(self, tmp_path, mode, view):
        config = configure_with_database(tmp_path, mode=mode)
        config.add_cron_task(lambda system: None, name="mail", on_demand=True)
        config.add_route("order", "/order")
        config.add_view(view, route_name="order", renderer="string")
        return config, TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})

    def test_it_is_there_once_the_request_is_committed(self, tmp_path, mode):
        def view(request):
            request.cron.defer("mail")
            return request.cron.status("mail").waiting

        config, app = self.app(tmp_path, mode, view)
        assert app.get("/order").text == "0"
        assert scheduler(config.registry).status("mail").waiting == 1

    def test_what_becomes_of_the_payload_before_the_commit_plays_no_part(self, tmp_path, mode):
        def view(request):
            order = {"number": 7}
            request.cron.defer("mail", order)
            order["when"] = object()

        config, app = self.app(tmp_path, mode, view)
        app.get("/order")
        assert scheduler(config.registry).status("mail").waiting == 1
        [run] = CronTester(app).tick().runs
        assert (run.state, run.payload) == ("succeeded", {"number": 7})

    def test_it_is_dropped_with_a_savepoint_that_it_came_after(self, tmp_path, mode):
        def view(request):
            savepoint = request.tm.savepoint()
            request.cron.defer("mail", "dropped")
            savepoint.rollback()
            request.cron.defer("mail", "kept")
            return ""

        config, app = self.app(tmp_path, mode, view)
        app.get("/order")
        assert scheduler(config.registry).status("mail").waiting == 1

    def test_it_is_dropped_with_the_request(self, tmp_path, mode):
        def view(request):
            request.cron.defer("mail")
            raise ZeroDivisionError

        config, app = self.app(tmp_path, mode, view)
        with pytest.raises(ZeroDivisionError):
            app.get("/order")
        assert scheduler(config.registry).status("mail").waiting == 0


@pytest.fixture
def manager():
    return transaction.TransactionManager(explicit=True)


class TestOutsideOfARequest:
    """``scheduler(registry, tm=...)``: with the transaction of a script."""

    @pytest.fixture
    def control(self, manager):
        config = configure()
        config.add_cron_task(lambda: None, name="mail", on_demand=True)
        config.commit()
        return scheduler(config.registry, tm=manager)

    def test_it_is_there_once_the_transaction_is_committed(self, manager, control):
        with manager:
            control.defer("mail")
            assert control.waiting() == []
        assert [run.task for run in control.waiting()] == ["mail"]

    def test_it_is_dropped_with_the_transaction(self, manager, control):
        manager.begin()
        control.defer("mail")
        manager.abort()
        assert control.waiting() == []

    def test_it_is_dropped_with_a_savepoint_that_it_came_after(self, manager, control):
        with manager as transaction_:
            savepoint = transaction_.savepoint()
            control.defer("mail")
            savepoint.rollback()
        assert control.waiting() == []

    def test_where_no_transaction_has_begun_it_is_there_at_once(self, control):
        assert control.defer("mail") in control.waiting()

    def test_a_thread_s_own_manager_will_do(self, control):
        control = scheduler(control._registry, tm=transaction.manager)
        control.defer("mail")
        transaction.abort()
        control.defer("mail", key="kept")
        transaction.commit()
        assert [run.key for run in control.waiting()] == ["kept"]

    def test_without_a_manager_no_transaction_is_joined(self, control):
        control = scheduler(control._registry)
        with transaction.manager:
            control.defer("mail")
            assert len(control.waiting()) == 1


@pytest.mark.parametrize("mode", ["none", "inactive"])
def test_where_nobody_commits_it_is_there_at_once(tmp_path, mode):
    config = configure_with_database(tmp_path, mode=mode)
    config.add_cron_task(lambda system: None, name="mail", on_demand=True)
    config.add_route("order", "/order")

    def view(request):
        request.cron.defer("mail")
        return request.cron.status("mail").waiting

    config.add_view(view, route_name="order", renderer="string")
    assert TestApp(config.make_wsgi_app()).get("/order").text == "1"


def test_what_can_not_be_written_after_the_commit_is_written_later(tmp_path, caplog):
    (tmp_path / "data").mkdir()
    config = configure(**{"cron.url": f"sqlite:///{tmp_path}/data/cron.sqlite"})

    def work(system):
        system["request"].cron.defer("mail")
        (tmp_path / "data").rename(tmp_path / "gone")

    config.add_cron_task(work, name="work", hour=12)
    config.add_cron_task(lambda system: None, name="mail", on_demand=True)
    app = config.make_wsgi_app()
    cron = CronTester(app)
    with_clock(cron, NOON)
    TestApp(app).get("/cron", extra_environ={"REMOTE_ADDR": "127.0.0.1"}, status=503)
    [line] = [each.getMessage() for each in caplog.records if "deferred later" in each.getMessage()]
    assert line.startswith("mail will be deferred later: cron.url ")
    (tmp_path / "gone").rename(tmp_path / "data")
    both = ran(cron.tick(NOON + MINUTE)) + ran(cron.tick(NOON + 2 * MINUTE))
    assert both == [("mail", "deferred", "succeeded")]
