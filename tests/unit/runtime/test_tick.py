"""What a tick runs, in what order, and what is on record afterwards."""

import asyncio
import functools
import logging
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from datetime import datetime, timedelta, timezone
from fractions import Fraction

import pytest

from pyramid_cron import Retry, RunState, events, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.logs import in_run
from tests.apps import NOON, configure, cron_of
from tests.records import claim, slot

MINUTE = timedelta(minutes=1)


@pytest.fixture
def config():
    return configure()


@pytest.fixture
def calls():
    return []


def calling(calls):
    return lambda system: calls.append(system["run"].task)


def states(report):
    return {run.task: run.state for run in report.runs}


def test_a_due_task_runs_once_and_another_hit_in_the_minute_does_nothing(config, calls):
    config.add_cron_task(calling(calls), hour=12, name="noon")
    cron = cron_of(config)
    cron.tick(NOON)
    cron.tick(NOON + timedelta(seconds=20))
    cron.tick(NOON + MINUTE)
    assert calls == ["noon"]


def test_a_task_that_is_not_due_does_not_run(config, calls):
    config.add_cron_task(calling(calls), hour=13)
    assert cron_of(config).tick(NOON).runs == ()
    assert calls == []


def test_the_first_tick_runs_the_slots_of_its_own_minute_only(config, calls):
    config.add_cron_task(calling(calls), min="*", name="every minute")
    [run] = cron_of(config).tick(NOON + timedelta(seconds=42)).runs
    assert run.slot == NOON


def test_a_slot_between_two_ticks_runs_at_the_second(config):
    config.add_cron_task(lambda system: None, every="90s", name="odd")
    cron = cron_of(config)
    slots = [run.slot for minute in range(4) for run in cron.tick(NOON + minute * MINUTE).runs]
    assert slots == [NOON, NOON + timedelta(seconds=90), NOON + timedelta(seconds=180)]


def test_several_slots_of_one_task_fold_into_the_newest(config):
    config.add_cron_task(lambda system: None, every="20s", name="often")
    cron = cron_of(config)
    cron.tick(NOON)
    report = cron.tick(NOON + MINUTE)
    assert [run.slot for run in report.runs] == [NOON + MINUTE]
    assert [(run.slot, run.reason, run.count) for run in report.skipped] == [
        (NOON + timedelta(seconds=40), "superseded", 2)
    ]


def test_order_is_priority_then_slot_then_registration_and_idle_last(config, calls):
    config.add_cron_task(calling(calls), name="idle", idle=True, priority=9)
    config.add_cron_task(calling(calls), name="plain")
    config.add_cron_task(calling(calls), name="older", at="2026-06-15T12:00:40Z")
    config.add_cron_task(calling(calls), name="plain too")
    config.add_cron_task(calling(calls), name="urgent", priority=1)
    config.add_cron_task(calling(calls), name="never mind", priority=-1)
    cron = cron_of(config)
    cron.tick(datetime(2026, 6, 15, 12, 0, 30, tzinfo=timezone.utc))
    calls.clear()
    cron.tick(datetime(2026, 6, 15, 12, 1, 0, tzinfo=timezone.utc))
    assert calls == ["urgent", "older", "plain", "plain too", "never mind", "idle"]


def test_a_failing_task_stops_no_other(config, calls, caplog):
    def fail(system):
        raise ValueError("broken")

    config.add_cron_task(fail, name="a")
    config.add_cron_task(calling(calls), name="b")
    report = cron_of(config).tick(NOON)
    assert states(report) == {"a": "failed", "b": "succeeded"}
    failed = report.runs[0]
    assert failed.error == "ValueError: broken"
    assert failed.traceback.startswith("Traceback (most recent call last)")
    assert "in fail" in failed.traceback
    assert "pyramid_cron" not in failed.traceback
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.exc_info[1].args == ("broken",)


def test_a_long_error_keeps_its_beginning_and_the_traceback_has_the_rest(config):
    def fail(system):
        raise ValueError("\0" + "x" * 100_000 + "!")

    config.add_cron_task(fail)
    [run] = cron_of(config).tick(at=NOON).runs
    assert run.error == "ValueError: \\x00" + "x" * 983 + "…"
    assert len(run.error) == 1000
    assert run.traceback.endswith("x!\n")


