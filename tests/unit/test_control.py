"""``request.cron`` and ``pyramid_cron.scheduler``."""

from datetime import timedelta

import pytest
from webtest import TestApp

from pyramid_cron import scheduler
from tests.apps import NOON, Note, committed, configure, configure_with_database, cron_of

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
        ({"state": "done"}, "state='done': must be one of claimed, running, succeeded, failed, "),
        ({"state": ["failed"]}, r"state=\['failed'\]: must be one of"),
        ({"limit": 0}, "limit=0: must be an integer, 1 or more"),
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


def test_a_payload_must_be_json(config):
    with pytest.raises(TypeError, match="JSON serializable"):
        scheduler(config.registry).run("noon", payload=object())
    assert scheduler(config.registry).history() == []


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
    assert committed(config) == ([] if mode == "none" else ["after", "before"])


def test_a_task_may_run_another(config):
    config.add_cron_task(
        lambda system: system["request"].cron.run("noon"), name="outer", on_demand=True
    )
    config.commit()
    assert scheduler(config.registry).run("outer").state == "succeeded"
    assert [run.task for run in scheduler(config.registry).history()] == ["noon", "outer"]
