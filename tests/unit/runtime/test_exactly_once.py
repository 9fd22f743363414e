"""The end of a run in the task's own transaction: work and record together, or neither."""

import sqlite3
from datetime import timedelta

import pytest
import transaction
import zope.sqlalchemy
from pyramid.httpexceptions import HTTPBadRequest
from pyramid.response import Response
from sqlalchemy import create_engine, event, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import sessionmaker
from transaction import TransactionManager
from webtest import TestApp

from pyramid_cron import StoreError, TaskTimeout, events, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.run import RunState
from pyramid_cron.runtime.task_session import shares_database
from pyramid_cron.store.ends import Claim, End, insert_end, take_end
from pyramid_cron.store.schema import make_tables
from pyramid_cron.testing import CronTester
from tests.apps import NOON, configure
from tests.databases import SHARED, place
from tests.exactly import MODES, Books, close_all

MINUTE = timedelta(minutes=1)


@pytest.fixture(params=SHARED)
def shared(request, tmp_path):
    with place(request.param, tmp_path) as found:
        yield found
        close_all()
        found.execute(f"DROP TABLE IF EXISTS {found.prefix}ledger")


@pytest.fixture(params=[kind for kind in SHARED if kind != "file"])
def server(request, tmp_path):
    with place(request.param, tmp_path) as found:
        yield found
        close_all()
        found.execute(f"DROP TABLE IF EXISTS {found.prefix}ledger")


@pytest.fixture
def file(tmp_path):
    with place("file", tmp_path) as found:
        yield found
        close_all()


def states(tester, name="work"):
    runs = scheduler(tester.registry).history(name)
    return [(run.attempt, run.state) for run in reversed(runs)]


def ends(found):
    with found.connection() as connection:
        return connection.execute(select(make_tables(found.prefix).ends)).all()


def rows_of_later(session, found):
    """Return the rows of the task ``later`` as a session sees them in its transaction."""
    runs = make_tables(found.prefix).runs
    return session.execute(select(runs.c.id).where(runs.c.task == "later")).all()


class TestTogether:
    @pytest.mark.parametrize("mode", MODES)
    def test_whoever_ends_the_transactions(self, file, mode):
        self.check_work_and_record(file, mode)

    @pytest.mark.parametrize("mode", ["explicit", "plain connection"])
    def test_work_and_record_are_committed(self, shared, mode):
        self.check_work_and_record(shared, mode)

    def check_work_and_record(self, shared, mode):
        books = Books(shared, mode)
        books.add_task("work", lambda system: books.write(system["request"], "done"))
        tester = books.tester()
        assert [run.state for run in tester.tick(NOON).runs] == ["succeeded"]
        assert books.written() == ["done"]
        assert states(tester) == [(1, "succeeded")]
        assert ends(shared) == []

    @pytest.mark.parametrize("mode", MODES)
    def test_a_failed_task_leaves_nothing(self, file, mode):
        books = Books(file, mode)

        def fail(system):
            books.write(system["request"], "half")
            raise ValueError("no")

        books.add_task("work", fail)
        books.add_task("other", lambda system: books.write(system["request"], "other"))
        tester = books.tester()
        assert sorted(run.state for run in tester.tick(NOON).runs) == ["failed", "succeeded"]
        assert books.written() == ["other"]
        assert ends(file) == []

    @pytest.mark.parametrize("mode", MODES)
    def test_a_task_that_does_nothing_has_its_end_committed(self, file, mode, monkeypatch):
        books = Books(file, mode)
        books.add_task("work", lambda: None)
        tester = books.tester()
        cron = get_cron(tester.registry)
        monkeypatch.setattr(cron.supervisor, "flush", lambda: None)
        monkeypatch.setattr(cron.supervisor, "_flush", lambda: None)
        tester.tick(NOON)
        [end] = ends(file)
        assert end.state == "succeeded"

    @pytest.mark.parametrize("mode", ["explicit", "implicit"])
    def test_a_doomed_task_leaves_no_work(self, file, mode):
        books = Books(file, mode)

        def work(system):
            books.write(system["request"], "doomed")
            system["request"].tm.doom()

        books.add_task("work", work)
        tester = books.tester()
        assert [run.state for run in tester.tick(NOON).runs] == ["succeeded"]
        assert (books.written(), ends(file)) == ([], [])

    def test_in_a_thread(self, shared):
        books = Books(shared)
        books.add_task(
            "work", lambda system: books.write(system["request"], "done"), executor="thread"
        )
        tester = books.tester()
        assert [run.state for run in tester.tick(NOON).runs] == ["succeeded"]
        assert (books.written(), ends(shared)) == (["done"], [])

    @pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
    @pytest.mark.parametrize("mode", ["explicit", "plain connection"])
    def test_a_heartbeat_does_no_harm(self, server, isolation, mode):
        books = Books(server, mode, isolation)

        def work(system):
            books.write(system["request"], "done")
            cron = get_cron(system["registry"])
            for execution in cron.supervisor.executions.all():
                execution.lease_until -= timedelta(seconds=50)
            cron.supervisor.executions.heartbeat()
            system["progress"](1)
            cron.supervisor._flush()

        books.add_task("work", work)
        tester = books.tester()
        assert [run.state for run in tester.tick(NOON).runs] == ["succeeded"]
        assert books.written() == ["done"]


