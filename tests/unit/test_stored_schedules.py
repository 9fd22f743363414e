"""``request.cron.schedule``: recurring schedules of a task that are made while it runs."""

import json
from datetime import date, timedelta

import pytest
from webtest import TestApp

from pyramid_cron import At, Cron, Every, Schedule, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.schedule_arguments import TimesByText, make_times
from pyramid_cron.store.retention import prune
from pyramid_cron.testing import CronTester
from tests.apps import NOON, Note, committed, configure, configure_with_database, cron_of

MINUTE = timedelta(minutes=1)
HOUR = 60 * MINUTE


class Customers:
    """An application whose task ``report`` notes the payloads that it has had."""

    def __init__(self, url="sqlite://", tasks=("report",), **policies):
        self.payloads = []
        config = configure(**{"cron.url": url})
        for name in tasks:
            config.add_cron_task(
                lambda system: self.payloads.append(system["payload"]),
                name=name,
                on_demand=True,
                **policies,
            )
        self.cron = cron_of(config)
        self.control = scheduler(self.cron.registry)
        self.store = get_cron(self.cron.registry).store

    def at(self, moment):
        """Set the clock."""
        self.cron._set_clock(moment)
        return self

    def tick(self, moment):
        """Return the payloads of what a tick ran."""
        self.payloads.clear()
        self.cron.tick(moment)
        return sorted(self.payloads)


@pytest.fixture
def app():
    app = Customers().at(NOON)
    app.tick(NOON)
    return app