def test_an_error_that_fits_is_kept_whole(config):
    def fail(system):
        raise ValueError("x" * 988)

    config.add_cron_task(fail)
    [run] = cron_of(config).tick(at=NOON).runs
    assert run.error == "ValueError: " + "x" * 988


def test_a_long_reason_of_a_pause_is_cut_in_what_is_skipped(config):
    config.add_cron_task(lambda system: None)
    tester = cron_of(config)
    scheduler(tester.registry).pause(reason="moving " * 1000)
    [skipped] = tester.tick().skipped
    assert skipped.error.startswith("moving moving")
    assert (len(skipped.error), skipped.error[-1]) == (1000, "…")


def test_async_tasks_and_conditions_are_awaited(config, calls):
    async def condition(system):
        await asyncio.sleep(0)
        return system["run"].task == "b"

    async def task(system):
        await asyncio.sleep(0)
        calls.append(system["run"].task)
        logging.getLogger("app").warning("from a coroutine")

    config.add_cron_task(task, name="a", when=condition)
    config.add_cron_task(task, name="b", when=condition)
    report = cron_of(config).tick(NOON)
    assert calls == ["b"]
    assert "from a coroutine" in report.runs[0].output
    assert [(run.task, run.reason) for run in report.skipped] == [("a", "condition")]


def test_async_tasks_may_take_no_argument(config, calls):
    async def task():
        await asyncio.sleep(0)
        calls.append("ran")

    class Task:
        async def __call__(self):
            calls.append("called")

    config.add_cron_task(task, name="a", executor="thread")
    config.add_cron_task(functools.partial(task), name="b")
    config.add_cron_task(Task(), name="c")
    assert [run.state for run in cron_of(config).tick(NOON).runs] == ["succeeded"] * 3
    assert sorted(calls) == ["called", "ran", "ran"]


def test_a_condition_that_raises_is_a_failure_of_that_run_alone(config, calls):
    def condition(system):
        raise LookupError("no table")

    config.add_cron_task(calling(calls), name="a", when=condition)
    config.add_cron_task(calling(calls), name="b")
    report = cron_of(config).tick(NOON)
    assert states(report) == {"a": "failed", "b": "succeeded"}
    assert calls == ["b"]


def test_a_task_finds_what_it_needs(config):
    seen = {}
    config.add_cron_task(seen.update, name="a")
    app = cron_of(config)
    [run] = app.tick(NOON).runs
    assert set(seen) == {"request", "registry", "time_left", "run", "payload", "progress"}
    assert seen["request"].registry is seen["registry"] is config.registry
    assert seen["payload"] is None
    assert 50 < seen["time_left"]() <= 60
    assert (seen["run"].id, seen["run"].state) == (run.id, "running")
    assert seen["run"].slot == NOON


def test_time_left_is_the_budget_and_goes_below_zero():
    config = configure(**{"cron.budget": "0.001"})
    seconds_left = []
    late = threading.Event()

    def task(system):
        while system["time_left"]() > 0:
            late.wait(0.001)
        seconds_left.append(system["time_left"]())

    config.add_cron_task(task)
    cron_of(config).tick(NOON)
    assert seconds_left[0] <= 0


