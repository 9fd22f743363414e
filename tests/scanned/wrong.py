"""A function whose decorator has an argument that there is not."""

from pyramid_cron import cron_task


@cron_task(minute=5)
def wrong(system):
    pass