class TestRunning:
    def test_it_runs_at_its_slots_with_its_payload(self, app):
        app.control.schedule("ann", "report", {"customer": 1}, every="10m")
        assert app.cron.tick(NOON + 9 * MINUTE).runs == ()
        [run] = app.cron.tick(NOON + 10 * MINUTE).runs
        assert (run.task, run.schedule, run.trigger) == ("report", "ann", "schedule")
        assert (run.slot, run.state) == (NOON + 10 * MINUTE, "succeeded")
        assert app.payloads == [{"customer": 1}]
        assert app.control.history("report") == [run]

    def test_two_of_one_task_have_the_same_slot_each(self, app):
        for number in range(3):
            app.control.schedule(f"customer {number}", "report", number, every="10m")
        assert app.tick(NOON + 10 * MINUTE) == [0, 1, 2]
        assert app.tick(NOON + 20 * MINUTE) == [0, 1, 2]

    def test_its_window_begins_when_it_is_made(self, app):
        app.at(NOON + 30 * MINUTE).control.schedule("ann", "report", 1, every="10m")
        assert app.tick(NOON + 30 * MINUTE) == []
        assert app.tick(NOON + 40 * MINUTE) == [1]

    def test_a_slot_that_a_tick_has_passed_which_knew_nothing_is_not_lost(self, app):
        control, store = app.control, app.store
        app.at(NOON + MINUTE - timedelta(seconds=1))
        control.schedule("ann", "report", 1, every="1m")
        app.tick(NOON + MINUTE)
        assert app.payloads == [1]
        assert store.peek(NOON).schedules_version == 1

    def test_a_change_counts_from_the_next_tick_on(self, app):
        app.control.schedule("ann", "report", 1, every="10m")
        assert app.tick(NOON + 10 * MINUTE) == [1]
        app.control.schedule("ann", "report", 2, every="15m")
        assert app.tick(NOON + 15 * MINUTE) == [2]
        assert app.tick(NOON + 20 * MINUTE) == []
        assert app.tick(NOON + 30 * MINUTE) == [2]

    def test_one_that_is_removed_runs_no_more(self, app):
        app.control.schedule("ann", "report", 1, every="10m")
        assert app.tick(NOON + 10 * MINUTE) == [1]
        app.control.unschedule("ann")
        assert app.tick(NOON + 20 * MINUTE) == []
        assert app.control.schedules() == []
        with pytest.raises(LookupError, match="there is no stored schedule named 'ann'"):
            app.control.unschedule("ann")

    def test_one_that_is_off_makes_nothing_up_once_on(self, app):
        app.control.schedule("ann", "report", 1, enabled=False, every="10m")
        assert app.control.get_schedule("ann").state == "disabled"
        assert app.tick(NOON + 10 * MINUTE) == []
        app.control.schedule("ann", "report", 1, every="10m")
        assert app.tick(NOON + 15 * MINUTE) == []
        assert app.tick(NOON + 20 * MINUTE) == [1]

    def test_names_that_differ_in_case_or_accents_are_different_ones(self, app):
        for number, name in enumerate(["ann", "Ann", "änn", "ann "]):
            app.control.schedule(name, "report", number, every="10m")
        assert app.tick(NOON + 10 * MINUTE) == [0, 1, 2, 3]

    def test_it_is_in_its_zone(self, app):
        app.control.schedule("ann", "report", 1, hour=15, timezone="Europe/Berlin")
        assert app.control.get_schedule("ann").next == NOON + HOUR
        assert app.tick(NOON + HOUR) == [1]

    def test_it_starts_and_ends(self, app):
        bounds = {"starting": NOON + 2 * HOUR, "ending": (NOON + 3 * HOUR).isoformat()}
        app.control.schedule("ann", "report", 1, every="1h", **bounds)
        ran = [app.tick(NOON + number * HOUR) for number in range(1, 6)]
        assert ran == [[], [1], [1], [], []]

    def test_a_task_of_its_own_schedule_runs_beside_it(self):
        config = configure()
        config.add_cron_task(lambda: None, every="10m", name="report")
        cron = cron_of(config)
        cron.tick(NOON)
        scheduler(cron.registry).schedule("ann", "report", every="10m")
        runs = cron.tick(NOON + 10 * MINUTE).runs
        assert [(run.task, run.schedule) for run in runs] == [("report", None), ("report", "ann")]

    def test_what_no_tick_came_for_is_caught_up_with_once(self, app):
        app.control.schedule("ann", "report", 1, every="10m")
        app.tick(NOON + 10 * MINUTE)
        report = app.cron.tick(NOON + 45 * MINUTE)
        assert [(run.slot - NOON, run.trigger) for run in report.runs] == [
            (40 * MINUTE, "catch_up")
        ]
        [skip] = report.skipped
        assert (skip.schedule, skip.reason, skip.count) == ("ann", "superseded", 2)

    def test_after_hours_without_ticks_too(self, app):
        for number in range(3):
            app.control.schedule(f"customer {number}", "report", number, every="10m")
        app.tick(NOON + 10 * MINUTE)
        report = app.cron.tick(NOON + 6 * HOUR)
        assert {run.slot for run in report.runs} == {NOON + 6 * HOUR}
        counts = {(run.schedule, run.reason): run.count for run in report.skipped}
        assert counts["customer 1", "superseded"] == 6
        assert counts["customer 1", "missed"] == 28


class TestForecast:
    def test_over_a_shift_of_the_clocks_ticks_run_what_is_simulated(self, app):
        zones = ["Europe/Berlin", "America/New_York", "Asia/Tokyo"]
        start, end = NOON.replace(month=10, day=24), NOON.replace(month=10, day=26)
        app.at(start)
        for number in range(30):
            when = {"hour": number % 5, "min": 30, "timezone": zones[number % 3]}
            app.control.schedule(f"customer {number:02}", "report", number, **when)
        app.cron.tick(start)
        planned = app.cron.simulate(start, end)
        assert len(planned) == 60
        ran = []
        for slot in sorted({planned_run.slot for planned_run in planned}):
            runs = app.cron.tick(slot).runs
            ran += sorted((run.slot, run.schedule) for run in runs)
        assert ran == [(planned_run.slot, planned_run.schedule) for planned_run in planned]


