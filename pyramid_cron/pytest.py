"""A fixture for tests with pytest, in a plugin that a ``conftest.py`` asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .testing import CronTester


@pytest.fixture
def cron_tester(app: Any) -> Iterator[CronTester]:
    """Give a :class:`~pyramid_cron.testing.CronTester` of the fixture ``app``, reset afterwards.

    ``app`` is the tests' own fixture, of whatever scope: the application, or a ``TestApp``.
    """
    with CronTester(app) as tester:
        yield tester
