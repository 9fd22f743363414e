"""Mail about tasks that fail, give up, miss a slot, or work again, through pyramid_mailer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from pyramid.interfaces import IRoutesMapper
from pyramid.registry import Registry
from pyramid_mailer import mailer_factory_from_settings
from pyramid_mailer.interfaces import IMailer
from pyramid_mailer.message import Message

from ..app import CronApp
from ..errors import StoreError
from ..planning.followups import is_exhausted
from ..run import Run, RunReason, RunState, TaskKey
from ..runtime.supervisor import Supervisor
from ..schedule.zones import to_zone
from ..setting_parsers import parse_addresses
from ..store.queries import find_newest_failure, list_attempts, list_earlier_runs
from ..task import Task
from ..text import escape_unprintable
from .delivery import DeliveryError, Monitor, Report, ReportKind

MAIL_TIMEOUT_SECONDS = 30.0
"""Seconds that the mail server has to take a mail."""

MAX_LOG_LINES = 100
"""Lines of a run's log that go with a mail: the last ones."""

MAX_LOG_CHARACTERS = 20_000
"""Characters of it at most."""

MAX_SUBJECT_CHARACTERS = 150
"""Characters of a subject."""

LOOK_BACK_RUNS = 20
"""Earlier runs that are looked at for whether the task was failing before."""

ENDED_STATES = tuple(state for state in RunState if state.is_failure or state is RunState.SUCCEEDED)
"""The states of runs that say whether their task works."""


class News(NamedTuple):
    """What a mail is about."""

    #: What has become of the task, such as ``failed``.
    headline: str
    #: Why, in a line; empty where there is no more to say.
    reason: str
    #: The run that is concerned; None where it is not known.
    run: Run | None


class Mail(Monitor):
    """Mails what changes: a first failure, giving up, a missed slot, the next success."""

    name = "mail"
    kinds = frozenset(
        (ReportKind.SUCCESS, ReportKind.FAILURE, ReportKind.MISSED, ReportKind.GAVE_UP)
    )

    def __init__(self, cron: CronApp, registry: Registry) -> None:
        self._cron, self._registry = cron, registry
        self._settings = cron.settings
        self._mailer: Any = None
        self._is_asked = False
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """Know nothing of a mail that the parent process is sending."""
        self._thread: threading.Thread | None = None
        #: Tasks whose failure nobody was told of, since the mail did not leave.
        self._unreported: set[TaskKey] = set()

    def problem(self, monitor: str) -> str | None:
        """Return why there is nobody to mail to, or to be the sender; None if there is."""
        try:
            recipients = self._recipients(monitor)
        except ValueError as error:
            return f"{error}; mail takes addresses, separated by commas"
        if not recipients:
            return "mail needs the setting cron.mail.to, or an address as the name"
        if self._sender() is None:
            return "mail needs the setting cron.mail.from, or pyramid_mailer's default_sender"
        return None

    def send(self, report: Report) -> None:
        """Mail a report if it is news."""
        key = report.task.key if report.run is None else report.run.task_key
        news = self._find_news(report, key)
        if news is not None:
            try:
                message = self._compose(report, news)
                self._call_in_time(partial(self._find_mailer().send_immediately, message))
            except BaseException:
                if report.kind is ReportKind.FAILURE:
                    self._unreported.add(key)
                raise
        if news is not None or report.kind is ReportKind.SUCCESS:
            self._unreported.discard(key)

    def ask(self, monitor: str) -> None:  # noqa: ARG002
        """Connect to the mail server, for the first task alone, and send nothing."""
        smtp_mailer = getattr(self._find_mailer(), "smtp_mailer", None)
        if smtp_mailer is not None and not self._is_asked:
            self._is_asked = True
            self._call_in_time(lambda: smtp_mailer.smtp_factory().quit())

    def _find_news(self, report: Report, key: TaskKey) -> News | None:
        task, run = report.task, report.run
        if run is None:
            return News("gave up", report.text, self._find_failure(task))
        if report.kind is ReportKind.MISSED:
            slots = "a slot" if run.count == 1 else f"{run.count} slots"
            is_news = not self._was_missing(run)
            return News(f"missed {slots}", "no tick came in time", run) if is_news else None
        if run.state.is_failure:
            is_news = key in self._unreported or not self._was_failing(task, run, is_default=False)
            return News(_verb_of(run), run.error or "", run) if is_news else None
        is_news = run.state is RunState.SUCCEEDED and self._was_failing(task, run)
        return News("works again", "", run) if is_news else None

    def _was_failing(self, task: Task, run: Run, *, is_default: bool | None = None) -> bool:
        """Return whether the task failed for good before this run, after its last success.

        Where the store can't be read, ``is_default`` is the answer; None raises StoreError.
        """
        try:
            earlier_runs = list_earlier_runs(self._cron.store, run, LOOK_BACK_RUNS, ENDED_STATES)
            for earlier in earlier_runs:
                if not earlier.state.is_failure:
                    return False
                if self._is_final(task, earlier):
                    return True
        except StoreError:
            if is_default is None:
                raise
            return is_default
        return False

    def _is_final(self, task: Task, run: Run) -> bool:
        """Return whether a failure had no other attempt, or none by a decision of its own."""
        if is_exhausted(task, run, self._cron.lost_attempts_of(task)):
            return True
        return list_attempts(self._cron.store, run)[-1].id == run.id

    def _was_missing(self, run: Run) -> bool:
        """Return whether the task's newest record before this one is a missed slot, too."""
        earlier = list_earlier_runs(self._cron.store, run, 1)
        return bool(earlier) and earlier[0].reason is RunReason.MISSED

    def _find_failure(self, task: Task) -> Run | None:
        try:
            return find_newest_failure(self._cron.store, task.name, task.schedule_name)
        except StoreError:
            return None

    def _compose(self, report: Report, news: News) -> Message:
        settings, run = self._settings, news.run
        name = _name_of(report.task, run)
        reason = escape_unprintable(" ".join(news.reason.split()))
        title = f"{name} {news.headline}"
        subject = f"{settings.mail_subject_prefix} {title}{': ' if reason else ''}{reason}"
        lines = [title + (f": {reason}" if reason else "") + ".", ""]
        if run is not None:
            lines += describe_run(run, ZoneInfo(settings.timezone), self._page_of(run))
        return Message(
            subject=_shorten(subject),
            sender=self._sender(),
            recipients=list(self._recipients(report.monitor)),
            body="\n".join(lines).encode("utf-8", "backslashreplace").decode(),
            extra_headers={"Auto-Submitted": "auto-generated"},
        )

    def _page_of(self, run: Run) -> str | None:
        """Return the URL of a run's page, where it is known how people reach the application."""
        base_url = self._settings.base_url
        if base_url is None:
            return None
        path = self._registry.getUtility(IRoutesMapper).generate("pyramid_cron", {})
        return f"{base_url}{path}/runs/{run.id}"

    def _recipients(self, monitor: str) -> Sequence[str]:
        """Return the addresses that a name is, or those of the settings."""
        return parse_addresses(monitor) if "@" in monitor else self._settings.mail_to

    def _sender(self) -> str | None:
        sender = self._settings.mail_from or getattr(self._find_mailer(), "default_sender", None)
        return sender or None

    def _find_mailer(self) -> Any:
        """Return the application's mailer; without one, that of its ``mail.`` settings."""
        if (mailer := self._registry.queryUtility(IMailer)) is not None:
            return mailer
        if self._mailer is None:
            settings = self._registry.settings
            prefix = settings.get("pyramid_mailer.prefix", "mail.")
            self._mailer = mailer_factory_from_settings(settings, prefix=prefix)
        return self._mailer

    def _call_in_time(self, function: Callable[[], object]) -> None:
        """Call what speaks to the mail server in a thread, and wait: it may take any time.

        Raises DeliveryError where it fails, or takes too long.
        """
        if self._thread is not None and self._thread.is_alive():
            raise DeliveryError("the mail server has not taken the mail before yet")
        errors: list[BaseException] = []
        self._thread = Supervisor.make_thread("mail server", lambda: _call(function, errors))
        self._thread.start()
        self._thread.join(MAIL_TIMEOUT_SECONDS)
        if self._thread.is_alive():
            raise DeliveryError(f"no answer of the mail server in {MAIL_TIMEOUT_SECONDS:g} s")
        for error in errors:
            text = escape_unprintable(" ".join(str(error).split()))
            raise DeliveryError(f"{type(error).__name__}: {text}") from error


