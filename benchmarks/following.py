"""How long the next slot and a thousand slots take, beside other Python libraries.

    python benchmarks/following.py [--quick]

Each figure is the geometric mean over a dozen expressions of the best of a few rounds, in which
every library has its turn: from text to the next slot, from what was parsed to the next slot, and
through a thousand slots in a row.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from statistics import geometric_mean
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from common import Column, options, show, show_machine

from pyramid_cron.schedule import Cron

EXPRESSIONS = (
    "* * * * *",
    "*/5 * * * *",
    "0 * * * *",
    "0 */2 * * *",
    "30 2 * * *",
    "0 9 * * 1-5",
    "15,45 8-18 * * *",
    "0 12 1,15 * *",
    "0 0 * * 0",
    "0 0 1 * *",
    "0 6 13 * 5",
    "0 0 1 1,4,7,10 *",
)
ZONES = ("UTC", "Europe/Berlin")
FAR = timedelta(days=366 * 300)
OURS = "Cron, between"
COLUMNS = (
    Column("library"),
    Column("parse+1, us", ",.1f", compared=True),
    Column("next, us", ",.1f", compared=True),
    Column("1,000, ms", ",.2f", compared=True),
)

Next = Callable[[Any, datetime], datetime]
Walk = Callable[[Any, datetime], Iterator[datetime]]


class Contender(NamedTuple):
    """How a library parses, finds the next slot and goes on from there."""

    parse: Callable[[str, datetime], Any]
    next: Next
    walk: Walk


def stepping(following: Next) -> Walk:
    """Walk by asking for the next slot again and again."""

    def walk(parsed: Any, start: datetime) -> Iterator[datetime]:
        at = start
        while True:
            yield (at := following(parsed, at))

    return walk


def _cron(text: str, start: datetime) -> Cron:
    return Cron(text, timezone=start.tzinfo.key)


def cron_between() -> Contender:
    return Contender(_cron, Cron.following, lambda cron, start: cron.between(start, start + FAR))


def cron_following() -> Contender:
    return Contender(_cron, Cron.following, stepping(Cron.following))


def croniter_() -> Contender:
    from croniter import croniter

    def following(steps: croniter, start: datetime) -> datetime:
        return steps.get_next(datetime, start_time=start)

    def walk(steps: croniter, start: datetime) -> Iterator[datetime]:
        steps.set_current(start)
        return steps.all_next(datetime)

    return Contender(croniter, following, walk)


def cronsim() -> Contender:
    from cronsim import CronSim

    def parse(text: str, start: datetime) -> tuple[CronSim, dict[str, Any]]:
        sim = CronSim(text, start)
        return sim, dict(vars(sim))

    def walk(parsed: tuple[CronSim, dict[str, Any]], _: datetime) -> Iterator[datetime]:
        sim, fresh = parsed
        vars(sim).update(fresh)
        return sim

    return Contender(parse, lambda parsed, start: next(walk(parsed, start)), walk)


def apscheduler() -> Contender:
    from apscheduler.triggers.cron import CronTrigger

    def parse(text: str, start: datetime) -> CronTrigger:
        return CronTrigger.from_crontab(text, timezone=start.tzinfo)

    def following(trigger: CronTrigger, start: datetime) -> datetime:
        return trigger.get_next_fire_time(start, start)

    return Contender(parse, following, stepping(following))


def celery() -> Contender:
    from celery import Celery
    from celery.schedules import crontab

    apps = {}
    for zone in ZONES:
        apps[zone] = Celery(set_as_current=False)
        apps[zone].conf.timezone = zone

    def parse(text: str, start: datetime) -> crontab:
        minute, hour, day, month, dow = text.split()
        app = apps[start.tzinfo.key]
        return crontab(minute, hour, dow, day, month, nowfun=lambda: start, app=app)

    def following(schedule: crontab, start: datetime) -> datetime:
        last, delta, _ = schedule.remaining_delta(start)
        return last + delta

    return Contender(parse, following, stepping(following))


LIBRARIES: dict[str, Callable[[], Contender]] = {
    OURS: cron_between,
    "Cron, following": cron_following,
    "croniter": croniter_,
    "cronsim": cronsim,
    "APScheduler": apscheduler,
    "celery": celery,
}


def installed() -> dict[str, Contender]:
    """Set up what can be imported."""
    contenders = {}
    for name, make in LIBRARIES.items():
        try:
            contenders[name] = make()
        except ImportError:
            print(f"{name}: absent")
    return contenders


def seconds(work: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def measure(contender: Contender, text: str, start: datetime, quick: bool) -> list[float]:
    """Return seconds: from text to a slot, from what was parsed to a slot, through a thousand."""
    parsed = contender.parse(text, start)
    times, count = (20, 100) if quick else (100, 1000)
    last = islice(contender.walk(parsed, start), count - 1, None)
    return [
        seconds(lambda: contender.next(contender.parse(text, start), start), times),
        seconds(lambda: contender.next(parsed, start), times),
        seconds(lambda: next(last), 1) * 1000 / count,
    ]


def means(contenders: dict[str, Contender], start: datetime, quick: bool) -> dict[str, list[float]]:
    """Return for each library the geometric means of the three over the expressions."""
    best: dict[str, list[list[float]]] = {name: [] for name in contenders}
    for text in EXPRESSIONS:
        for turn in range(2 if quick else 5):
            for name, contender in contenders.items():
                figures = measure(contender, text, start, quick)
                if turn:
                    figures = list(map(min, figures, best[name].pop()))
                best[name].append(figures)
    return {name: list(map(geometric_mean, zip(*rows, strict=True))) for name, rows in best.items()}


def main() -> None:
    quick = options(__doc__, "fewer rounds, rougher figures").parse_args().quick
    contenders = installed()
    for zone in ZONES:
        start = datetime(2026, 3, 10, 11, 17, 42, tzinfo=ZoneInfo(zone))
        rows = [
            (name, parsed * 1e6, one * 1e6, thousand * 1e3)
            for name, (parsed, one, thousand) in means(contenders, start, quick).items()
        ]
        show(zone, COLUMNS, rows, OURS)
    show_machine("croniter", "cronsim", "APScheduler", "celery")


if __name__ == "__main__":
    main()
