"""Decorated functions."""

from pyramid_cron import cron_task


@cron_task(hour=7, min=30)
def report(system):
    """Mail the report."""
    system["registry"].ran.append("report")


@cron_task
def pulse(system):
    system["registry"].ran.append("pulse")


@cron_task(name="early", hour=1)
@cron_task(30, 2, name="late")
def roll_up(system):
    system["registry"].ran.append(system["run"].task)


@cron_task(every="10s", category="other", name="elsewhere")
async def elsewhere(system):
    system["registry"].ran.append("elsewhere")