class TestIdleTasks:
    def test_they_wait_for_a_later_tick_when_time_is_up(self, calls):
        config = configure(**{"cron.budget": "0.000001"})
        config.add_cron_task(calling(calls), name="idle", idle=True, hour=12)
        config.add_cron_task(calling(calls), name="busy", hour=12)
        report = cron_of(config).tick(NOON)
        assert calls == ["busy"]
        assert [(waiting_run.task, waiting_run.slot) for waiting_run in report.waiting] == [
            ("idle", NOON)
        ]

    def test_the_slot_that_waited_runs_when_there_is_time(self, tmp_path, calls):
        def app(budget):
            config = configure(
                **{"cron.budget": budget, "cron.url": f"sqlite:///{tmp_path}/cron.sqlite"}
            )
            config.add_cron_task(calling(calls), name="idle", idle=True, hour=12)
            return cron_of(config)

        app("0.000001").tick(NOON)
        assert calls == []
        roomy = app("60")
        [run] = roomy.tick(NOON + 5 * MINUTE).runs
        assert (run.slot, run.state) == (NOON, "succeeded")
        assert roomy.tick(NOON + 6 * MINUTE).runs == ()
        assert calls == ["idle"]

    def test_a_newer_slot_takes_the_place_of_one_that_waits(self, tmp_path, calls):
        def app(budget):
            config = configure(
                **{"cron.budget": budget, "cron.url": f"sqlite:///{tmp_path}/cron.sqlite"}
            )
            config.add_cron_task(calling(calls), name="idle", idle=True, min="*")
            return cron_of(config)

        hurried = app("0.000001")
        hurried.tick(NOON)
        hurried.tick(NOON + MINUTE)
        report = app("60").tick(NOON + 2 * MINUTE)
        assert [run.slot for run in report.runs] == [NOON + 2 * MINUTE]
        assert [(run.slot, run.reason) for run in report.skipped] == [(NOON + MINUTE, "superseded")]

    def test_of_those_of_one_priority_the_one_that_waits_for_longest_goes_first(self, calls):
        def spend_the_budget(system):
            calls.append(system["run"].task)
            while system["time_left"]() > 0:
                pass
            raise ValueError  # so that nothing is known of what it usually takes

        config = configure(**{"cron.budget": "0.5"})
        for name in "abc":
            config.add_cron_task(spend_the_budget, name=name, idle=True, min="*")
        cron, now = cron_of(config), NOON
        while len(calls) < 4:  # a busy machine may have no time for any of them
            cron.tick(now)
            now += MINUTE
        assert calls == ["a", "b", "c", "a"]

    def test_one_that_usually_takes_longer_than_is_left_waits(self, config, calls, caplog):
        config.add_cron_task(calling(calls), name="slow", idle=True, min="*", catch_up="all")
        cron = cron_of(config)
        [run] = cron.tick(NOON).runs
        store = get_cron(config.registry).store
        with store.database.write() as connection:
            runs = store.tables.runs
            slow = runs.update().where(runs.c.id == run.id)
            connection.execute(slow.values(finished=run.started + timedelta(seconds=90)))
        report = cron.tick(NOON + 2 * MINUTE)
        assert [waiting_run.task for waiting_run in report.waiting] == ["slow", "slow"]
        assert calls == ["slow"]
        [warning] = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert warning.getMessage() == (
            "slow does not run: it is idle, usually takes 90.0 s, and cron.budget is 60 s"
        )


