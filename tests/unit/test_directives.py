"""``config.add_cron_task``: what can be registered, and what every mistake is answered with."""

import functools
import pickle
import re
from datetime import datetime, timedelta, timezone

import pytest
from pyramid.config import Configurator
from pyramid.exceptions import ConfigurationConflictError, ConfigurationError

from pyramid_cron import At, Cron, Every, Retry, Schedule, scheduler
from tests.apps import NOON, configure, cron_of

HOUR = timedelta(hours=1)


def task(system):
    """Do a thing.

    And more.
    """


def condition(system):
    return False


class Callable:
    def __call__(self, system):
        pass


@pytest.fixture
def config():
    return configure()


def registered(config):
    config.commit()
    return scheduler(config.registry).tasks()


def slots(config):
    """The slots of the day of NOON, as hh:mm."""
    midnight = NOON - timedelta(hours=12)
    planned = cron_of(config).simulate(
        midnight - timedelta(seconds=1), midnight + timedelta(hours=23, minutes=59)
    )
    return [f"{planned_run.slot:%H:%M}" for planned_run in planned]


def test_without_anything_that_says_when_it_runs_every_minute(config):
    config.add_cron_task(task)
    assert len(slots(config)) == 1440


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({"hour": 2}, ["02:00"]),
        ({"hour": [2, 10, 18]}, ["02:00", "10:00", "18:00"]),
        ({"hour": range(0, 24, 8)}, ["00:00", "08:00", "16:00"]),
        ({"hour": 2, "min": 30}, ["02:30"]),
        ({"min": "*/20", "hour": 2}, ["02:00", "02:20", "02:40"]),
        ({"month": 6}, []),  # the first of June only
        ({"dow": 0}, ["00:00"]),  # 15 June 2026 is a Monday
        ({"dow": "mon-fri", "hour": "9,17"}, ["09:00", "17:00"]),
        ({"dow": 0, "day": 15}, ["00:00"]),
        ({"dow": 1, "day": 15}, []),  # both must match
        ({"schedule": "0 3 15 * 2"}, ["03:00"]),  # either is enough
        ({"schedule": ["0 1 * * *", Cron(hour=5)]}, ["01:00", "05:00"]),
        ({"schedule": ["0 1 * * *", Every("12h")]}, ["00:00", "01:00", "12:00"]),
        ({"schedule": "@daily"}, ["00:00"]),
        ({"every": "6h"}, ["00:00", "06:00", "12:00", "18:00"]),
        ({"every": 43200}, ["00:00", "12:00"]),
        ({"every": timedelta(hours=12)}, ["00:00", "12:00"]),
        ({"at": "2026-06-15T17:45:00+02:00"}, ["15:45"]),
        ({"at": datetime(2026, 6, 15, 4, tzinfo=timezone.utc)}, ["04:00"]),
        ({"on_demand": True}, []),
        ({"hour": 2, "timezone": "Asia/Tokyo"}, ["17:00"]),
    ],
)
def test_each_way_of_saying_when(config, when, expected):
    config.add_cron_task(task, **when)
    assert slots(config) == expected


def test_of_the_slots_of_an_interval_of_seconds_a_tick_runs_the_newest(config):
    config.add_cron_task(task, name="a", every="10s")
    cron = cron_of(config)
    cron.tick(NOON)
    report = cron.tick(NOON + timedelta(minutes=1))
    assert [run.slot for run in report.runs] == [NOON + timedelta(minutes=1)]
    assert [run.reason for run in report.skipped] == ["superseded"]


def test_fields_may_be_positional_as_ever(config):
    config.add_cron_task(task, 30, 2, 15, 6, 0, True)
    assert slots(config) == ["02:30"]
    [registered_task] = registered(config)
    assert registered_task.idle is True


def test_a_zone_of_its_own_wins_over_the_tasks(config):
    config.add_cron_task(task, schedule=Cron("0 2 * * *", timezone="UTC"), timezone="Asia/Tokyo")
    assert slots(config) == ["02:00"]


@pytest.mark.parametrize(
    ("f", "name"),
    [
        (task, "tests.unit.test_directives.task"),
        ("tests.unit.test_directives.task", "tests.unit.test_directives.task"),
        ("tests.unit.test_directives:task", "tests.unit.test_directives.task"),
        (functools.partial(task), "tests.unit.test_directives.task"),
        (Callable(), "tests.unit.test_directives.Callable"),
    ],
)
def test_the_default_name_is_where_the_function_is(config, f, name):
    config.add_cron_task(f)
    assert [task.name for task in registered(config)] == [name]


