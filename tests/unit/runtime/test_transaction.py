"""Each task commits or aborts alone, whoever manages the request's transactions."""

import pytest
import transaction
import zope.sqlalchemy
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from webtest import TestApp

from tests.apps import NOON, Note, committed, configure_with_database, cron_of

MODES = ("explicit", "implicit", "inactive", "none")


@pytest.fixture(params=MODES)
def config(request, tmp_path):
    return configure_with_database(tmp_path, mode=request.param)


@pytest.fixture(params=["view", "tester"])
def hit(request):
    """Make one tick: through the WSGI stack with its tweens, or as tests of tasks do."""

    def by_view(config):
        app = TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})
        answer = app.get("/cron", headers={"Accept": "application/json"})
        return {run["task"]: run["state"] for run in answer.json["runs"]}

    def by_tester(config):
        return {run.task: run.state for run in cron_of(config).tick(NOON).runs}

    return by_view if request.param == "view" else by_tester


def writes(*texts, after=None):
    def task(system):
        for name in texts:
            system["request"].dbsession.add(Note(text=name))
        if after:
            after(system)

    return task


def fail(system):
    raise RuntimeError("no")


def manager_of(system):
    return getattr(system["request"], "tm", None) or transaction.manager


def test_each_task_commits_alone(config, hit):
    config.add_cron_task(writes("a"), name="a")
    config.add_cron_task(writes("b"), name="b")
    assert hit(config) == {"a": "succeeded", "b": "succeeded"}
    assert committed(config) == ["a", "b"]


def test_a_failing_task_loses_only_its_own_work(config, hit):
    config.add_cron_task(writes("a"), name="a")
    config.add_cron_task(writes("lost", after=fail), name="b")
    config.add_cron_task(writes("c"), name="c")
    assert hit(config) == {"a": "succeeded", "b": "failed", "c": "succeeded"}
    assert committed(config) == ["a", "c"]


def test_a_commit_that_fails_is_a_failed_run(config, hit):
    config.add_cron_task(writes("same"), name="a")
    config.add_cron_task(writes("same"), name="b")
    config.add_cron_task(writes("c"), name="c")
    assert hit(config) == {"a": "succeeded", "b": "failed", "c": "succeeded"}
    assert committed(config) == ["c", "same"]


def test_after_a_swallowed_database_error_nothing_is_committed_and_the_next_task_is_fine(
    config, hit
):
    def swallow(system):
        session = system["request"].dbsession
        session.add_all([Note(text="x"), Note(text="x")])
        with pytest.raises(IntegrityError):
            session.flush()

    config.add_cron_task(swallow, name="a")
    config.add_cron_task(writes("b"), name="b")
    assert hit(config)["b"] == "succeeded"
    assert committed(config) == ["b"]


def test_doomed_work_is_undone_without_an_error(config, hit):
    config.add_cron_task(writes("doomed", after=lambda system: manager_of(system).doom()), name="a")
    config.add_cron_task(writes("b"), name="b")
    assert hit(config) == {"a": "succeeded", "b": "succeeded"}
    assert committed(config) == ["b"]


def test_a_task_may_commit_in_chunks(config, hit):
    def chunks(system):
        manager = manager_of(system)
        for name in ("1", "2"):
            system["request"].dbsession.add(Note(text=name))
            manager.commit()
            manager.begin()
        system["request"].dbsession.add(Note(text="lost"))
        fail(system)

    config.add_cron_task(chunks, name="a")
    config.add_cron_task(writes("b"), name="b")
    assert hit(config) == {"a": "failed", "b": "succeeded"}
    assert committed(config) == ["1", "2", "b"]


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_a_task_may_end_its_transaction_itself(config, hit, end):
    config.add_cron_task(
        writes("a", after=lambda system: getattr(manager_of(system), end)()), name="a"
    )
    config.add_cron_task(writes("b"), name="b")
    assert hit(config) == {"a": "succeeded", "b": "succeeded"}
    assert committed(config) == (["a", "b"] if end == "commit" else ["b"])