class TestOutput:
    def test_what_a_task_logs_is_kept_whatever_the_levels_of_handlers(self, config, caplog):
        caplog.set_level(logging.CRITICAL)  # the handler's; the loggers let through what they do
        log = logging.getLogger("shop")
        log.setLevel(logging.INFO)
        apart = logging.getLogger("shop.apart")
        apart.propagate = False

        def task(system):
            log.info("sold %s", "äpfel")
            log.debug("not let through")
            apart.warning("also kept")

        config.add_cron_task(task, name="a")
        config.add_cron_task(lambda system: log.info("mine"), name="b")
        try:
            a, b = cron_of(config).tick(NOON).runs
        finally:
            apart.propagate = True
            log.setLevel(logging.NOTSET)
        lines = a.output.splitlines()
        assert len(lines) == 2
        assert lines[0].endswith("INFO  [shop] sold äpfel")
        assert lines[1].endswith("[shop.apart] also kept")
        assert b.output.count("\n") == 1

    def test_the_last_64_kib_are_kept(self, config):
        def talk(system):
            for number in range(3000):
                logging.getLogger("shop").warning("%05d %s", number, "ü" * 20)

        config.add_cron_task(talk)
        [run] = cron_of(config).tick(NOON).runs
        assert 65_000 < len(run.output.encode()) <= 65_536
        assert run.output.endswith("02999 " + "ü" * 20 + "\n")

    def test_a_log_that_was_cut_says_how_much_is_left_out(self, config):
        def talk(system):
            for number in range(3000):
                logging.getLogger("shop").warning("%05d %s", number, "ü" * 20)

        config.add_cron_task(talk)
        [run] = cron_of(config).tick(NOON).runs
        notice, *lines = run.output.splitlines()
        size = len(lines[0].encode()) + 1
        assert {len(line.encode()) + 1 for line in lines} == {size}
        assert notice == f"[... {(3000 - len(lines)) * size} bytes left out ...]"

    def test_of_a_line_that_is_too_long_the_end_is_kept(self, config):
        config.add_cron_task(lambda system: logging.getLogger("shop").warning("ü" * 50_000))
        [run] = cron_of(config).tick(NOON).runs
        notice, line = run.output.splitlines()
        assert set(line) == {"ü"}
        left_out = int(re.fullmatch(r"\[\.\.\. (\d+) bytes left out \.\.\.\]", notice)[1])
        assert left_out + len(line.encode()) > 100_000
        assert 65_000 < len(run.output.encode()) <= 65_536

    def test_times_are_in_the_zone_of_the_settings_with_their_offset(self):
        config = configure(**{"cron.timezone": "Asia/Kathmandu"})
        config.add_cron_task(lambda system: logging.getLogger("shop").warning("hello"))
        [run] = cron_of(config).tick(NOON).runs
        time_text = run.output.partition(" WARNI [shop] hello")[0]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+05:45", time_text)
        age = datetime.now(timezone.utc) - datetime.fromisoformat(time_text)
        assert timedelta() <= age < timedelta(minutes=5)

    def test_what_own_threads_log_is_kept(self, config):
        log = logging.getLogger("shop")

        def work(name):
            log.warning("from %s", name)
            return name

        def task(system):
            with ThreadPoolExecutor() as executor:
                assert executor.submit(in_run(work), "a pool").result() == "a pool"
                executor.submit(copy_context().run, work, "a copy").result()
                executor.submit(work, "elsewhere").result()
            asyncio.run(asyncio.to_thread(work, "asyncio"))

        config.add_cron_task(task)
        [run] = cron_of(config).tick(NOON).runs
        assert [line.rpartition("from ")[2] for line in run.output.splitlines()] == [
            "a pool",
            "a copy",
            "asyncio",
        ]

    def test_outside_of_a_task_in_run_changes_nothing(self):
        assert in_run(len) is len

    def test_what_no_database_takes_is_escaped(self, config, monkeypatch):
        # Pytest must not see it: where tests run in parallel, it can't pass it on.
        for name in ("shop", "pyramid_cron"):
            monkeypatch.setattr(logging.getLogger(name), "propagate", False)

        def talk(system):
            logging.getLogger("shop").warning("nul \0 surrogate \udc80")
            raise ValueError("\0\udc80")

        config.add_cron_task(talk)
        cron = cron_of(config)
        cron.tick(NOON)
        [run] = scheduler(config.registry).history()
        assert "nul \\x00 surrogate \\udc80" in run.output
        assert run.error == "ValueError: \\x00\\udc80"

    def test_a_log_call_with_wrong_arguments_does_not_harm_the_run(self, config, capsys):
        log = logging.getLogger("apart")
        log.propagate = False  # from pytest, which would raise
        config.add_cron_task(lambda system: log.warning("%d", "x"))
        [run] = cron_of(config).tick(NOON).runs
        assert run.state == "succeeded"
        assert "--- Logging error ---" in capsys.readouterr().err

    @pytest.mark.parametrize(("level", "stderr"), [("warning", "careful\n"), ("info", "")])
    def test_without_handlers_warnings_still_reach_the_terminal(
        self, config, capsys, level, stderr
    ):
        log = logging.getLogger("bare")
        log.propagate = False  # as if there were no handlers at all
        log.setLevel(logging.INFO)
        config.add_cron_task(lambda system: getattr(log, level)("careful"))
        [run] = cron_of(config).tick(NOON).runs
        assert "careful" in run.output
        assert capsys.readouterr().err == stderr

    def test_listeners_leave_no_trace(self, config):
        before = list(logging.getLogger().handlers)
        config.add_cron_task(lambda system: None)
        cron_of(config).tick(NOON)
        assert logging.getLogger().handlers == before

    def test_info_is_kept_in_a_program_that_has_not_configured_logging(
        self, config, monkeypatch, capsys
    ):
        root = logging.getLogger()
        monkeypatch.setattr(root, "handlers", [])
        monkeypatch.setattr(root, "level", logging.WARNING)
        root.manager._clear_cache()
        log = logging.getLogger("shop")

        def task(system):
            log.info("41 orders")
            log.debug("not let through")

        config.add_cron_task(task, name="a", priority=1)
        config.add_cron_task(lambda system: cron_of(config).run("c", at=NOON), name="b")
        config.add_cron_task(task, name="c", on_demand=True)
        config.add_cron_task(task, name="d", priority=-1)
        cron_of(config).tick(NOON)
        lines = {run.task: run.output for run in scheduler(config.registry).history()}
        assert all(lines[name].endswith("INFO  [shop] 41 orders\n") for name in "acd")
        assert all(lines[name].count("\n") == 1 for name in "acd")
        assert (root.handlers, root.level) == ([], logging.WARNING)
        assert capsys.readouterr().err == ""

    @pytest.mark.parametrize("level", [logging.INFO, logging.ERROR])
    def test_a_task_that_configures_logging_takes_nothing_from_others(
        self, config, monkeypatch, level
    ):
        root = logging.getLogger()
        monkeypatch.setattr(root, "handlers", [])
        monkeypatch.setattr(root, "level", logging.WARNING)
        received = []
        handler = logging.Handler()
        handler.emit = lambda record: received.append(record.getMessage())

        def configures(system):
            logging.basicConfig(level=level, handlers=[handler], force=True)

        config.add_cron_task(configures, name="a", priority=1)
        config.add_cron_task(lambda system: logging.getLogger("shop").error("kept"), name="b")
        cron_of(config).tick(NOON)
        [run] = scheduler(config.registry).history("b")
        assert run.output.endswith("ERROR [shop] kept\n")
        assert "kept" in received
        assert (root.handlers, root.level) == ([handler], level)