def test_dotted_names_are_relative_to_the_caller():
    config = Configurator(settings={"cron.url": "sqlite://"}, package="tests")
    config.include("pyramid_cron")
    config.add_cron_task(".unit.test_directives.task", name="relative")
    assert [task.name for task in registered(config)] == ["relative"]


def test_the_description_is_the_docstrings_first_line(config):
    config.add_cron_task(task)
    config.add_cron_task(task, name="b", description="Mine.")
    config.add_cron_task(lambda system: None, name="c")
    config.add_cron_task(functools.partial(task), name="d")
    assert [task.description for task in registered(config)] == [
        "Do a thing.",
        "Mine.",
        "",
        "Do a thing.",
    ]


def test_numbers_are_whatever_is_an_index(config):
    class Three:
        def __index__(self):
            return 3

    three = Three()
    config.add_cron_task(task, name="a", priority=three, weight=three, pause_after=three)
    config.add_cron_task(task, name="b", retry=three)
    config.add_cron_task(task, name="c", retry=Retry(attempts=three))
    a, b, c = registered(config)
    assert (a.priority, a.weight, a.pause_after) == (3, 3, 3)
    assert b.retry == c.retry == Retry(attempts=3)


def failing(system):
    raise ValueError


def test_a_hundred_years_and_the_largest_numbers_can_be_kept(config):
    most, years = 2**31 - 1, "36525d"
    retry = Retry(attempts=most, delay=years, max_delay=years)
    config.add_cron_task(failing, name="a", retry=retry, timeout=years, priority=most)
    config.add_cron_task(failing, name="b", pause_after=most, jitter=years, grace=timedelta.max)
    config.add_cron_task(failing, name="c", pause_after=most, executor="thread", timeout=years)
    config.add_cron_task(task, name="d", every=years, overlap="delay", priority=-most)
    for name in ("cron.lease", "cron.retention", "cron.shutdown_timeout"):
        config.add_settings({name: years})
    cron = cron_of(config)
    assert [run.task for run in cron.tick(NOON).runs] == ["a", "b", "c"]
    assert [run.task for run in cron.tick(NOON + timedelta(minutes=1)).runs] == ["a", "b", "c"]
    for name in "abcd":
        cron.run(name, at=NOON + timedelta(minutes=2))


@pytest.mark.parametrize("catch_up", ["once", "all", "none"])
@pytest.mark.parametrize("grace", ["36525d", "999999999d", timedelta.max])
def test_a_grace_may_be_as_long_as_there_are_numbers(config, grace, catch_up):
    config.add_cron_task(task, name="a", every="1h", grace=grace, catch_up=catch_up)
    cron = cron_of(config)
    cron.tick(NOON)
    runs = cron.tick(NOON + timedelta(days=1)).runs
    assert len(runs) == (24 if catch_up == "all" else 1)


def test_a_longer_wait_between_attempts_is_refused():
    with pytest.raises(ValueError, match=r"^delay='36526d': .* at most 36525d$"):
        Retry(delay="36526d")
    with pytest.raises(ValueError, match=r"^max_delay='36526d': .* at most 36525d$"):
        Retry(max_delay="36526d")


def test_a_retry_is_after_some_errors_only():
    retry = Retry(on=ConnectionError)
    assert retry == Retry(on=[ConnectionError])
    assert (retry.covers(ConnectionResetError), retry.covers(ValueError)) == (True, False)
    assert Retry().covers(SystemExit)
    assert pickle.loads(pickle.dumps(retry)) == retry


@pytest.mark.parametrize("on", [(), None, int, "ConnectionError", (ConnectionError, "x"), 5])
def test_what_is_no_error_to_retry_after_is_refused(on):
    message = f"on={on!r}: must be a class of errors such as ConnectionError, or several"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Retry(on=on)