class TestLateFinisher:
    @pytest.mark.parametrize("mode", ["explicit", "plain session"])
    def test_a_process_that_woke_after_its_lease_commits_nothing(self, shared, mode):
        waker = Books(shared)
        waker.add_task("work", lambda system: waker.write(system["request"], "second"))
        second = waker.tester()

        def sleep(system):
            second.tick(NOON + 5 * MINUTE)
            sleeper.write(system["request"], "first")

        sleeper = Books(shared, mode)
        sleeper.add_task("work", sleep)
        first = sleeper.tester()
        [run] = first.tick(NOON).runs
        assert (run.state, run.error.endswith("lease expired")) == ("cancelled", True)
        assert sleeper.written() == ["second", "second"]  # the lost slot's, and that of 12:05
        assert states(first)[:2] == [(1, "lost"), (2, "succeeded")]
        assert [end.state for end in ends(shared)] == ["lost"]

    def test_who_is_committing_is_not_taken_for_lost(self, server):
        store = server.store()
        store.open()
        engine = create_engine(server.url)
        end = End("0" * 26, RunState.SUCCEEDED, NOON, NOON)
        lost = End("0" * 26, RunState.LOST, NOON, NOON)
        with engine.connect() as connection:
            insert_end(connection, store.tables, end)
            with store.write_session() as session:
                assert take_end(session, lost) is Claim.BUSY
                assert take_end(session, End("1" * 26, RunState.LOST, None, NOON)) is Claim.TAKEN
            connection.commit()
        with store.write_session() as session:
            assert take_end(session, lost) is Claim.DUPLICATE
        engine.dispose()
        store.database.dispose()


class TestLostAttempts:
    @pytest.fixture
    def make(self, file):
        def make(**arguments):
            books = Books(file)

            def work(system):
                books.write(system["request"], str(system["run"].attempt))

            books.add_task("work", work, **arguments)
            return books.tester()

        return make

    def test_a_lost_run_is_tried_once_more(self, make, file):
        killed = make(on_demand=True)
        defer(killed)
        claim(killed, NOON)
        tester = make(on_demand=True)
        tester.tick(NOON + 2 * MINUTE)
        assert states(tester) == [(1, "lost"), (2, "succeeded")]

    def test_only_once_by_default(self, make):
        killed = make(on_demand=True)
        defer(killed)
        claim(killed, NOON)
        killed = make(on_demand=True)
        claim(killed, NOON + 2 * MINUTE)
        tester = make(on_demand=True)
        tester.tick(NOON + 4 * MINUTE)
        assert states(tester) == [(1, "lost"), (2, "lost")]
        tester.tick(NOON + 5 * MINUTE)
        assert len(states(tester)) == 2

    def test_beside_the_attempts_of_retry(self, make):
        for minute in (0, 2, 4):
            killed = make(on_demand=True, retry=2, lost_attempts=2)
            if not minute:
                defer(killed)
            claim(killed, NOON + minute * MINUTE)
        tester = make(on_demand=True, retry=2, lost_attempts=2)
        tester.tick(NOON + 6 * MINUTE)
        assert states(tester) == [(1, "lost"), (2, "lost"), (3, "lost")]
        tester.tick(NOON + 7 * MINUTE)
        assert states(tester)[-1] == (4, "succeeded")

    @pytest.mark.parametrize("arguments", [{"transactional": False}, {"lost_attempts": 0}])
    def test_a_task_may_opt_out(self, make, arguments):
        killed = make(on_demand=True, **arguments)
        defer(killed)
        claim(killed, NOON)
        tester = make(on_demand=True, **arguments)
        tester.tick(NOON + 2 * MINUTE)
        assert states(tester) == [(1, "lost")]


