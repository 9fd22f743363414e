from datetime import datetime, timedelta, timezone

from pyramid_cron.demo.pace import FastPace, Pace

MOMENT = datetime(2026, 11, 23, 8, 30, 59, 250_000, tzinfo=timezone.utc)


def test_the_real_pace_waits_for_the_next_full_minute():
    assert Pace(lambda: MOMENT).wait() == 0.75


def test_at_a_full_minute_the_real_pace_waits_for_the_one_after():
    assert Pace(lambda: MOMENT.replace(second=0, microsecond=0)).wait() == 60


def test_the_real_clock_is_not_put_forward():
    pace = Pace(lambda: MOMENT)
    pace.next_minute()
    assert pace.now() == MOMENT
    assert pace.describe() == "at each full minute"


def test_the_fast_clock_stands_still_until_it_is_put_forward_by_a_minute():
    pace = FastPace(MOMENT, seconds=0.5)
    assert pace.now() == pace.now() == MOMENT.replace(second=0, microsecond=0)
    pace.next_minute()
    assert pace.now() == MOMENT.replace(second=0, microsecond=0) + timedelta(minutes=1)
    assert pace.wait() == 0.5
    assert pace.describe().startswith("every 0.5 seconds.")