def test_a_task_may_have_a_lock_and_labels(config):
    config.add_cron_task(
        task, name="a", lock="disk", labels={"team": "billing", "cost.center": "7"}
    )
    config.add_cron_task(task, name="b")
    a, b = registered(config)
    assert (a.lock, a.labels) == ("disk", {"team": "billing", "cost.center": "7"})
    assert (b.lock, b.labels) == (None, {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lock": ""}, "lock='': must be text of 1 to 200 printable characters"),
        ({"lock": 5}, "lock=5: must be text of 1 to 200 printable characters"),
        ({"lock": "disk", "overlap": "allow"}, "lock='disk': means nothing with overlap='allow', "),
        ({"labels": ["a"]}, "labels=['a']: must be a mapping such as {'team': 'billing'}"),
        ({"labels": {"a:b": "c"}}, "labels={'a:b': 'c'}: the name 'a:b' must be ASCII letters, "),
        ({"labels": {1: "c"}}, "labels={1: 'c'}: the name 1 must be ASCII letters, "),
        ({"labels": {"a": 7}}, "labels={'a': 7}: 'a' must be text of 1 to 200 printable "),
        ({"tags": {}}, "tags={}: add_cron_task has no such argument; did you mean 'labels'?"),
    ],
)
def test_wrong_locks_and_labels_are_refused(config, arguments, message):
    with pytest.raises(ConfigurationError, match="^" + re.escape(f"cron task 'a': {message}")):
        config.add_cron_task(task, name="a", **arguments)


def test_one_function_may_have_several_tasks(config):
    config.add_cron_task(task, name="a", hour=1)
    config.add_cron_task(task, name="b", hour=2)
    assert [task.name for task in registered(config)] == ["a", "b"]


def test_the_same_name_twice_is_a_conflict(config):
    def includes(config):
        config.add_cron_task(task)

    config.include(lambda config: config.add_cron_task(task))
    config.include(includes)
    with pytest.raises(ConfigurationConflictError):
        config.commit()


def test_an_app_overrides_an_included_packages_task(config):
    config.include(lambda config: config.add_cron_task(task, name="a", hour=1))
    config.add_cron_task(task, name="a", hour=5)
    assert slots(config) == ["05:00"]


@pytest.mark.parametrize("executor", ["celery", "unknown"])
@pytest.mark.parametrize("override", [{}, {"executor": "thread"}])
def test_an_app_overrides_a_task_whose_executor_it_lacks(config, executor, override):
    config.include(lambda config: config.add_cron_task(task, name="a", executor=executor))
    config.add_cron_task(task, name="a", hour=5, **override)
    assert slots(config) == ["05:00"]


def test_an_overriding_tasks_own_executor_is_checked(config):
    config.include(lambda config: config.add_cron_task(task, name="a"))
    config.add_cron_task(task, name="a", executor="unknown")
    with pytest.raises(ConfigurationError, match=r"cron task 'a': executor='unknown'"):
        config.commit()


def test_nothing_refused_is_registered_where_actions_are_carried_out_at_once(config):
    config.commit()
    config.autocommit = True
    config.add_cron_task(task, name="a", hour=5)
    with pytest.raises(ConfigurationError, match=r"cron task 'a': executor='unknown'"):
        config.add_cron_task(task, name="a", hour=6, executor="unknown")
    assert slots(config) == ["05:00"]


def test_tasks_are_introspectable(config):
    config.add_cron_task(task, name="a", hour=2, priority=3, when=condition, jitter="10m")
    config.commit()
    [category_entry] = config.introspector.get_category("cron tasks")
    introspectable = category_entry["introspectable"]
    assert (introspectable.title, introspectable.type_name) == ("a", "cron task")
    assert introspectable["callable"] is task
    assert introspectable["timezone"] == "UTC"
    assert introspectable["priority"] == 3
    assert introspectable["when"] is condition
    assert "02:00" in introspectable["schedule"]


def test_jitter_shifts_all_slots_by_the_same_share(config):
    for number in range(40):
        config.add_cron_task(task, name=f"t{number}", hour=2, jitter="10m")
    planned = cron_of(config).simulate(NOON, NOON + timedelta(days=2))
    shifts = {}
    for planned_run in planned:
        slot = planned_run.slot
        shifts.setdefault(planned_run.task, set()).add(slot.minute * 60 + slot.second)
    assert all(len(shift) == 1 for shift in shifts.values())
    different = set.union(*shifts.values())
    assert len(different) > 5
    assert max(different) < 600