class TestPolicies:
    def test_failures_are_tried_again_with_the_payload(self):
        config, seen = configure(), []

        def report(system):
            seen.append((system["run"].attempt, system["payload"]))
            if system["run"].attempt == 1:
                raise OSError

        config.add_cron_task(report, on_demand=True, name="report", retry=2)
        cron = cron_of(config)
        cron.tick(NOON)
        scheduler(cron.registry).schedule("ann", "report", 7, every="10m")
        cron.tick(NOON + 10 * MINUTE)
        [run] = cron.tick(NOON + 11 * MINUTE).runs
        assert (run.schedule, run.trigger, run.state) == ("ann", "retry", "succeeded")
        assert seen == [(1, 7), (2, 7)]

    def test_failures_in_a_row_pause_the_one_schedule(self):
        config = configure()

        def report(system):
            if system["payload"] == "bad":
                raise OSError

        config.add_cron_task(report, on_demand=True, name="report", pause_after=2)
        cron = cron_of(config)
        cron.tick(NOON)
        control = scheduler(cron.registry)
        control.schedule("bad one", "report", "bad", every="10m")
        control.schedule("good one", "report", "good", every="10m")
        for number in range(1, 4):
            report = cron.tick(NOON + number * 10 * MINUTE)
        assert [run.schedule for run in report.runs] == ["good one"]
        assert [(run.schedule, run.reason) for run in report.skipped] == [("bad one", "paused")]
        assert control.get_schedule("bad one").paused.reason == "2 failures in a row"
        assert control.resume("bad one") == ["bad one"]

    def test_the_interval_counts_from_the_end_with_delay(self):
        app = Customers(overlap="delay").at(NOON)
        app.tick(NOON)
        app.control.schedule("ann", "report", 1, every="10m")
        app.control.schedule("bob", "report", 2, every="10m")
        assert app.tick(NOON + 10 * MINUTE) == [1, 2]
        assert {run.schedule for run in app.control.waiting("report")} == {"ann", "bob"}
        assert app.tick(NOON + 20 * MINUTE) == [1, 2]
        app.control.schedule("ann", "report", 3, every="30m")
        assert app.tick(NOON + 30 * MINUTE) == [2, 3]
        app.control.unschedule("bob")
        assert [run.schedule for run in app.control.waiting("report")] == ["ann"]

    def test_pauses_match_its_name_or_its_tasks(self, app):
        app.control.schedule("ann", "report", 1, every="10m")
        app.control.schedule("bob", "report", 2, every="10m")
        assert app.control.pause("an*") == ["ann"]
        assert app.control.get_schedule("ann").state == "paused"
        assert app.tick(NOON + 10 * MINUTE) == [2]
        assert app.control.resume("ann") == ["ann"]
        assert app.tick(NOON + 20 * MINUTE) == [1, 2]
        app.control.pause("report")
        assert app.tick(NOON + 30 * MINUTE) == []