def test_an_error_after_the_task_ended_its_transaction_is_the_one_reported(config, caplog):
    def commit_and_fail(system):
        manager_of(system).commit()
        fail(system)

    config.add_cron_task(commit_and_fail, name="a")
    [run] = cron_of(config).tick(NOON).runs
    assert run.error == "RuntimeError: no"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_even_an_exit_ends_only_its_own_run(config, hit, error):
    def leave(system):
        raise error

    config.add_cron_task(writes("lost", after=leave), name="a")
    config.add_cron_task(writes("b"), name="b")
    assert hit(config) == {"a": "failed", "b": "succeeded"}
    assert committed(config) == ["b"]


def test_the_transaction_is_named_after_the_task(config, hit):
    seen = []
    config.add_cron_task(
        lambda system: seen.append(manager_of(system).get().description), name="nightly"
    )
    hit(config)
    assert seen == ["cron nightly"]


def test_hooks_after_a_commit_run_for_each_task(config, hit):
    called = []

    def hooked(system):
        name = system["run"].task
        manager_of(system).get().addAfterCommitHook(lambda ok: called.append((name, ok)))

    config.add_cron_task(hooked, name="a")
    config.add_cron_task(lambda system: called.append("b runs"), name="b")
    hit(config)
    assert called == [("a", True), "b runs"]


@pytest.mark.parametrize("mode", ["explicit", "implicit"])
def test_work_done_before_the_tasks_is_kept(tmp_path, mode):
    config = configure_with_database(tmp_path, mode=mode)

    def tween_factory(handler, registry):
        def tween(request):
            request.dbsession.add(Note(text="before"))
            return handler(request)

        return tween

    config.registry["tween"] = tween_factory
    config.add_tween(
        "tests.unit.runtime.test_transaction.noting_tween", under="pyramid_tm.tm_tween_factory"
    )
    config.add_cron_task(writes("a"), name="a")
    app = TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    app.get("/cron")
    assert committed(config) == ["a", "before"]


def test_tasks_are_not_held_by_the_doomed_transaction_of_a_test(tmp_path):
    """As the cookiecutter's fixtures begin it, which then have pyramid_tm leave it alone."""
    config = configure_with_database(tmp_path)
    config.add_cron_task(writes("a"), name="a")
    manager = transaction.TransactionManager(explicit=True)
    manager.begin().doom()
    session = Session(config.registry["engine"])
    zope.sqlalchemy.register(session, transaction_manager=manager)
    session.add(Note(text="fixture"))
    session.flush()
    environ = {"REMOTE_ADDR": "127.0.0.1", "tm.active": True, "tm.manager": manager}
    TestApp(config.make_wsgi_app(), extra_environ=environ).get("/cron")
    manager.abort()
    assert committed(config) == ["a"]


def noting_tween(handler, registry):
    return registry["tween"](handler, registry)


class Unwilling:
    """A resource that can neither commit nor abort."""

    transaction_manager = None

    def abort(self, transaction):
        raise ValueError("can't abort")

    commit = tpc_begin = tpc_vote = tpc_finish = tpc_abort = abort

    def sortKey(self):  # noqa: N802
        return "unwilling"


def test_an_abort_that_fails_does_not_hide_the_tasks_error(config, hit, caplog):
    def task(system):
        manager_of(system).get().join(Unwilling())
        fail(system)

    config.add_cron_task(task, name="a")
    config.add_cron_task(writes("b"), name="b")
    assert hit(config) == {"a": "failed", "b": "succeeded"}
    assert committed(config) == ["b"]
    assert "could not be aborted cleanly" in caplog.text


def test_a_retryable_error_does_not_replay_the_request(tmp_path):
    config = configure_with_database(tmp_path, mode="explicit")
    config.include("pyramid_retry")
    runs = []

    def conflict(system):
        runs.append(1)
        raise transaction.interfaces.TransientError

    config.add_cron_task(conflict, name="a")
    app = TestApp(config.make_wsgi_app(), extra_environ={"REMOTE_ADDR": "127.0.0.1"})
    app.get("/cron")
    assert runs == [1]


def test_rows_from_before_are_read_anew(config, hit):
    """What one task committed, the next one sees, in the same session."""
    seen = []
    config.add_cron_task(writes("a"), name="a")
    config.add_cron_task(
        lambda system: seen.extend(
            system["request"].dbsession.execute(text("SELECT text FROM notes")).scalars()
        ),
        name="b",
    )
    hit(config)
    assert seen == ["a"]