def test_a_short_jitter_is_in_seconds(config):
    for number in range(40):
        config.add_cron_task(task, name=f"t{number}", hour=2, jitter=50)
    planned = cron_of(config).simulate(NOON, NOON + timedelta(days=1))
    seconds = {planned_run.slot.second for planned_run in planned}
    assert len(seconds) > 10


def test_a_hashed_field_is_stable_and_differs_by_name(config):
    for number in range(20):
        config.add_cron_task(task, name=f"t{number}", schedule="H 2 * * *")
    times = slots(config)
    assert len(times) == 20
    assert len(set(times)) > 5
    again = configure()
    again.add_cron_task(task, name="t3", schedule="H 2 * * *")
    config_2 = configure()
    config_2.add_cron_task(task, name="t3", min="H", hour=2)
    assert slots(again) == slots(config_2)


def with_two(system, extra):
    pass


@functools.wraps(task)
def wrapped_in_two(system, extra):
    pass


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"f": ".nowhere.task"}, r"f='.nowhere.task' can't be imported"),
        ({"f": "tests.unit.test_directives.nothing"}, r"f='tests.*nothing' can't be imported"),
        ({"f": 5}, r"f=5 is no callable"),
        ({"f": with_two}, r"with_two': f=.* takes \(system, extra\); it must take one .*, or none"),
        ({"f": wrapped_in_two, "name": "x"}, r"takes \(system, extra\)"),
        ({"name": ""}, r"name=''"),
        ({"name": "a\nb"}, r"name='a\\nb'"),
        ({"name": 5}, r"name=5"),
        ({"name": "x" * 201}, r"1 to 200 printable"),
        ({"min": 60}, r"'tests.unit.test_directives.task': .*min.*60"),
        ({"min": -1}, r"min.*-1"),
        ({"hour": 24}, r"hour.*24"),
        ({"hour": (0, 24, 3)}, r"range\(0, 24, 3\)"),
        ({"hour": (30, "a", 3)}, r"hour=\(30, 'a', 3\): 30 is out of range, use 0 to 23$"),
        ({"hour": []}, r"hour=\[\]: nothing to match"),
        ({"hour": True}, r"hour.*True"),
        ({"hour": 2.5}, r"hour.*2.5"),
        ({"hour": "25"}, r"hour.*25"),
        ({"hour": "two"}, r"hour.*two"),
        ({"dow": 7}, r"dow.*7"),
        ({"month": 13}, r"month.*13"),
        ({"day": 0}, r"day.*0"),
        ({"month": 2, "day": 30}, r"never"),
        ({"schedule": "0 0 31 2 *"}, r"schedule='0 0 31 2 \*': there is no such date"),
        ({"schedule": "0 0 * * * *"}, r"schedule='0 0 \* \* \* \*'"),
        ({"schedule": "@reboot"}, r"@reboot"),
        ({"schedule": ""}, r"schedule=''"),
        ({"schedule": []}, r"schedule=\[\] is empty"),
        ({"schedule": 5}, r"schedule=5: must be five cron fields"),
        ({"schedule": ["@daily", None]}, r"schedule=None"),
        ({"min": "*/5 * * * *"}, r"min='\*/5 \* \* \* \*': is a whole expression: .* schedule="),
        ({"hour": "@daily"}, r"hour='@daily': is a whole expression: give it as schedule="),
        ({"every": int}, r"every=<class 'int'>: use '90s'"),
        ({"every": "0m"}, r"every='0m'"),
        ({"every": "soon"}, r"every='soon'"),
        ({"every": -5}, r"every=-5"),
        ({"at": datetime(2026, 1, 1)}, r"at=.*(naive|zone|offset)"),  # noqa: DTZ001
        ({"at": "2026-01-01T09:00"}, r"at='2026-01-01T09:00'"),
        ({"at": "tomorrow"}, r"at='tomorrow'"),
        ({"on_demand": 1}, r"on_demand=1: must be True or False"),
        ({"hour": 2, "every": "5m"}, r"hour=2 and every='5m' each say when"),
        (
            {"schedule": "@daily", "on_demand": True},
            r"schedule='@daily' and on_demand=True each say",
        ),
        ({"hour": 1, "min": 2, "at": "x"}, r"min=2, hour=1 and at='x' each say when"),
        ({"timezone": "Europe/Berlln"}, r"timezone='Europe/Berlln' is no IANA time zone"),
        ({"timezone": "../etc"}, r"timezone='../etc' is no IANA time zone"),
        ({"timezone": "localtime"}, r"timezone='localtime' is no IANA time zone"),
        ({"timezone": "right/UTC"}, r"timezone='right/UTC' is no IANA time zone"),
        ({"timezone": 3}, r"timezone=3 is no IANA time zone"),
        ({"idle": "yes"}, r"idle='yes': must be True or False"),
        ({"priority": "high"}, r"priority='high': must be an integer"),
        ({"priority": True}, r"priority=True: must be an integer"),
        ({"priority": -(2**31)}, r"priority=-2147483648: must be -2147483647 to 2147483647"),
        ({"weight": 2**31}, r"weight=2147483648: must be"),
        ({"pause_after": 2**31}, r"pause_after=2147483648: must be"),
        ({"retry": 2**31}, r"retry=2147483648: must be"),
        ({"timeout": timedelta.max}, r"timeout=datetime.* at most 36525d"),
        ({"every": timedelta(days=36526)}, r"every=datetime.* at most 36525d"),
        ({"jitter": "36526d"}, r"jitter='36526d': .* at most 36525d"),
        ({"when": 5}, r"when=5 is no callable"),
        ({"when": ".nowhere"}, r"when='.nowhere' can't be imported"),
        ({"when": lambda: True}, r"when=.* takes \(\)"),
        ({"jitter": "often"}, r"jitter='often'"),
        ({"jitter": 0}, r"jitter=0"),
        ({"jitter": "5m", "on_demand": True}, r"jitter='5m': a task that runs on demand"),
        ({"jitter": "2h", "at": "9999-12-31T23:00:00Z"}, r"jitter='2h': shifts At\("),
        ({"description": 5}, r"description=5: must be text"),
        ({"minute": 5}, r"task': minute=5: add_cron_task has no such argument; .* mean 'min'\?$"),
        ({"name": "x", "day_of_week": "mon"}, r"'x': day_of_week='mon': .* did you mean 'dow'\?$"),
        ({"cron": "* * * * *"}, r"cron='\* \* \* \* \*': .* did you mean 'schedule'\?$"),
        ({"hours": 2, "tz": "UTC"}, r"hours=2: .* did you mean 'hour'\?$"),
        ({"Schedule": "@daily"}, r"Schedule='@daily': .* did you mean 'schedule'\?$"),
        ({"prioritty": 3}, r"prioritty=3: .* did you mean 'priority'\?$"),
        ({"misfire_grace_time": 3}, r"misfire_grace_time=3: .* did you mean 'grace'\?$"),
        ({"starting": NOON}, r"starting=.*; use schedule=Every\('1h'\)\.starting\(moment\)$"),
        ({"xyz": 1}, r"xyz=1: add_cron_task has no such argument; use at, catch_up, "),
    ],
)
def test_every_mistake_is_named(config, arguments, message):
    arguments = {"f": task} | arguments
    with pytest.raises(ConfigurationError, match=message):
        config.add_cron_task(**arguments)


