"""``request.cron`` and ``pyramid_cron.scheduler``."""

import json
import math
from datetime import datetime, timedelta, timezone

import pytest
import transaction
from sqlalchemy.exc import IntegrityError
from webtest import TestApp

from pyramid_cron import scheduler
from tests.apps import NOON, Note, committed, configure, configure_with_database, cron_of

BEYOND = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-12)))
LOCAL = {"REMOTE_ADDR": "127.0.0.1"}


def fail(system):
    raise ValueError("broken")


@pytest.fixture
def config():
    config = configure()
    config.add_cron_task(lambda system: None, name="noon", hour=12, description="At noon.")
    config.add_cron_task(fail, name="broken", hour=12, min=30)
    config.commit()
    return config


def test_tasks_come_in_order_of_registration(config):
    tasks = scheduler(config.registry).tasks()
    assert [(task.name, task.description) for task in tasks] == [
        ("noon", "At noon."),
        ("broken", ""),
    ]


def test_history_is_newest_first_and_can_be_narrowed(config):
    cron = cron_of(config)
    for day in range(3):
        cron.tick(NOON + timedelta(days=day))
        cron.tick(NOON + timedelta(days=day, minutes=30))
    history = scheduler(config.registry).history
    assert [run.task for run in history()] == ["broken", "noon"] * 3
    assert len(history(limit=2)) == 2
    assert [run.slot for run in history("noon")] == [NOON + timedelta(days=2 - n) for n in range(3)]
    assert {run.task for run in history(state="failed")} == {"broken"}
    assert history("noon", state="failed") == []
    assert history("never registered") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"state": "done"}, "state='done': must be one of waiting, claimed, running, "),
        ({"state": ["failed"]}, r"state=\['failed'\]: must be one of"),
        ({"limit": 0}, "limit=0: must be 1 or more"),
        ({"limit": 10**30}, "limit=10{30}: must be -2147483647 to 2147483647"),
        ({"limit": "5"}, "limit='5'"),
        ({"limit": True}, "limit=True"),
    ],
)
def test_history_refuses_what_makes_no_sense(config, arguments, message):
    with pytest.raises(ValueError, match=message):
        scheduler(config.registry).history(**arguments)


def test_status_tells_the_next_slot_and_the_last_run(config):
    cron_of(config).tick(NOON)
    status = scheduler(config.registry).status("noon")
    assert status.last.slot == NOON
    assert status.last.state == "succeeded"
    assert status.next.hour == 12
    assert status.running == ()


def test_a_status_is_json_with_the_keys_of_the_pages(config):
    config.add_cron_task(lambda: None, name="a", hour=2)
    cron = cron_of(config)
    cron.run("a", at=NOON)
    data = json.loads(json.dumps(scheduler(config.registry).status("a").as_dict()))
    assert data["task"] == "a"
    assert data["next"] == "2026-06-16T02:00:00Z"
    assert data["last"]["state"] == "succeeded"
    assert (data["running"], data["waiting"], data["paused"]) == ([], 0, None)


def test_status_tells_what_is_running(config):
    seen = []
    config.add_cron_task(
        lambda system: seen.append(system["request"].cron.status("now")), name="now", hour=12
    )
    cron_of(config).tick(NOON)
    assert [run.task for run in seen[0].running] == ["now"]
    assert seen[0].last is None


def test_an_unknown_name_is_a_lookup_error_with_a_hint(config):
    cron = scheduler(config.registry)
    for ask in (cron.status, cron.run):
        with pytest.raises(LookupError, match="no cron task named 'noone'; did you mean 'noon'"):
            ask("noone")
    with pytest.raises(LookupError, match=r"no cron task named 'xyz'$"):
        cron.status("xyz")


@pytest.mark.parametrize("name", [None, 5, ["noon"]])
def test_what_is_no_name_is_an_unknown_one(config, name):
    cron = scheduler(config.registry)
    for ask in (cron.status, cron.run, cron.defer):
        with pytest.raises(LookupError, match=r"there is no cron task named .*: a name is text"):
            ask(name)


def test_an_app_without_the_include_has_no_scheduler():
    from pyramid.registry import Registry

    with pytest.raises(LookupError, match=r'config.include\("pyramid_cron"\) is missing'):
        scheduler(Registry()).tasks()