class TestProcesses:
    @pytest.fixture
    def url(self, tmp_path):
        return f"sqlite:///{tmp_path}/cron.sqlite"

    def test_another_process_sees_a_change_with_its_next_tick(self, url):
        one, two = Customers(url).at(NOON), Customers(url).at(NOON)
        one.tick(NOON)
        two.tick(NOON)
        one.control.schedule("ann", "report", 1, every="10m")
        assert two.tick(NOON + 10 * MINUTE) == [1]
        assert one.tick(NOON + 10 * MINUTE) == []
        two.at(NOON + 11 * MINUTE).control.schedule("ann", "report", 2, every="10m")
        assert one.tick(NOON + 20 * MINUTE) == [2]
        assert two.tick(NOON + 20 * MINUTE) == []
        one.control.unschedule("ann")
        assert two.tick(NOON + 30 * MINUTE) == []

    def test_slots_that_another_process_passed_unknowing_are_made_up(self, url):
        one, two = Customers(url).at(NOON), Customers(url).at(NOON)
        one.tick(NOON)
        one.at(NOON + 5 * MINUTE)
        # The clock of the other host is ahead, so its tick comes before the change.
        two.tick(NOON + 12 * MINUTE)
        one.control.schedule("ann", "report", 1, every="10m")
        assert one.tick(NOON + 13 * MINUTE) == [1]
        assert two.tick(NOON + 14 * MINUTE) == []

    def test_a_process_that_starts_later_knows_them_all(self, url):
        one = Customers(url).at(NOON)
        one.tick(NOON)
        one.control.schedule("ann", "report", 1, every="10m")
        one.tick(NOON + 10 * MINUTE)
        assert Customers(url).tick(NOON + 20 * MINUTE) == [1]

    def test_only_what_has_changed_is_read(self, url):
        one, two = Customers(url).at(NOON), Customers(url).at(NOON)
        for number in range(5):
            one.control.schedule(f"customer {number}", "report", number, every="10m")
        two.tick(NOON)
        book = get_cron(two.cron.registry).schedule_book
        before = {entry.name: entry for entry in book.entries()}
        one.control.schedule("customer 3", "report", 9, every="20m")
        two.tick(NOON + MINUTE)
        after = {entry.name: entry for entry in book.entries()}
        changed = {name for name, entry in after.items() if before[name] is not entry}
        assert changed == {"customer 3"}

    def test_a_task_that_is_away_leaves_its_schedules_until_it_is_back(self, url):
        one = Customers(url).at(NOON)
        one.tick(NOON)
        one.control.schedule("ann", "report", 1, every="10m")
        without = Customers(url, tasks=["other"]).at(NOON)
        assert without.tick(NOON + 10 * MINUTE) == []
        [orphan] = without.control.schedules()
        assert (orphan.name, orphan.state, orphan.next) == ("ann", "orphaned", None)
        later = NOON + timedelta(days=40)
        prune(without.store, later, 100, ["other"], later)
        back = Customers(url).at(NOON + 10 * MINUTE)
        assert back.tick(NOON + 20 * MINUTE) == [1]
        assert back.control.get_schedule("ann").state == "ok"

    def test_what_was_removed_long_ago_is_forgotten(self, app):
        app.control.schedule("ann", "report", 1, every="10m")
        app.control.unschedule("ann")
        later = NOON + timedelta(days=40)
        prune(app.store, later, 100, ["report"], later)
        assert app.tick(NOON + 10 * MINUTE) == []
        with app.store.read_session() as session:
            rows = session.connection.execute(app.store.tables.schedules.select()).all()
        assert rows == []


class TestWrongOnes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("a", "reprot"), "task='reprot': there is no such cron task; did you mean 'report'?"),
            (("report", "report"), "name='report': is a task's; give the schedule another name"),
            (("", "report"), "name='': must be text of 1 to 200 printable characters"),
            ((7, "report"), "name=7: must be text of 1 to 200 printable characters"),
            (("a", ["report"]), r"task=\['report'\]: there is no such cron task"),
            (("a", "report", object()), "payload: must be JSON"),
            (("a", "report", float("nan")), "payload: must be JSON"),
            (("a", "report", None, "yes"), "enabled='yes': must be True or False"),
        ],
    )
    def test_names_and_payloads(self, app, arguments, message):
        with pytest.raises(ValueError, match=f"^{message}"):
            app.control.schedule(*arguments, every="10m")
        assert app.control.schedules() == []

    @pytest.mark.parametrize(
        ("when", "message"),
        [
            ({"schedule": "0 0 31 2 *"}, "there is no such date, so it would never run"),
            ({"hour": 24}, "hour=24"),
            ({"every": "10m", "hour": 2}, "hour=2 and every='10m' each say when"),
            ({"minute": 3}, "minute=3: schedule has no such argument; did you mean 'min'?"),
            ({"timezone": "Mars"}, "timezone='Mars' is no IANA time zone"),
            ({"at": "2026-06-15"}, "at='2026-06-15'"),
            ({"every": "10m", "jitter": -1}, "jitter=-1"),
            ({"every": "10m", "starting": "soon"}, "starting='soon'"),
            (
                {"every": "10m", "starting": NOON, "ending": NOON - MINUTE},
                "ending='2026-06-15T11:59:00",
            ),
            ({"hour": 3, "starting": NOON, "ending": NOON + MINUTE}, "schedule=.* no slot"),
            ({"schedule": []}, r"schedule=\[\] is empty"),
        ],
    )
    def test_what_says_when(self, app, when, message):
        with pytest.raises(ValueError, match=message):
            app.control.schedule("ann", "report", **when)
        assert app.control.schedules() == []

    def test_a_schedule_of_ones_own_is_not_for_the_store(self, app):
        class Never(Schedule):
            def following(self, after):
                return None

            def preceding(self, before):
                return None

            def describe(self):
                return "never"

        for schedule in (Never(), Every("1h").excluding([date(2026, 6, 16)]), [Every("1h")]):
            with pytest.raises(ValueError, match="the store can't keep it"):
                app.control.schedule("ann", "report", schedule=schedule)