def defer(tester):
    tester._set_clock(NOON)
    return scheduler(tester.registry).defer("work")


def claim(tester, at):
    """Claim what is due at a moment for a process that is gone then."""
    cron = get_cron(tester.registry)
    tester._set_clock(at)
    lease_until = at + timedelta(seconds=60)
    with cron.store.claim_transaction(at, lease_until) as claims:
        claims.expire_leases(cron.outcome_of, cron.task_registry.by_name)
        waiting = claims.snapshot().waiting
        claimed, _ = claims.claim(waiting)
    assert claimed


class TestOptOut:
    def test_the_record_is_kept_apart(self, file, monkeypatch):
        books = Books(file)

        def work(system):
            books.write(system["request"], "done")
            zope.sqlalchemy.mark_changed(system["request"].db, system["request"].tm)

        books.add_task("work", work, transactional=False)
        tester = books.tester()
        cron = get_cron(tester.registry)
        monkeypatch.setattr(cron.supervisor, "flush", lambda: None)
        monkeypatch.setattr(cron.supervisor, "_flush", lambda: None)
        tester.tick(NOON)
        assert (books.written(), ends(file)) == (["done"], [])

    @pytest.mark.parametrize("mode", ["plain session", "plain connection"])
    def test_a_plain_session_is_committed_all_the_same(self, file, mode):
        books = Books(file, mode)
        books.add_task(
            "work", lambda system: books.write(system["request"], "done"), transactional=False
        )
        books.tester().tick(NOON)
        assert books.written() == ["done"]


class TestOtherDatabase:
    @pytest.mark.parametrize("url", ["sqlite://", "sqlite:///{folder}/other.sqlite"])
    def test_is_refused_by_the_first_tick(self, file, tmp_path, url):
        books = Books(file, settings={"cron.url": url.format(folder=tmp_path)})
        books.add_task("work", lambda: None)
        tester = books.tester()
        with pytest.raises(StoreError, match=r"the store is in .*, and the session in another"):
            tester.tick(NOON)
        assert scheduler(tester.registry).history() == []

    def test_names_both(self, file, tmp_path):
        other = f"sqlite:///{tmp_path}/other.sqlite"
        books = Books(file, settings={"cron.url": other})
        with pytest.raises(StoreError) as refused:
            books.tester().tick(NOON)
        assert other in str(refused.value)
        assert str(file.url) in str(refused.value)

    def test_a_server_beside_a_file(self, server, tmp_path):
        books = Books(server, settings={"cron.url": f"sqlite:///{tmp_path}/cron.sqlite"})
        with pytest.raises(StoreError, match="the session in another database"):
            books.tester().tick(NOON)

    def test_two_databases_of_one_server(self, server):
        """Where the other has no such tables, or has some of another store."""
        store = server.store()
        store.open()
        name = "mysql" if server.kind == "mariadb" else "postgres"
        for url, is_same in [(server.url, True), (server.url.set(database=name), False)]:
            engine = create_engine(url)
            assert shares_database(store, engine) is is_same
            engine.dispose()
        store.database.dispose()

    def test_another_session_at_each_call_is_refused(self, file):
        books = Books(file)
        tester = books.tester()
        get_cron(tester.registry).get_session = lambda _: books.session_class()
        with pytest.raises(StoreError, match="returns another session at each call"):
            tester.tick(NOON)

    def test_a_file_by_another_spelling_is_the_same(self, file, tmp_path):
        (tmp_path / "link").symlink_to(tmp_path)
        books = Books(file, settings={"cron.url": f"sqlite:///{tmp_path}/link/cron.sqlite"})
        books.add_task("work", lambda: None)
        assert len(books.tester().tick(NOON).runs) == 1