def test_progress_is_kept_with_the_run(config):
    def task(system):
        system["progress"](1, 3)
        system["progress"](2, total=3, message="two of three")

    config.add_cron_task(task)
    [run] = cron_of(config).tick(NOON).runs
    assert (run.progress.done, run.progress.total, run.progress.message) == (2, 3, "two of three")


def test_progress_wants_numbers(config):
    config.add_cron_task(lambda system: system["progress"]("half"))
    [run] = cron_of(config).tick(NOON).runs
    assert run.error == "TypeError: progress: done='half' is no number"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 10**400])
def test_progress_wants_finite_numbers(config, number):
    config.add_cron_task(lambda system: system["progress"](1, number))
    [run] = cron_of(config).tick(NOON).runs
    assert run.error == (
        "ValueError: progress: total must be finite, and no larger than a float can be"
    )


def test_progress_takes_numbers_of_other_kinds(config):
    config.add_cron_task(lambda system: system["progress"](Fraction(1, 2), True))
    [run] = cron_of(config).tick(NOON).runs
    assert (run.progress.done, run.progress.total) == (0.5, 1)


class OpaqueError(Exception):
    @property
    def __cause__(self):
        raise RuntimeError


@pytest.mark.parametrize(
    "error",
    [
        SyntaxError("wrong", ("file", 1, 1, b"text")),
        SyntaxError("wrong", ("file", "one", 1, "text")),
        OpaqueError(),
    ],
)
def test_an_exception_that_can_not_be_shown_is_a_failure_like_any_other(config, calls, error):
    def task(system):
        raise error

    config.add_cron_task(task, name="odd")
    config.add_cron_task(calling(calls), name="next")
    odd, _ = cron_of(config).tick(NOON).runs
    assert odd.state == RunState.FAILED
    assert odd.error
    assert calls == ["next"]


