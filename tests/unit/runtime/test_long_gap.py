"""After a long time without ticks nobody has to wait for the tick that comes first."""

import sqlite3
from datetime import datetime, timedelta
from typing import ClassVar

import pytest

from pyramid_cron import Cron, scheduler
from pyramid_cron.app import get_cron
from pyramid_cron.schedule import Every
from tests.apps import NOON, configure, cron_of

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


class Watching(Every):
    """Notes whether others may write to the store while it is asked for slots."""

    __slots__ = ()
    file = ""
    free: ClassVar[list[bool]] = []

    def following(self, after):
        self.note()
        return super().following(after)

    def between(self, start, end):
        self.note()
        return super().between(start, end)

    def note(self):
        # The thread that writes results has the lock for moments; a tick would have it for good.
        connection = sqlite3.connect(Watching.file, timeout=2)
        try:
            connection.execute("BEGIN IMMEDIATE")
            Watching.free.append(True)
        except sqlite3.OperationalError:
            Watching.free.append(False)
        finally:
            connection.close()


@pytest.mark.parametrize("gap", [10 * MINUTE, 3 * DAY])
@pytest.mark.parametrize("catch_up", ["once", "all", "none"])
def test_others_may_write_while_it_is_worked_out_what_is_due(tmp_path, monkeypatch, gap, catch_up):
    monkeypatch.setattr(Watching, "file", str(tmp_path / "cron.sqlite"))
    config = configure(**{"cron.url": f"sqlite:///{tmp_path}/cron.sqlite"})
    for minutes in (2, 5, 10):
        schedule = Watching(f"{minutes}m")
        config.add_cron_task(
            lambda system: None, name=f"every {minutes}", schedule=schedule, catch_up=catch_up
        )
    cron = cron_of(config)
    cron.tick(NOON)
    monkeypatch.setattr(Watching, "free", [])
    cron.tick(NOON + gap)
    assert Watching.free
    assert all(Watching.free)


def skipped(report):
    return [(run.slot, run.reason, run.count) for run in report.skipped]


def test_all_slots_of_the_time_are_counted():
    config = configure()
    config.add_cron_task(lambda system: None, name="a", min="*")
    cron = cron_of(config)
    cron.tick(NOON)
    report = cron.tick(NOON + 3 * DAY)
    assert [run.slot for run in report.runs] == [NOON + 3 * DAY]
    assert skipped(report) == [
        (NOON + 3 * DAY - 61 * MINUTE, "missed", 3 * 1440 - 61),
        (NOON + 3 * DAY - MINUTE, "superseded", 60),
    ]


def test_slots_of_a_pause_in_that_time_are_not_missed():
    config = configure()
    config.add_cron_task(lambda system: None, name="a", min="*")
    cron = cron_of(config)
    cron.tick(NOON)
    app_cron, control = get_cron(config.registry), scheduler(config.registry)
    app_cron.clock = lambda: NOON + DAY + MINUTE / 2
    control.pause("a")
    app_cron.clock = lambda: NOON + 2 * DAY + MINUTE / 2
    control.resume("a")
    assert skipped(cron.tick(NOON + 3 * DAY)) == [
        (NOON + 2 * DAY, "paused", 1440),
        (NOON + 3 * DAY - 61 * MINUTE, "missed", 2 * 1440 - 61),
        (NOON + 3 * DAY - MINUTE, "superseded", 60),
    ]


def test_a_slot_of_that_time_that_is_filled_in_is_not_counted():
    config = configure()
    config.add_cron_task(lambda system: None, name="a", min="*")
    cron = cron_of(config)
    cron.tick(NOON)
    get_cron(config.registry).clock = lambda: NOON + 3 * DAY - MINUTE / 2
    assert scheduler(config.registry).backfill("a", NOON + DAY, NOON + DAY + 5 * MINUTE) == 5
    assert skipped(cron.tick(NOON + 3 * DAY))[0] == (
        NOON + 3 * DAY - 61 * MINUTE,
        "missed",
        3 * 1440 - 61 - 5,
    )


class Mornings(Cron):
    """Every minute, as a cron; but it has slots at eight only."""

    __slots__ = ()

    def following(self, after: datetime) -> datetime | None:
        return Cron("0 8 * * *").following(after)


def test_a_schedule_of_ones_own_is_obeyed_by_ticks_forecasts_and_backfills():
    config = configure()
    config.add_cron_task(
        lambda system: None, name="a", schedule=Mornings("* * * * *"), grace=None, catch_up="all"
    )
    cron = cron_of(config)
    eight = NOON - timedelta(hours=4)
    assert [run.slot for run in cron.tick(eight).runs] == [eight]
    assert cron.tick(eight + MINUTE).runs == ()
    days = [eight + n * DAY for n in (1, 2, 3)]
    assert [run.slot for run in cron.tick(NOON + 3 * DAY).runs] == days
    assert [planned.slot for planned in cron.simulate(eight, NOON + 3 * DAY)] == days
    assert scheduler(config.registry).status("a").next == eight + 4 * DAY
    control = scheduler(config.registry)
    assert control.backfill("a", eight - 2 * DAY, eight - MINUTE) == 1