class TestCommitThatRaises:
    """Only the database knows then whether it has happened."""

    def test_and_has_happened(self, shared, caplog):
        books = Books(shared, "plain session")
        books.add_task("work", self.raising_after_commit(books))
        tester = books.tester()
        assert [run.state for run in tester.tick(NOON).runs] == ["succeeded"]
        assert (books.written(), ends(shared)) == (["done"], [])
        assert "committed, though that raised" in caplog.text

    @staticmethod
    def raising_after_commit(books):
        def work(system):
            session = system["request"].db
            books.write(system["request"], "done")
            commit = session.commit

            def commit_and_raise():
                commit()
                raise OperationalError("COMMIT", {}, Exception("connection lost"))

            session.commit = commit_and_raise

        return work

    def test_and_has_not(self, shared):
        books = Books(shared, "plain session")

        def work(system):
            books.write(system["request"], "done")

            def fail():
                raise OperationalError("COMMIT", {}, Exception("connection lost"))

            system["request"].db.commit = fail

        books.add_task("work", work)
        tester = books.tester()
        assert [run.state for run in tester.tick(NOON).runs] == ["failed"]
        assert books.written() == []
        assert [end.state for end in ends(shared)] == ["failed"]  # none that comes late counts
        assert states(tester) == [(1, "failed")]

    def test_and_has_not_which_was_recorded_without_an_answer(self, file):
        """The failure is told as it was, though its end is on record already."""
        books = Books(file, "plain session")

        def work(system):
            store = get_cron(system["registry"]).store
            settle = store.settle_end

            def settle_and_raise(end):
                settle(end)
                raise StoreError("connection lost")

            store.settle_end = settle_and_raise

            def fail():
                raise OperationalError("COMMIT", {}, Exception("connection lost"))

            system["request"].db.commit = fail

        books.add_task("work", work)
        tester = books.tester()
        tester.tick(NOON)
        [run] = scheduler(tester.registry).history("work")
        assert (run.state, "connection lost" in run.error) == ("failed", True)


class TestBusyFile:
    """SQLite has one writer at a time, and others wait for it as long as they like."""

    @pytest.fixture
    def other(self, file):
        connection = sqlite3.connect(file.url.database, isolation_level=None)
        yield connection
        connection.close()

    @pytest.mark.parametrize("mode", ["explicit", "none", "plain session", "plain connection"])
    def test_who_has_written_nothing_has_succeeded_all_the_same(self, file, other, mode):
        books = Books(file, mode)

        def work(system):
            system["request"].db.execute(text("PRAGMA busy_timeout = 0"))
            other.execute("BEGIN IMMEDIATE")

        books.add_task("work", work)
        books.config.add_subscriber(lambda _: other.rollback(), events.RunSucceeded)
        tester = books.tester()
        assert [run.state for run in tester.tick(NOON).runs] == ["succeeded"]
        assert states(tester) == [(1, "succeeded")]
        assert ends(file) == []

    @pytest.mark.parametrize("mode", ["explicit", "plain session"])
    def test_a_commit_that_is_refused_costs_an_attempt_and_no_run(self, file, other, mode):
        books = Books(file, mode)

        def work(system):
            session = system["request"].db
            session.execute(text("PRAGMA busy_timeout = 0"))
            books.write(system["request"], "done")
            if system["run"].attempt == 1:
                other.execute("BEGIN")
                other.execute("SELECT * FROM ledger_of_others").fetchall()
                event.listen(session, "after_transaction_end", lambda *_: other.rollback())

        file.execute("CREATE TABLE ledger_of_others (text)")
        books.add_task("work", work, hour=12)
        tester = books.tester()
        [run] = tester.tick(NOON).runs
        assert run.state == "lost"
        assert run.error.startswith("lost: its work was not committed: sqlalchemy.exc.")
        assert run.error.endswith("database is locked")
        assert books.written() == []
        tester.tick(NOON + MINUTE)
        assert (states(tester), books.written()) == ([(1, "lost"), (2, "succeeded")], ["done"])

    def test_a_statement_that_is_refused_is_the_tasks_own_failure(self, file, other):
        books = Books(file, "plain session")

        def work(system):
            system["request"].db.execute(text("PRAGMA busy_timeout = 0"))
            other.execute("BEGIN IMMEDIATE")
            try:
                books.write(system["request"], "done")
            finally:
                other.rollback()

        books.add_task("work", work, hour=12)
        tester = books.tester()
        tester.tick(NOON)
        assert states(tester) == [(1, "failed")]
        assert scheduler(tester.registry).waiting() == []


