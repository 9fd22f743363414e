"""The reference of the HTTP interface, from the OpenAPI document that the package has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

Schema = Mapping[str, Any]

MEANINGS = {
    "attempt": "the number of the attempt, from 1 on",
    "attempts": "all attempts of this run's slot",
    "cancel_requested": "whether its cancellation was requested",
    "cancelled": "how many runs were cancelled",
    "changed": "when it was made or last changed",
    "complete": "whether all of the span is there",
    "count": "how many slots this stands for; above 1 only where slots were skipped together",
    "crontab_line": "the line for the crontab, where no tick comes",
    "description": "what it is for, or when it is, in words",
    "detail": "what is wrong, or what it waits for, in words",
    "done": "how far it has come",
    "duration": "seconds",
    "enabled": "whether it makes slots",
    "error": "what went wrong, in a line",
    "exit_status": "the exit status of a program or process; below 0 the number of a signal",
    "failed": "the runs that failed in the last 24 hours",
    "finished": "when it ended",
    "healthy": "whether nothing needs a look",
    "host": "the host that has, or had it",
    "jitter": "the span over which slots are spread",
    "key": "the key under which it was deferred",
    "labels": "the labels of the task",
    "last": "the last run",
    "last_tick": "when the last tick was",
    "message": "what the task says of it",
    "name": "its name",
    "next": "the next slot; of a list the path of what follows",
    "next_slots": "the slots to come",
    "not_before": "the moment before which it does not begin",
    "now": "the moment of the answer",
    "output": "what was logged; the last 64 KiB",
    "page": "the number of the page, from 1 on",
    "paused": "the pause it is in",
    "payload": "any JSON value, for the task",
    "pid": "the process that has, or had it",
    "policies": "what was registered: overlap, retry, timeout and the others",
    "progress": "how far it has come, as the task says",
    "reason": "why it was skipped, or is paused",
    "removed": "whether there was one",
    "run": "the run's id",
    "running": "the runs that go on",
    "runs": "the runs",
    "schedule": "when it is due; of a run the name of its stored schedule",
    "schedules": "the stored schedules, by name",
    "since": "the beginning",
    "since_last_tick": "seconds since the last tick",
    "slot": "the moment at which it was meant to run",
    "started": "when it began",
    "state": "the state: see :doc:`recording` for runs, :doc:`monitoring` for tasks",
    "states": "how many tasks are in each state",
    "stderr": "what a program or process wrote there; the last 64 KiB",
    "stdout": "what a program or process wrote there; the last 64 KiB",
    "success_rate": "the share of the latest runs that succeeded",
    "task": "the task's name",
    "tasks": "tasks",
    "ticking": "whether ticks come",
    "timezone": "the zone in which it is meant",
    "total": "how many there are",
    "traceback": "the traceback of the error",
    "trigger": "what made it: the schedule, a retry, somebody",
    "unhealthy": "the tasks that need a look",
    "until": "the end",
    "upcoming": "the next slots of all tasks",
    "url": "the path of its page",
    "waiting": "what waits; of a task, how many runs",
    "waiting_runs": "the runs that wait, the next first",
    "why": "what it waits for: see :ref:`waiting`",
}
"""What fields mean that the document does not describe: a name means the same everywhere."""

METHODS = ("get", "post", "put", "delete")

DOCUMENT = json.loads((files("pyramid_cron.web") / "openapi.json").read_text("utf-8"))
SCHEMAS: Mapping[str, Schema] = DOCUMENT["components"]["schemas"]


class CronPaths(SphinxDirective):
    """Every path: what it takes, and what it answers."""

    def run(self) -> list[nodes.Node]:
        """Return an entry for each path and method."""
        return _parsed(self, list(_paths()))


class CronObjects(SphinxDirective):
    """Every object of the answers, with its fields."""

    def run(self) -> list[nodes.Node]:
        """Return a table for each."""
        return _parsed(self, list(_objects()))


def _paths() -> Iterator[str]:
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS:
            if method in item:
                shared = item.get("parameters", [])
                yield from _operation(f"{method.upper()} {path}", item[method], shared)


def _operation(title: str, operation: Schema, shared: Iterable[Schema]) -> Iterator[str]:
    yield from (f"``{title}``", "")
    if about := operation.get("description", operation.get("summary")):
        yield from (f"   {_text(about)}", "")
    parameters = [_resolved(each) for each in (*shared, *operation.get("parameters", []))]
    if parameters:
        yield from _indented(_table(_row_of_parameter(each) for each in parameters))
    for kind, media in operation.get("requestBody", {}).get("content", {}).items():
        yield from (f"   The body, ``{kind}``:", "")
        yield from _indented(_fields(media["schema"]))
    yield from (f"   Answers: {'; '.join(_answers(operation['responses']))}.", "")


def _row_of_parameter(parameter: Schema) -> tuple[str, str, str]:
    place = "" if parameter["in"] == "query" else f" ({parameter['in']})"
    about = parameter.get("description", parameter["schema"].get("description", ""))
    return f"``{parameter['name']}``{place}", _kind(parameter["schema"]), _text(about)


def _answers(responses: Schema) -> Iterator[str]:
    for status, answer in responses.items():
        response = _resolved(answer)
        schemas = [media["schema"] for media in response.get("content", {}).values()]
        kinds = dict.fromkeys(_kind(schema) for schema in schemas)
        yield f"``{status}`` {' or '.join(kinds) or _text(response['description']).rstrip('.')}"


def _resolved(part: Schema) -> Schema:
    """Return a response or parameter that may be a reference to a shared one."""
    if "$ref" not in part:
        return part
    *_, group, name = part["$ref"].split("/")
    shared: Schema = DOCUMENT["components"][group][name]
    return shared


def _objects() -> Iterator[str]:
    for name, schema in SCHEMAS.items():
        yield from (f".. _http-{name.lower()}:", "", f".. rubric:: {name}", "")
        if about := schema.get("description"):
            yield from (_text(about), "")
        yield from _fields(schema)


def _fields(schema: Schema) -> list[str]:
    """Return a table of an object's fields, or a line for any other schema."""
    rows = list(_rows(schema))
    return list(_table(rows)) if rows else [f"{_kind(schema)}", ""]


