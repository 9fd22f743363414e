"""Decorated methods and classes."""

from pyramid_cron import cron_task


class Tasks:
    def __init__(self, system):
        self.ran = system["registry"].ran

    @cron_task(hour=3)
    def nightly(self):
        """Clean up."""
        self.ran.append("nightly")

    @cron_task
    async def often(self, system):
        self.ran.append(system["run"].task)

    @cron_task(name="static", hour=5)
    @staticmethod
    def static(system):
        system["registry"].ran.append("static")

    @cron_task
    @classmethod
    def of_class(cls, system):
        system["registry"].ran.append(cls.__name__)


@cron_task(attr="run", hour=6)
class Plain:
    def run(self, system):
        system["registry"].ran.append("plain")


@cron_task(hour=8, name="called")
class Called:
    def __init__(self, system):
        system["registry"].ran.append("called")