class TestReadAtOnce:
    def test_a_run_whose_process_died_after_its_commit_has_succeeded(self, shared):
        books = Books(shared)
        books.add_task("work", lambda: None, on_demand=True)
        tester = books.tester()
        cron, control = get_cron(tester.registry), scheduler(tester.registry)
        run = defer(tester)
        claim(tester, NOON)
        with books.engine.begin() as connection:
            end = End(run.id, RunState.SUCCEEDED, NOON, NOON + timedelta(seconds=3))
            insert_end(connection, cron.store.tables, end)
        assert [found.state for found in control.history("work", "succeeded")] == ["succeeded"]
        assert control.history("work", "claimed") == []
        status = control.status("work")
        assert (status.last.id, status.last.duration, status.running) == (run.id, 3, ())
        tester.tick(NOON + 2 * MINUTE)
        assert states(tester) == [(1, "succeeded")]
        assert ends(shared) == []


class TestDeferred:
    """What a task or a request asks for is a row of its own transaction."""

    @pytest.fixture(params=["defer", "schedule"])
    def ask(self, request):
        if request.param == "defer":
            return lambda cron: cron.defer("later", key="one")
        return lambda cron: cron.schedule("nightly", "later", hour=2)

    def on_record(self, tester):
        control = scheduler(tester.registry)
        return len(control.waiting("later")) + len(control.schedules("later"))

    @pytest.mark.parametrize("mode", MODES)
    def test_is_committed_with_it(self, file, mode, ask):
        books, seen = Books(file, mode), []

        def work(system):
            ask(system["request"].cron)
            ask(system["request"].cron)
            seen.append(self.on_record(tester))

        books.add_task("work", work, hour=12)
        books.add_task("later", lambda: None, on_demand=True)
        tester = books.tester()
        assert [run.state for run in tester.tick(NOON).runs] == ["succeeded"]
        assert (seen, self.on_record(tester)) == ([0], 1)

    @pytest.mark.parametrize("mode", MODES)
    def test_is_dropped_with_it(self, file, mode, ask):
        books = Books(file, mode)

        def work(system):
            ask(system["request"].cron)
            raise ValueError("no")

        books.add_task("work", work, hour=12)
        books.add_task("later", lambda: None, on_demand=True)
        tester = books.tester()
        tester.tick(NOON)
        assert self.on_record(tester) == 0

    def test_on_a_server(self, server, ask):
        books = Books(server)
        books.add_task("work", lambda system: ask(system["request"].cron), hour=12)
        books.add_task("later", lambda: None, on_demand=True)
        tester = books.tester()
        assert [run.state for run in tester.tick(NOON).runs] == ["succeeded"]
        assert self.on_record(tester) == 1

    @pytest.mark.parametrize("mode", ["explicit", "implicit", "plain session"])
    @pytest.mark.parametrize("fails", [False, True])
    def test_in_a_view(self, file, mode, fails, ask):
        books = Books(file, mode)

        def view(request):
            books.write(request, "order")
            ask(request.cron)
            if fails:
                raise HTTPBadRequest
            if mode == "plain session":
                request.db.commit()
            return Response("ok")

        books.config.add_route("order", "/order")
        books.config.add_view(view, route_name="order")
        books.add_task("later", lambda: None, on_demand=True)
        tester = books.tester()
        TestApp(books.config.make_wsgi_app()).get("/order", status=400 if fails else 200)
        assert books.written() == ([] if fails else ["order"])
        assert self.on_record(tester) == (not fails)

    @pytest.mark.parametrize("mode", ["explicit", "plain session", "plain connection"])
    @pytest.mark.parametrize("times", [1, 2])
    def test_what_goes_on_between_ticks_is_woken_after_the_commit(self, file, mode, times, ask):
        books, seen = Books(file, mode), []

        def view(request):
            for _ in range(times):
                ask(request.cron)
            seen.append("asked")
            if mode.startswith("plain"):
                request.db.commit()
            return Response("ok")

        books.config.add_route("order", "/order")
        books.config.add_view(view, route_name="order")
        books.add_task("later", lambda: None, on_demand=True)
        tester = books.tester()
        cron = get_cron(tester.registry)
        cron.on_deferred = lambda: seen.append(self.on_record(tester))
        TestApp(books.config.make_wsgi_app()).get("/order")
        assert seen[0] == "asked"
        assert seen[-1] > 0

    def test_a_schedule_is_found_again_in_its_transaction(self, file):
        books = Books(file)

        def work(system):
            system["request"].cron.schedule("nightly", "later", hour=2)
            system["request"].cron.unschedule("nightly")

        books.add_task("work", work, hour=12)
        books.add_task("later", lambda: None, on_demand=True)
        tester = books.tester()
        assert [run.state for run in tester.tick(NOON).runs] == ["succeeded"]
        assert self.on_record(tester) == 0