def _rows(schema: Schema) -> Iterator[tuple[str, str, str]]:
    for part in schema.get("allOf", []):
        if "$ref" in part:
            yield f"those of {_kind(part)}", "", ""
        else:
            yield from _rows(part)
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        optional = "" if name in required or not required else " (not always)"
        yield f"``{name}``{optional}", _kind(field), _meaning(name, field)


def _meaning(name: str, field: Schema) -> str:
    about = field.get("description")
    return _text(about) if about else MEANINGS.get(name, "")


def _kind(schema: Schema) -> str:
    """Return what a value is, in words, with a link where it is an object of its own."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f":ref:`{name} <http-{name.lower()}>`"
    for several in ("oneOf", "anyOf", "allOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_kind(each) for each in schema[several]))
    if "const" in schema:
        return f"``{json.dumps(schema['const'])}``"
    if "enum" in schema:
        return ", ".join(f"``{json.dumps(value)}``" for value in schema["enum"])
    return _kind_of_type(schema)


def _kind_of_type(schema: Schema) -> str:
    types = schema.get("type", "any JSON value")
    names = [types] if isinstance(types, str) else list(types)
    return " or ".join(_of_one_type(name, schema) for name in names)


def _of_one_type(name: str, schema: Schema) -> str:
    if name == "array" and "items" in schema:
        return f"array of {_kind(schema['items'])}"
    if name == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties']) or 'any JSON value'}"
    if name == "object" and schema.get("properties"):
        fields = schema["properties"].items()
        return f"object of {', '.join(f'``{key}`` ({_kind(field)})' for key, field in fields)}"
    if name == "string" and "format" in schema:
        return f"string ({schema['format']})"
    return name


def _table(rows: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    yield from (".. list-table::", "   :widths: 28 32 40", "")
    for first, second, third in rows:
        yield from (f"   * - {first}", f"     - {second or ' '}", f"     - {third or ' '}")
    yield ""


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"   {line}" for line in lines)


def _text(text: str) -> str:
    """Return the document's Markdown as reStructuredText."""
    return text.replace("`", "``").replace("*", r"\*").replace("\n", " ")


def _parsed(directive: SphinxDirective, lines: list[str]) -> list[nodes.Node]:
    container = nodes.Element()
    directive.state.nested_parse(StringList(lines, source=__file__), 0, container)
    return list(container.children)


def setup(app: Any) -> dict[str, Any]:
    """Add the directives to Sphinx."""
    app.add_directive("cron-http-paths", CronPaths)
    app.add_directive("cron-http-objects", CronObjects)
    return {"parallel_read_safe": True}