@pytest.mark.parametrize("place", ["filter", "handler"])
def test_what_the_log_raises_harms_no_run(config, calls, capsys, place):
    def broken(record):
        raise LookupError("no request")

    handler = logging.StreamHandler()
    if place == "filter":
        handler.addFilter(broken)
    else:
        handler.emit = broken
    config.add_cron_task(calling(calls), name="a")
    config.add_cron_task(lambda system: 1 / 0, name="b")
    config.add_cron_task(calling(calls), name="c", executor="thread")
    logger = logging.getLogger("pyramid_cron")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        cron = cron_of(config)
        report = cron.tick(NOON)
        cron.tick(NOON)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert states(report) == {"a": "succeeded", "b": "failed", "c": "succeeded"}
    assert sorted(calls) == ["a", "c"]
    assert "LookupError: no request" in capsys.readouterr().err


def test_coroutines_run_where_an_event_loop_runs(config, calls):
    async def task(system):
        await asyncio.sleep(0)
        calls.append("task")

    async def outer(system):
        inner = system["request"].cron.run("task")
        await asyncio.sleep(0)
        calls.append(inner.state)

    async def application():
        own_task = asyncio.current_task()
        runs = cron_of(config).tick(NOON).runs
        await asyncio.sleep(0)
        assert asyncio.current_task() is own_task
        return runs

    config.add_cron_task(task, name="task", on_demand=True)
    config.add_cron_task(outer, name="outer")
    [run] = asyncio.run(application())
    assert (run.state, run.error) == ("succeeded", None)
    assert calls == ["task", "succeeded"]


def test_the_time_of_a_task_ends_the_runs_that_it_asked_for_too(config, calls):
    def outer(system):
        system["request"].cron.run("inner")
        calls.append("outer went on")

    def inner(system):
        while True:
            time.sleep(0.01)

    config.add_cron_task(outer, name="outer", timeout=0.3)
    config.add_cron_task(inner, name="inner", on_demand=True)
    [run] = cron_of(config).tick(NOON).runs
    assert run.state == RunState.TIMED_OUT
    [within] = scheduler(config.registry).history("inner")
    assert within.state == RunState.CANCELLED
    assert calls == []


def test_the_time_of_a_coroutine_ends_the_runs_that_it_asked_for_too(config, calls):
    async def outer(system):
        await asyncio.sleep(0)
        system["request"].cron.run(system["payload"])

    async def coroutine(system):
        await asyncio.sleep(60)

    def function(system):
        while True:
            time.sleep(0.01)

    for inner in (coroutine, function):
        config.add_cron_task(inner, name=inner.__name__, on_demand=True)
    config.add_cron_task(outer, name="outer", on_demand=True, timeout=0.2)
    for inner in (coroutine, function):
        run = cron_of(config).run("outer", inner.__name__)
        assert run.state == RunState.TIMED_OUT
        [within] = scheduler(config.registry).history(inner.__name__)
        assert within.state == RunState.CANCELLED


def test_a_run_that_is_asked_for_after_the_time_is_up_does_not_begin(config, calls):
    async def outer(system):
        time.sleep(0.5)  # the loop does not hear of the end meanwhile
        system["request"].cron.run("inner")

    config.add_cron_task(outer, name="outer", on_demand=True, timeout=0.1)
    config.add_cron_task(lambda system: calls.append(1), name="inner", on_demand=True)
    assert cron_of(config).run("outer").state == RunState.TIMED_OUT
    [within] = scheduler(config.registry).history("inner")
    assert (within.state, calls) == (RunState.CANCELLED, [])


def test_a_task_whose_time_is_up_while_it_asks_for_a_run_leaves_that_one_over(config):
    def slow(event):
        if event.run.task == "inner":
            until = time.monotonic() + 20
            while time.monotonic() < until:
                time.sleep(0.01)

    config.add_subscriber(slow, events.RunStarted)
    config.add_cron_task(
        lambda system: system["request"].cron.run("inner"), name="outer", timeout=0.3
    )
    config.add_cron_task(lambda system: None, name="inner", on_demand=True)
    [run] = cron_of(config).tick(NOON).runs
    assert run.state == RunState.TIMED_OUT
    assert scheduler(config.registry).status("inner").running == ()