def with_options(system, kind="a"):
    pass


@pytest.mark.parametrize(
    "f",
    [
        functools.partial(with_options, kindd="x"),
        functools.partial(with_options, 1, 2, 3),
        functools.partial(functools.partial(with_options, kind="b"), other=1),
    ],
)
def test_a_partial_that_could_not_be_called_is_refused(config, f):
    message = r"cron task 'a': f=functools.partial.* gives what can't be given: .*\(system, kind="
    with pytest.raises(ConfigurationError, match=message):
        config.add_cron_task(f, name="a")


def generator(system):
    yield


async def asynchronous_generator(system):
    yield


class Generators:
    def __call__(self, system):
        yield

    def method(self, system):
        yield


@pytest.mark.parametrize(
    "f",
    [
        generator,
        asynchronous_generator,
        Generators(),
        Generators().method,
        functools.partial(generator),
        functools.partial(Generators()),
        functools.partial(Generators().method),
    ],
)
def test_what_would_only_make_a_generator_is_refused(config, f):
    with pytest.raises(ConfigurationError, match=r"^cron task 'x': f=.* is a generator function"):
        config.add_cron_task(f, name="x")
    with pytest.raises(ConfigurationError, match=r"^cron task 'x': when=.* is a generator functi"):
        config.add_cron_task(task, name="x", when=f)


