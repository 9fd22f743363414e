"""The runs that this process has claimed, each until what became of it is written."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from .. import events, logs
from ..clock import Stopwatch
from ..due.facts import Pending
from ..run import Run, RunState, TaskCancelled, TaskTimeout, Trigger, changed
from ..store.journal import Journal
from ..store.outcomes import Noted, Outcome, Paused
from ..store.store import Store
from .live import Live

News = tuple[Any, ...]
"""A kind of event and its values."""

log = logging.getLogger("pyramid_cron")


class Held:
    """The runs of this process by their ids, their leases, and their ends.

    ``lease`` is how long each is ours if nothing is heard of us, ``outcome`` tells what comes of a
    run's end, ``wall`` tells the time as other processes have it.
    """

    def __init__(
        self,
        store: Store,
        journal: Journal,
        lease: timedelta,
        outcome: Callable[[Run, bool], Outcome],
        wall: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._journal = journal
        self._lease = lease
        self._outcome = outcome
        self._wall = wall
        self._lives: dict[str, Live] = {}
        self._news: list[News] = []

    def __len__(self) -> int:
        return len(self._lives)

    def lives(self) -> list[Live]:
        """Return them as they are now: other threads may add some, and take some away."""
        return list(self._lives.values())

    def going_on(self) -> list[Live]:
        """Return those that are not over, and not given up."""
        return [live for live in self.lives() if not (live.given_up or live.run.state.final)]

    def all_ours(self) -> bool:
        """Return whether all leases last, as far as is known here."""
        return all(live.ours() for live in self.lives())

    def lease_from(self, clock: Stopwatch) -> datetime:
        """Return until when a lease lasts that begins now."""
        return max(clock.now(), self._wall()) + self._lease

    def add(self, runs: Iterable[Run], clock: Stopwatch) -> None:
        """Hold runs that were just claimed."""
        lease = self.lease_from(clock)
        self._lives |= {run.id: Live(run, clock, self._wall, lease) for run in runs}

    def live(self, run_id: str) -> Live | None:
        """Return a run that is held, or None if it is not ours any more."""
        return self._lives.get(run_id)

    def regain(self, live: Live) -> bool:
        """Return whether a run is still ours whose lease has passed, and begin a new one if it is.

        After a pause longer than the lease (a frozen process, a sleeping computer) the store has
        the last word. Raises StoreError where that can't be asked.
        """
        self._renew([live])
        return live.run.id in self._lives

    def let_go(self, run_id: str) -> bool:
        """Hold a run no longer, which goes to another process; False if it is not ours."""
        live = self._lives.get(run_id)
        if live is None or live.given_up:
            return False
        return self._lives.pop(run_id, None) is not None

    def release(self, noted: Noted) -> None:
        """Hold those no longer whose end is written."""
        for outcome in noted.outcomes:
            if outcome.run.state.final:
                self._lives.pop(outcome.run.id, None)

    def forget(self) -> None:
        """Hold none any more, in a process that was forked from the one that has claimed them."""
        self._lives = {}

    # Leases.

    def cancel(self, run_id: str) -> None:
        """Tell a run to stop, if it is held."""
        live = self._lives.get(run_id)
        if live is not None:
            live.interrupt(TaskCancelled("was cancelled"))

    def keep(self) -> None:
        """Heed who was cancelled, and renew the leases that have lasted for a third.

        Raises StoreError.
        """
        lives = self.lives()
        if not lives:
            return
        for run_id in self._store.cancelled():
            self.cancel(run_id)
        third = self._lease / 3
        late = [live for live in lives if live.lease - live.moment() < 2 * third]
        if late:
            self._renew(late)

    def _renew(self, lives: Sequence[Live]) -> None:
        leases = {live.run.id: live.moment() + self._lease for live in lives}
        ours = self._store.renew(list(leases), max(leases.values()))
        for live in lives:
            if live.run.id in ours:
                live.lease = leases[live.run.id]
                continue
            self._lives.pop(live.run.id, None)
            if not live.run.state.final:  # else its end may have been written meanwhile
                live.interrupt(TaskCancelled("was taken for lost, since its lease had passed"))
                log.warning("%s run=%s is not ours any more", live.run.task, live.run.id)

    # Ends that are not the task's own.

    def leave(self, live: Live, why: str) -> Run:
        """Give a slot back to whoever ticks next, since it is not begun with here."""
        run = live.run
        now = live.clock.now()
        later = Pending(
            run.task,
            run.slot,
            Trigger.RETRY,
            now,
            attempt=run.attempt + 1,
            nonce=run.nonce,
            payload=run.payload,
        )
        left = changed(run, state=RunState.CANCELLED, finished=now, error=why)
        live.given_up = True
        self._journal.note(Outcome(left, [later]))
        logs.log_finished(left)
        return left

    def call_off(self, live: Live) -> Run:
        """Put on record that a run is over which was told to stop before it began."""
        live.given_up = True
        run = changed(
            live.run,
            state=RunState.CANCELLED,
            finished=live.clock.now(),
            error=f"{live.interruption} before it began",
        )
        logs.log_finished(run)
        self._end(run)
        return run

    def give_up(self, live: Live) -> None:
        """Put on record that a run is over which does not end, so that it blocks nothing."""
        live.given_up = True
        if live.kill():
            then, told = "it was killed", "does not stop in time; it is killed"
        else:
            then = "it could not be stopped and may still be going on"
            told = "does not stop; it is given up"
        timed_out = isinstance(live.interruption, TaskTimeout)
        run = changed(
            live.run,
            state=RunState.TIMED_OUT if timed_out else RunState.CANCELLED,
            finished=live.clock.now(),
            error=f"{live.interruption}; {then}",
            **live.written(),
        )
        log.warning("%s run=%s %s", run.task, run.id, told)
        self._end(run, live.stopped)

    def _end(self, run: Run, stopped: bool = False) -> None:
        self._journal.note(self._outcome(run, stopped))
        self._news.append((events.ENDS[run.state], run))

    # What nobody was told of yet.

    @property
    def has_news(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._news)

    def note_paused(self, paused: Iterable[Paused]) -> None:
        """Note which tasks were paused, since they kept failing."""
        self._news += [(events.TaskPaused, each.task, None, each.reason) for each in paused]

    def take_news(self) -> list[News]:
        """Return what has happened that nobody was told of yet."""
        news, self._news = self._news, []
        return news