def test_each_run_is_logged_when_it_starts_and_when_it_ends(config, caplog):
    config.add_cron_task(lambda system: None, name="nightly")
    with caplog.at_level(logging.INFO, "pyramid_cron"):
        [run] = cron_of(config).tick(NOON).runs
    start, end = caplog.records
    slot = "2026-06-15T12:00:00Z"
    assert start.getMessage() == f"nightly run={run.id} slot={slot} state=running"
    assert end.getMessage() == (
        f"nightly run={run.id} slot={slot} state=succeeded duration={run.duration:.3f}s"
    )
    assert (end.task, end.run, end.slot, end.state) == ("nightly", run.id, slot, "succeeded")
    assert end.duration == run.duration
    assert (end.attempt, end.trigger, end.reason) == (1, "schedule", None)


def test_a_tick_with_nothing_due_says_so_at_debug_only(config, caplog):
    with caplog.at_level(logging.DEBUG, "pyramid_cron"):
        cron_of(config).tick(NOON)
    assert [record.levelname for record in caplog.records] == ["DEBUG"]


def test_a_schedule_follows_its_zone(calls):
    config = configure(**{"cron.timezone": "America/New_York"})
    config.add_cron_task(calling(calls), hour=12, name="default zone")
    config.add_cron_task(calling(calls), hour=12, name="own zone", timezone="Europe/Berlin")
    cron = cron_of(config)
    cron.tick(datetime(2026, 6, 15, 10, 0, tzinfo=timezone.utc))
    assert calls == ["own zone"]
    cron.tick(datetime(2026, 6, 15, 16, 0, tzinfo=timezone.utc))
    assert calls == ["own zone", "default zone"]


def test_a_new_version_of_the_app_runs_new_tasks_without_losing_old_ones(tmp_path, calls):
    url = f"sqlite:///{tmp_path}/cron.sqlite"

    def version(*names):
        config = configure(**{"cron.url": url})
        for name in names:
            config.add_cron_task(calling(calls), every="40s", name=name)
        return cron_of(config)

    version_1, version_2 = version("a"), version("a", "b")
    version_1.tick(NOON)  # slot 12:00:00
    version_2.tick(NOON + timedelta(seconds=30))  # a has had its slot; b is new: this minute's
    assert calls == ["a", "b"]
    version_1.tick(NOON + timedelta(seconds=45))  # a's slot 12:00:40
    assert calls == ["a", "b", "a"]
    version_2.tick(NOON + timedelta(seconds=50))  # b's slot 12:00:40, which old did not know
    assert calls == ["a", "b", "a", "b"]


def test_an_old_version_of_the_app_leaves_the_lost_runs_of_new_tasks_to_the_new_one(
    tmp_path, calls
):
    url = f"sqlite:///{tmp_path}/cron.sqlite"
    version_1, version_2 = configure(**{"cron.url": url}), configure(**{"cron.url": url})
    version_2.add_cron_task(calling(calls), at=NOON, name="new", retry=Retry(attempts=2, delay=0))
    version_1, version_2 = cron_of(version_1), cron_of(version_2)
    claim(get_cron(version_2.registry).store, slot("new"))  # by a process that is gone
    version_1.tick(NOON + timedelta(minutes=2))
    assert calls == []
    [retried] = version_2.tick(NOON + timedelta(minutes=2)).runs
    assert (retried.slot, retried.attempt, calls) == (NOON, 2, ["new"])
    [_, lost] = scheduler(version_1.registry).history()
    assert lost.state == "lost"


def test_after_the_clock_was_set_back_tasks_go_on_and_nothing_is_repeated(config, calls):
    config.add_cron_task(calling(calls), min="*", name="a")
    cron = cron_of(config)
    cron.tick(NOON)
    cron.tick(NOON + timedelta(hours=1))
    cron.tick(NOON)
    assert len(calls) == 2
    cron.tick(NOON + MINUTE)
    assert len(calls) == 3


def test_tasks_are_on_record_while_they_run(tmp_path):
    config = configure(**{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite"})
    seen = []

    def task(system):
        system["progress"](5)
        deadline = threading.Event()
        for _ in range(200):
            [run] = store.history()
            if run.progress is not None:
                break
            deadline.wait(0.02)
        seen.append(run)

    config.add_cron_task(task)
    cron = cron_of(config)
    store = get_cron(config.registry).store
    cron.tick(NOON)
    assert (seen[0].state, seen[0].progress.done) == (RunState.RUNNING, 5)