class TestWhatSaysWhen:
    @pytest.mark.parametrize(
        ("when", "kept"),
        [
            ({}, {}),
            ({"hour": range(8, 18), "min": 30}, {"hour": list(range(8, 18)), "min": 30}),
            ({"hour": iter([2, 3])}, {"hour": [2, 3]}),
            ({"dow": "mon-fri"}, {"dow": "mon-fri"}),
            ({"schedule": "H 4 * * *"}, {"schedule": "H 4 * * *"}),
            ({"schedule": ["@daily", "0 12 * * *"]}, {"schedule": ["@daily", "0 12 * * *"]}),
            ({"every": timedelta(minutes=90)}, {"every": 5400}),
            ({"at": NOON + HOUR}, {"at": "2026-06-15T13:00:00+00:00"}),
            ({"schedule": Every("30m")}, {"every": 1800}),
            ({"schedule": At(NOON + HOUR)}, {"at": "2026-06-15T13:00:00+00:00"}),
            ({"schedule": Cron("*/5 * * * *")}, {"schedule": "*/5 * * * *"}),
            ({"schedule": [Cron("0 3 * * *")]}, {"schedule": ["0 3 * * *"]}),
            (
                {"schedule": Cron(hour=3, timezone="Asia/Tokyo")},
                {"schedule": "0 3 * * *", "timezone": "Asia/Tokyo"},
            ),
            (
                {"schedule": Cron(day=13, dow=4)},
                {"min": "0", "hour": "0", "day": "13", "month": "*", "dow": "5"},
            ),
            (
                {"schedule": Every("30m").starting(NOON), "ending": NOON + HOUR},
                {
                    "every": 1800,
                    "starting": "2026-06-15T12:00:00+00:00",
                    "ending": "2026-06-15T13:00:00+00:00",
                },
            ),
            ({"every": "1h", "jitter": "10m"}, {"every": "1h", "jitter": "10m"}),
        ],
    )
    def test_is_kept_as_json(self, app, when, kept):
        made = app.control.schedule("ann", "report", **when)
        [schedule] = app.control.schedules("report")
        assert schedule == made
        assert schedule.when == {"timezone": "UTC", **kept}
        again = app.control.schedule("ann", "report", **schedule.when)
        assert (again.when, again.next) == (schedule.when, schedule.next)

    def test_its_hash_is_by_its_own_name(self, app):
        when = {"schedule": "H H * * *"}
        slots = {app.control.schedule(f"c{n}", "report", **when).next for n in range(20)}
        assert len(slots) > 15
        shifts = {
            app.control.schedule(f"c{n}", "report", hour=13, jitter="1h").next for n in range(20)
        }
        assert len(shifts) > 10

    def test_is_described(self, app):
        schedule = app.control.schedule("ann", "report", 1, hour=7, timezone="Europe/Berlin")
        assert schedule.description == "at 07:00 every day (Europe/Berlin)"
        assert (schedule.task, schedule.payload, schedule.enabled) == ("report", 1, True)
        assert app.control.schedules("other") == []