def _call(function: Callable[[], object], errors: list[BaseException]) -> None:
    try:
        function()
    except BaseException as error:
        errors.append(error)


def _name_of(task: Task, run: Run | None) -> str:
    schedule = task.schedule_name if run is None else run.schedule
    name = task.name if schedule is None else f"{schedule} ({task.name})"
    return escape_unprintable(name)


def _verb_of(run: Run) -> str:
    return {RunState.TIMED_OUT: "timed out", RunState.LOST: "was lost"}.get(run.state, "failed")


def _shorten(text: str) -> str:
    if len(text) <= MAX_SUBJECT_CHARACTERS:
        return text
    return f"{text[: MAX_SUBJECT_CHARACTERS - 1]}…"


def describe_run(run: Run, zone: ZoneInfo, page: str | None) -> list[str]:
    """Return the lines of a mail about a run: what there is to know, and the end of its log."""
    slot = to_zone(run.slot, zone).isoformat(" ", "seconds")
    facts = {
        "run": run.id,
        "slot": f"{slot} {zone.key}",
        "attempt": str(run.attempt) if run.attempt > 1 else None,
        "duration": None if run.duration is None else f"{run.duration:.1f} s",
        "host": f"{run.host}, process {run.pid}" if run.host else None,
        "page": page,
    }
    lines = [f"{name + ':':10}{text}" for name, text in facts.items() if text is not None]
    if tail := tail_of(run.output or ""):
        lines += ["", "The end of its log:", "", tail]
    return lines


def tail_of(log: str) -> str:
    """Return the last lines of a log, without what steers a terminal."""
    lines = log[-MAX_LOG_CHARACTERS:].splitlines()[-MAX_LOG_LINES:]
    return "\n".join(escape_unprintable(line, "\t") for line in lines)
