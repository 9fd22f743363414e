"""The registered tasks by name and in order, and the calendar of their slots."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from .planning.slots import SlotCalendar, compute_task_set_id, is_on_minutes
from .run import TaskKey
from .task import REQUEST_EXECUTOR, Task
from .text import suggest


class TaskSource(Protocol):
    """Where tasks come from that may change while the application runs, such as a folder."""

    @property
    def problems(self) -> Sequence[str]:
        """The problems of the last refresh, a line each."""
        ...

    def refresh(self) -> None:
        """Register tasks that are new, unregister those that are gone."""
        ...


class TaskRegistry:
    """The registered tasks in order of registration, and their calendar; it does not change."""

    __slots__ = (
        "_order",
        "between_calendar",
        "by_name",
        "calendar",
        "fixed_delay_names",
        "task_set_id",
        "tasks",
    )

    def __init__(self, tasks_by_name: Mapping[str, Task]) -> None:
        self.by_name = tasks_by_name
        self.tasks = tuple(tasks_by_name.values())
        self.calendar = SlotCalendar((task.schedules, task.offset) for task in self.tasks)
        #: The slots that are not on a whole minute, for which no tick comes in time.
        self.between_calendar = SlotCalendar(
            ([schedule], task.offset)
            for task in self.tasks
            for schedule in task.schedules
            if not is_on_minutes(schedule, task.offset)
        )
        self.task_set_id = compute_task_set_id(tasks_by_name)
        self.fixed_delay_names = frozenset(
            task.name for task in self.tasks if task.fixed_delay is not None
        )
        self._order: Mapping[str, int] | None = None

    def get(self, name: str) -> Task:
        """Return the task of this name; LookupError if there is none."""
        if not isinstance(name, str):
            raise LookupError(f"there is no cron task named {name!r}: a name is text")
        if name not in self.by_name:
            raise LookupError(f"there is no cron task named {name!r}{suggest(name, self.by_name)}")
        return self.by_name[name]

    def weight(self, name: str) -> int:
        """Return a run's share of ``cron.capacity``: 0 for a task that runs in the request."""
        task = self.by_name[name]
        return 0 if task.executor == REQUEST_EXECUTOR else task.weight

    def lock(self, name: str) -> str | None:
        """Return the lock that a task's runs hold; None if they hold none."""
        return self.by_name[name].lock

    def with_same_lock(self, keys: Collection[TaskKey]) -> Collection[TaskKey]:
        """Return these keys, and the names of the tasks that share a lock with one of them."""
        names = {key if isinstance(key, str) else key[0] for key in keys}
        locks = {self.by_name[name].lock for name in names if name in self.by_name} - {None}
        if not locks:
            return keys
        return {*keys, *(task.name for task in self.tasks if task.lock in locks)}

    def position(self, name: str) -> int:
        """Return a task's position in the order of registration, from 0."""
        if self._order is None:  # seldom needed, and large
            self._order = {name: position for position, name in enumerate(self.by_name)}
        return self._order[name]