class TestTransactions:
    @pytest.fixture
    def config(self, tmp_path):
        config = configure_with_database(tmp_path)
        config.add_cron_task(lambda: None, name="report", on_demand=True)
        config.add_route("sign_up", "/sign_up")

        def sign_up(request):
            request.dbsession.add(Note(text="customer"))
            request.dbsession.flush()
            request.cron.schedule("ann", "report", 1, every="10m")
            if "twice" in request.GET:
                request.cron.unschedule("ann")
            if "fail" in request.GET:
                raise RuntimeError
            return request.response

        config.add_view(sign_up, route_name="sign_up")
        return config

    def names(self, app):
        return [schedule.name for schedule in scheduler(app.app.registry).schedules()]

    def test_it_is_made_with_the_requests_work(self, config):
        app = TestApp(config.make_wsgi_app())
        app.get("/sign_up")
        assert self.names(app) == ["ann"]
        assert committed(config) == ["customer"]

    def test_an_abort_drops_it(self, config):
        app = TestApp(config.make_wsgi_app())
        with pytest.raises(RuntimeError):
            app.get("/sign_up?fail=1")
        assert (self.names(app), committed(config)) == ([], [])

    def test_it_may_be_removed_in_the_same_one(self, config):
        app = TestApp(config.make_wsgi_app())
        app.get("/sign_up?twice=1")
        assert self.names(app) == []

    def test_a_savepoint_drops_it(self, config):
        def work(request):
            savepoint = request.tm.savepoint()
            request.cron.schedule("ann", "report", every="10m")
            savepoint.rollback()
            return request.response

        config.add_route("work", "/work")
        config.add_view(work, route_name="work")
        app = TestApp(config.make_wsgi_app())
        app.get("/work")
        assert self.names(app) == []

    def test_a_task_may_make_some(self):
        config = configure()

        def sign_up(system):
            system["request"].cron.schedule("ann", "report", every="10m")
            if system["payload"] == "fail":
                raise OSError

        config.add_cron_task(lambda: None, name="report", on_demand=True)
        config.add_cron_task(sign_up, on_demand=True, name="sign_up")
        cron = CronTester(config.make_wsgi_app())
        cron.run("sign_up", "fail")
        assert scheduler(cron.registry).schedules() == []
        cron.run("sign_up")
        assert [one.name for one in scheduler(cron.registry).schedules()] == ["ann"]


class TestTimesByText:
    """Very many schedules are read by the text of their arguments."""

    def find(self, name, **when):
        text = json.dumps(when)
        times = TimesByText("UTC")
        first = times.find("another", text)
        again = times.find(name, text)
        assert again == make_times(name, when, "UTC")
        return first, again

    def test_equal_ones_share_what_they_are(self):
        first, again = self.find("ann", hour=7, timezone="Asia/Tokyo")
        assert again is first
        assert again.timezone == "Asia/Tokyo"

    def test_those_in_other_zones_share_their_fields(self):
        times = TimesByText("UTC")
        [one] = times.find("a", '{"hour": 7, "timezone": "Asia/Tokyo"}').schedules
        [two] = times.find("b", '{"hour": 7}').schedules
        assert one.fields is two.fields
        assert (one.timezone, two.timezone) == ("Asia/Tokyo", "UTC")

    @pytest.mark.parametrize("when", [{"schedule": "h 7 * * *"}, {"hour": "H(0-9)", "min": 0}])
    def test_a_hash_is_of_each_name(self, when):
        first, again = self.find("ann", **when)
        assert again.schedules != first.schedules

    def test_a_share_of_the_jitter_is_of_each_name(self):
        first, again = self.find("ann", every="1h", jitter="30m")
        assert again.schedules is first.schedules
        assert again.offset != first.offset

    def test_bounds_are_kept(self):
        _, again = self.find("ann", every="10h", starting="2030-01-01T00:00:00Z", timezone="UTC")
        assert again.describe() == "every 10 hours, from 2030-01-01 00:00:00 UTC"
