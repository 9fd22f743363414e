"""The pictures in the documentation are what the schedules say."""

import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
drawing = runpy.run_path(str(DOCS / "pictures.py"))
pictures = {picture.name: picture for picture in drawing["pictures"]()}


@pytest.mark.parametrize("name", ["spring", "autumn"])
def test_the_picture_in_the_documentation_is_the_one_that_is_drawn_now(name):
    there = DOCS / "_static" / f"shift-{name}.svg"
    assert there.read_text() == drawing["draw"](pictures[name]), "python docs/pictures.py"
    assert there.name in (DOCS / "daylight_saving.rst").read_text()


def marks(name, expression):
    cron = drawing["Cron"](expression, timezone="Europe/Berlin")
    found = list(pictures[name].marks(cron))
    assert all(mark.instead is None for mark in found if mark.runs)
    return (
        sorted(mark.place for mark in found if mark.runs),
        sorted((mark.place, mark.instead) for mark in found if not mark.runs),
    )


def test_in_spring_a_cross_has_an_arrow_to_the_slot_that_makes_up_for_it():
    # The hours are 1, 2 (which is skipped), 3 and 4.
    assert marks("spring", "0,30 2 * * *") == ([2], [(1, 2), (1.5, 2)])
    assert marks("spring", "*/30 2 * * *") == ([], [(1, None), (1.5, None)])
    assert marks("spring", "30 * * * *") == ([0.5, 2.5, 3.5], [(1.5, None)])


def test_in_autumn_a_fixed_time_has_a_cross_the_second_time():
    # The hours are 1, 2, 2 again, 3 and 4.
    assert marks("autumn", "30 2 * * *") == ([1.5], [(2.5, None)])
    assert marks("autumn", "*/30 2 * * *") == ([1, 1.5, 2, 2.5], [])