def test_a_run_by_hand_is_recorded_with_its_payload(config):
    seen = []
    config.add_cron_task(lambda system: seen.append(system["payload"]), name="job", on_demand=True)
    config.commit()
    run = scheduler(config.registry).run("job", {"list": [1]})
    assert seen == [{"list": [1]}]
    assert (run.state, run.trigger, run.attempt) == ("succeeded", "manual", 1)
    [recorded] = scheduler(config.registry).history("job")
    assert recorded == run


def test_two_runs_by_hand_at_one_moment_are_two(config):
    cron = cron_of(config)
    assert cron.run("noon", at=NOON).state == "succeeded"
    assert cron.run("noon", at=NOON).state == "succeeded"
    assert [run.trigger for run in cron.tick(NOON).runs] == ["schedule"]


def test_a_failing_run_by_hand_raises_nothing(config):
    run = scheduler(config.registry).run("broken")
    assert (run.state, run.error) == ("failed", "ValueError: broken")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda cron: cron.pause(5), "pattern=5: must be text"),
        (lambda cron: cron.resume(["noon"]), r"pattern=\['noon'\]: must be text"),
        (lambda cron: cron.pause(reason=5), "reason=5: must be text"),
        (lambda cron: cron.pause(until="soon"), "until='soon': use an aware datetime"),
        (lambda cron: cron.pause(until=NOON.replace(tzinfo=None)), "until=.*an aware datetime"),
        (lambda cron: cron.pause(until=NOON), "until=.* in the future"),
        (lambda cron: cron.pause(until=BEYOND), "until=.*: is beyond the calendar in UTC"),
        (lambda cron: cron.backfill("noon", "then", NOON), "since='then': use an aware datetime"),
        (lambda cron: cron.backfill("noon", NOON, "then"), "until='then': use an aware datetime"),
        (
            lambda cron: cron.backfill("noon", NOON, NOON - timedelta(hours=1)),
            "until=.* is before since=",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(config, ask, message):
    cron_of(config).tick(NOON)
    with pytest.raises(ValueError, match=message):
        ask(scheduler(config.registry))


def test_the_last_run_is_the_one_into_which_older_slots_were_folded(config):
    cron = cron_of(config)
    cron.tick(NOON)
    cron.tick(NOON + timedelta(days=2, minutes=5))
    last = scheduler(config.registry).status("noon").last
    assert (last.slot, last.state) == (NOON + timedelta(days=2), "succeeded")
    folded = scheduler(config.registry).history("noon")[1]
    assert (folded.slot, folded.reason) == (NOON + timedelta(days=1), "missed")


@pytest.mark.parametrize(
    ("payload", "error", "message"),
    [
        (object(), TypeError, "payload: must be JSON; Object of type object is not JSON"),
        ({"rate": math.nan}, ValueError, "payload: must be JSON; Out of range float"),
        ("x" * 5_000_000, ValueError, "has 5,000,002 characters of JSON, at most 4,194,304"),
    ],
)
def test_a_payload_must_be_json_that_every_database_takes(config, payload, error, message):
    for ask in (scheduler(config.registry).run, scheduler(config.registry).defer):
        with pytest.raises(error, match=message):
            ask("noon", payload)
    with pytest.raises(error, match=message):
        cron_of(config).run("noon", payload)
    assert scheduler(config.registry).history() == []


def test_what_a_task_does_to_its_payload_is_not_for_the_next_attempt(config):
    found = []

    def task(system):
        found.append(dict(system["payload"]))
        assert system["run"].payload == system["payload"]
        system["payload"]["seen"] = object()  # which could not be kept
        raise ValueError

    config.add_cron_task(task, name="task", on_demand=True, retry=2)
    config.add_cron_task(lambda system: None, name="other", min="*")
    cron = cron_of(config)
    assert cron.run("task", {"id": 7}, at=NOON).state == "failed"
    for minute in range(1, 4):
        assert "other" in [run.task for run in cron.tick(NOON + timedelta(minutes=minute)).runs]
    assert found == [{"id": 7}, {"id": 7}]


@pytest.mark.parametrize("mode", ["explicit", "implicit", "none"])
def test_a_run_within_a_request_has_a_transaction_of_its_own(tmp_path, mode):
    config = configure_with_database(tmp_path, mode=mode)

    def task(system):
        assert system["request"].path == "/go"
        system["request"].dbsession.add(Note(text="lost"))
        raise ValueError

    def view(request):
        request.dbsession.add(Note(text="before"))
        state = request.cron.run("task").state
        request.dbsession.add(Note(text="after"))
        request.response.text = str(state)
        return request.response

    config.add_cron_task(task, name="task", on_demand=True)
    config.add_route("go", "/go")
    config.add_view(view, route_name="go")
    assert TestApp(config.make_wsgi_app(), extra_environ=LOCAL).get("/go").text == "failed"
    assert committed(config) == (["before"] if mode == "none" else ["after", "before"])


@pytest.mark.parametrize("mode", ["explicit", "implicit", "none"])
def test_a_task_that_runs_another_keeps_its_own_work(tmp_path, mode):
    config = configure_with_database(tmp_path, mode=mode)

    def outer(system):
        system["request"].dbsession.add(Note(text="before"))
        assert system["request"].cron.run("inner").state == "succeeded"
        system["request"].dbsession.add(Note(text="after"))

    def inner(system):
        system["request"].dbsession.add(Note(text="within"))

    config.add_cron_task(outer, name="outer")
    config.add_cron_task(inner, name="inner", on_demand=True)
    assert [run.state for run in cron_of(config).tick(NOON).runs] == ["succeeded"]
    assert committed(config) == ["after", "before", "within"]


@pytest.mark.parametrize("mode", ["explicit", "implicit", "none"])
def test_what_keeps_earlier_work_from_being_committed_is_the_callers_error(tmp_path, mode):
    config = configure_with_database(tmp_path, mode=mode)

    def outer(system):
        system["request"].dbsession.add_all([Note(text="twice"), Note(text="twice")])
        system["request"].cron.run("inner")

    config.add_cron_task(outer, name="outer")
    config.add_cron_task(lambda system: None, name="inner", on_demand=True)
    config.add_cron_task(
        lambda system: system["request"].dbsession.add(Note(text="next")), name="next"
    )
    cron = cron_of(config)
    first, second = cron.tick(NOON).runs
    assert (first.state, second.state) == ("failed", "succeeded")
    assert "IntegrityError" in first.error
    assert committed(config) == ["next"]
    assert scheduler(config.registry).history("inner") == []


@pytest.mark.parametrize("mode", ["explicit", "implicit"])
def test_a_view_that_asks_for_a_run_sees_why_its_work_is_not_committed(tmp_path, mode):
    config = configure_with_database(tmp_path, mode=mode)

    def view(request):
        request.dbsession.add_all([Note(text="twice"), Note(text="twice")])
        request.cron.run("task")

    config.add_cron_task(lambda system: None, name="task", on_demand=True)
    config.add_route("go", "/go")
    config.add_view(view, route_name="go")
    app = TestApp(config.make_wsgi_app(), extra_environ=LOCAL)
    with pytest.raises(IntegrityError):
        app.get("/go")
    assert committed(config) == []


@pytest.mark.parametrize("mode", ["explicit", "implicit", "none"])
def test_what_is_doomed_stays_so_after_a_run(tmp_path, mode):
    config = configure_with_database(tmp_path, mode=mode)

    def outer(system):
        manager = getattr(system["request"], "tm", transaction.manager)
        system["request"].dbsession.add(Note(text="before"))
        manager.doom()
        system["request"].cron.run("inner")
        system["request"].dbsession.add(Note(text="after"))

    config.add_cron_task(outer, name="outer")
    config.add_cron_task(
        lambda system: system["request"].dbsession.add(Note(text="inner")),
        name="inner",
        on_demand=True,
    )
    assert [run.state for run in cron_of(config).tick(NOON).runs] == ["succeeded"]
    assert committed(config) == ["inner"]


def test_a_task_may_run_another(config):
    config.add_cron_task(
        lambda system: system["request"].cron.run("noon"), name="outer", on_demand=True
    )
    config.commit()
    assert scheduler(config.registry).run("outer").state == "succeeded"
    assert [run.task for run in scheduler(config.registry).history()] == ["noon", "outer"]