class TestAbandoned:
    @pytest.mark.parametrize("kill", [None, lambda: None])
    def test_only_one_of_two_ends_counts(self, file, kill):
        """A run that is given up while its thread commits is over as the thread has it.

        So it is in a process of its own, which is killed a moment later.
        """
        books = Books(file, "plain session")

        def work(system):
            session = system["request"].db
            books.write(system["request"], "done")
            executions = get_cron(system["registry"]).supervisor.executions
            commit = session.commit

            def be_slow():
                [execution] = executions.all()
                commit()
                execution.kill = kill
                execution.interrupt(TaskTimeout("ran longer than its timeout"))
                executions.abandon(execution)

            session.commit = be_slow

        books.add_task("work", work)
        tester = books.tester()
        tester.tick(NOON)
        assert (books.written(), states(tester)) == (["done"], [(1, "succeeded")])
        tester.tick(NOON + 2 * MINUTE)
        assert states(tester)[0] == (1, "succeeded")

    def test_a_run_that_was_given_up_before_its_commit_commits_nothing(self, file):
        books = Books(file)

        def work(system):
            supervisor = get_cron(system["registry"]).supervisor
            [execution] = supervisor.executions.all()
            execution.interrupted_at, execution.interruption = NOON, TaskTimeout("too long")
            supervisor.executions.abandon(execution)
            supervisor.flush()
            execution.interruption = None
            books.write(system["request"], "done")

        books.add_task("work", work)
        tester = books.tester()
        tester.tick(NOON)
        assert (books.written(), states(tester)) == ([], [(1, "timed_out")])


def test_what_is_no_session_is_refused(file):
    config = configure(**{"cron.url": str(file.url)})
    config.set_cron_session(lambda request: 42)
    config.add_cron_task(lambda: None, name="work")
    with pytest.raises(TypeError, match="neither a SQLAlchemy session nor a connection"):
        CronTester(config.make_wsgi_app()).tick(NOON)