def test_a_class_whose_instances_make_generators_may_be_called(config):
    class Job:
        def __init__(self, system):
            pass

        def __call__(self, system):
            yield

    config.add_cron_task(Job)
    assert cron_of(config).tick(NOON).runs[0].state == "succeeded"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"f": ".nowhere.task", "name": "x"}, r"^cron task 'x': f='.nowhere.task' can't be"),
        ({"f": ".nowhere.task"}, r"^cron task '.nowhere.task': f="),
        ({"f": 5, "name": "x"}, r"^cron task 'x': f=5 is no callable"),
        ({"when": ".nowhere", "name": "x"}, r"^cron task 'x': when='.nowhere' can't be imported"),
        ({"when": 5, "name": "x"}, r"^cron task 'x': when=5 is no callable"),
        ({"every": "soon", "name": "x"}, r"^cron task 'x': every='soon': use '90s'"),
    ],
)
def test_a_mistake_is_told_once_and_with_the_task(config, arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        config.add_cron_task(**({"f": task} | arguments))


def test_a_builtin_that_does_not_tell_its_signature_is_taken(config):
    config.add_cron_task(dict, name="builtin")
    assert cron_of(config).tick(NOON).runs[0].state == "succeeded"


def test_a_function_may_take_no_argument(config):
    ran = []

    async def later():
        ran.append("later")

    config.add_cron_task(lambda: ran.append("now"), name="now")
    config.add_cron_task(later, name="later")
    config.add_cron_task(lambda system=None: ran.append(system["run"].task), name="given")
    config.add_cron_task(functools.partial(ran.append, "partial"), name="partial")
    cron = cron_of(config)
    assert [run.state for run in cron.tick(NOON).runs] == ["succeeded"] * 4
    assert ran == ["now", "later", "given", "partial"]


def test_what_a_decorator_adds_is_not_asked_of_the_system(config):
    @functools.wraps(with_two)
    def wrapper(system):
        return with_two(system, "extra")

    config.add_cron_task(wrapper)
    [run] = cron_of(config).tick(NOON).runs
    assert (run.task, run.state) == ("tests.unit.test_directives.with_two", "succeeded")


@pytest.mark.parametrize("schedule", [Every("5m"), At("2026-12-01T09:00:00Z"), Cron("@hourly")])
def test_schedules_may_be_given_as_such(config, schedule):
    config.add_cron_task(task, schedule=schedule)
    assert len(registered(config)) == 1


class Half(Schedule):
    """A schedule of one's own: each half past."""

    def following(self, after):
        slot = Every("30m").following(after)
        return slot if slot.minute else Every("30m").following(slot)

    def preceding(self, before):
        slot = Every("30m").preceding(before)
        return slot if slot.minute else Every("30m").preceding(slot)

    def describe(self):
        return "at half past"


def test_a_schedule_of_ones_own_runs_its_tasks(config):
    config.add_cron_task(task, name="a", schedule=Half())
    assert len(slots(config)) == 24
    [registered_task] = registered(config)
    assert registered_task.describe() == "at half past"
    cron = cron_of(config)
    cron.tick(NOON)
    half = NOON + timedelta(minutes=30)
    assert [run.slot for run in cron.tick(NOON + timedelta(minutes=40)).runs] == [half]
    assert [run.slot for run in cron.tick(NOON + timedelta(hours=3)).runs] == [half + 2 * HOUR]
    status = scheduler(config.registry).status("a")
    assert status.last.slot == half + 2 * HOUR
    assert status.next.minute == 30


class Skips(Cron):
    """A subclass of a built-in schedule."""

    def following(self, after):
        slot = super().following(after)
        return slot if slot.hour % 2 else super().following(slot)


def test_a_subclass_of_a_schedule_is_obeyed_by_ticks_and_after_a_gap(config):
    config.add_cron_task(task, name="a", schedule=Skips("0 * * * *"), catch_up="all", grace=None)
    assert slots(config) == [f"{hour:02}:00" for hour in range(1, 24, 2)]
    cron = cron_of(config)
    cron.tick(NOON)
    assert cron.tick(NOON + timedelta(minutes=1)).runs == ()
    assert len(cron.tick(NOON + timedelta(hours=8)).runs) == 4


def test_a_subclass_of_an_interval_with_slots_of_its_own_has_no_fixed_delay(config):
    class Rare(Every):
        def following(self, after):
            return super().following(after + HOUR)

    config.add_cron_task(task, name="a", schedule=Rare("1m"), overlap="delay")
    config.add_cron_task(task, name="b", schedule=Every("1m"), overlap="delay")
    assert [task.fixed_delay for task in registered(config)] == [None, timedelta(minutes=1)]


class Nothing(Schedule):
    def following(self, after):
        return None


class OnlyMatches(Cron):
    def matches(self, moment):
        return True


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (Nothing(), r"'x': schedule=<Nothing>: Nothing has no preceding and no describe; a sche"),
        ([Nothing()], r"'x': schedule=<Nothing>: Nothing has no preceding and no describe; a sche"),
        (
            OnlyMatches(),
            r"'x': schedule=OnlyMatches\(.*: OnlyMatches has a matches of its own",
        ),
        (Half, r"'x': schedule=<class '.*Half'>: must be five cron fields as text, a Cron, Every"),
    ],
)
def test_a_schedule_that_could_not_be_obeyed_is_refused(config, schedule, message):
    with pytest.raises(ConfigurationError, match=f"^cron task {message}"):
        config.add_cron_task(task, name="x", schedule=schedule)