class TestAnotherSession:
    """``scheduler(registry)`` outside of requests, and in tasks that have only the registry."""

    @pytest.fixture
    def books(self, file):
        books = Books(file)
        books.add_task("later", lambda: None, on_demand=True)
        return books

    def waiting(self, tester):
        return len(scheduler(tester.registry).waiting("later"))

    @pytest.mark.parametrize("is_registered", [False, True])
    def test_a_session_of_the_callers_own_has_it_in_its_transaction(self, books, is_registered):
        tester, seen = books.tester(), []
        tester.tick(NOON)
        with sessionmaker(books.engine)() as session:
            if is_registered:
                zope.sqlalchemy.register(session)
            transaction.begin()
            control = scheduler(tester.registry, session=session)
            for end in (transaction.abort, transaction.commit):
                control.defer("later")
                control.schedule("nightly", "later", hour=2)
                assert control.get_schedule("nightly").name == "nightly"
                seen.append(self.waiting(tester))
                if not is_registered:
                    (session.rollback if end == transaction.abort else session.commit)()
                end()
                seen.append(self.waiting(tester))
        assert seen == [0, 0, 0, 1]
        assert len(scheduler(tester.registry).schedules()) == 1

    def test_a_connection_is_one_too(self, books):
        tester = books.tester()
        tester.tick(NOON)
        with books.engine.begin() as connection:
            scheduler(tester.registry, session=connection).defer("later")
            assert self.waiting(tester) == 0
        assert self.waiting(tester) == 1

    def test_a_run_that_an_open_transaction_changes_holds_up_no_other(self, server):
        """It may be open for long; what it has changed is seen once it is over."""
        books = Books(server)
        books.add_task("later", lambda system: seen.append(system["payload"]), on_demand=True)
        books.add_task("other", lambda: None, hour=12)
        tester, seen = books.tester(), []
        tester.tick(NOON - MINUTE)
        scheduler(tester.registry).defer("later", 1, at=NOON, key="one")
        with books.engine.begin() as connection:
            control = scheduler(tester.registry, session=connection)
            control.defer("later", 2, at=NOON, key="one", replace=True)
            control.schedule("weekly", "later", dow=0, hour=2)
            control.schedule("nightly", "later", hour=2, enabled=False)
            assert [run.task for run in tester.tick(NOON).runs] == ["other"]
        assert [run.task for run in tester.tick(NOON + MINUTE).runs] == ["later"]
        assert seen == [2]

    @pytest.mark.parametrize("change", [{"payload": 2}, {"at": NOON + MINUTE}])
    def test_one_that_was_changed_since_a_tick_has_read_it_is_left_to_the_next(
        self, server, change
    ):
        books = Books(server)
        books.add_task("later", lambda: None, on_demand=True)
        tester = books.tester()
        tester.tick(NOON - MINUTE)
        asked = {"payload": 1, "at": NOON, "key": "one"}
        store = get_cron(tester.registry).store
        with books.engine.begin() as connection:
            scheduler(tester.registry, session=connection).defer("later", **asked)
        with store.claim_transaction(NOON, NOON + MINUTE) as claims:
            waiting = claims.snapshot().waiting
            with books.engine.begin() as connection:
                control = scheduler(tester.registry, session=connection)
                control.defer("later", **asked | change, replace=True)
            assert claims.claim(waiting) == ([], [])
            again = claims.snapshot().waiting
            assert len(claims.claim(again)[0]) == ("payload" in change)

    def test_one_in_another_database_is_refused(self, books):
        tester = books.tester()
        with create_engine("sqlite://").connect() as connection:
            control = scheduler(tester.registry, session=connection)
            with pytest.raises(StoreError, match="the session in another database, sqlite://"):
                control.defer("later")

    def test_what_is_no_session_is_refused(self, books):
        with pytest.raises(TypeError, match="session=42: must be a SQLAlchemy session"):
            scheduler(books.tester().registry, session=42)

    @pytest.mark.parametrize("mode", MODES)
    def test_in_a_task_it_is_the_tasks(self, file, mode):
        books, seen = Books(file, mode), []
        books.add_task("later", lambda: None, on_demand=True)

        def work(system):
            scheduler(system["registry"]).defer("later")
            seen.extend(rows_of_later(system["request"].db, file))

        books.add_task("work", work, hour=12)
        tester = books.tester()
        tester.tick(NOON)
        assert (len(seen), self.waiting(tester)) == (1, 1)

    def test_in_a_request_it_is_the_requests_if_that_has_the_manager(self, books):
        seen = []

        def view(request):
            scheduler(request.registry, tm=request.tm).defer("later")
            seen.extend(rows_of_later(request.db, books.place))
            scheduler(request.registry, tm=TransactionManager()).defer("later")
            raise HTTPBadRequest

        books.config.add_route("order", "/order")
        books.config.add_view(view, route_name="order")
        tester = books.tester()
        tester.tick(NOON)
        TestApp(books.config.make_wsgi_app()).get("/order", status=400)
        assert (len(seen), self.waiting(tester)) == (1, 0)