def test_bounds_and_exclusions_are_obeyed_in_the_zone_of_the_task(config):
    noon = Cron(hour=12)
    config.add_cron_task(
        task,
        name="a",
        schedule=noon.excluding([NOON.date()]).starting(NOON),
        timezone="Asia/Tokyo",
    )
    cron = cron_of(config)
    planned = cron.simulate(NOON - timedelta(days=3), NOON + timedelta(days=3))
    assert [planned_run.slot for planned_run in planned] == [
        NOON + timedelta(days=1, hours=-9),
        NOON + timedelta(days=2, hours=-9),
        NOON + timedelta(days=3, hours=-9),
    ]
    [registered_task] = registered(config)
    assert registered_task.describe() == (
        "at 12:00 every day (Asia/Tokyo), from 2026-06-15 12:00:00 UTC, except on 2026-06-15"
    )


@pytest.mark.parametrize(
    "schedule",
    [
        Cron("@daily").excluding(Cron("* * * * *")),
        Cron("@yearly").starting("2026-02-01T00:00Z").ending("2026-12-01T00:00Z"),
        [Every("1h"), Cron("@daily").excluding(lambda local: True)],
    ],
)
def test_limits_that_leave_no_slot_are_refused(config, schedule):
    config.add_cron_task(task, name="x", schedule=schedule)
    with pytest.raises(ConfigurationError, match=r"'x': schedule=Cron\(.*it would never run"):
        config.commit()


def test_a_schedule_that_has_ended_is_not_refused(config):
    config.add_cron_task(task, name="x", schedule=Every("1h").ending("2020-01-01T00:00Z"))
    assert slots(config) == []


class Fragile(Half):
    """A schedule that fails from a moment on."""

    def following(self, after):
        if after >= NOON:
            raise OSError("no tables")
        return super().following(after)


def fail_in_june(local):
    if local.month == 6:
        raise OSError("no tables")


@pytest.mark.parametrize("schedule", [Fragile(), Every("1h").excluding(fail_in_june)])
def test_a_schedule_that_fails_stops_no_other_task(config, schedule, caplog):
    config.add_cron_task(task, name="a", schedule=schedule)
    config.add_cron_task(task, name="b", schedule="* * * * *")
    cron = cron_of(config)
    for minutes in (0, 1, 600):
        runs = cron.tick(NOON + timedelta(minutes=minutes)).runs
        assert [run.task for run in runs] == ["b"]
    assert scheduler(config.registry).status("a").next is None
    assert f"{schedule!r} failed: its tasks have no slots as long as it does" in caplog.text


def test_a_function_that_fails_at_once_is_refused(config):
    config.add_cron_task(task, name="x", schedule=Every("1h").excluding(lambda local: 1 / 0))
    with pytest.raises(ConfigurationError, match=r"'x': schedule=.*: it failed by ZeroDivisionErr"):
        config.commit()
