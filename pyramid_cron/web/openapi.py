"""The OpenAPI document of the data."""

from __future__ import annotations

from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from ..due.health import HealthState
from ..run import Reason, RunState, Trigger
from ..version import __version__
from . import urls
from .actions import FIELDS, RUN_ACTIONS
from .answers import as_json, page

TEXT = {"type": "string"}
MAYBE_TEXT = {"type": ["string", "null"]}
MOMENT = {"type": "string", "format": "date-time"}
MAYBE_MOMENT = {"type": ["string", "null"], "format": "date-time"}
MAYBE_NUMBER = {"type": ["number", "null"]}
INTEGER = {"type": "integer"}
BOOLEAN = {"type": "boolean"}

Schema = dict[str, Any]


@page("GET", "HEAD")
def openapi_view(request: Request) -> Response:
    """Return the document; its one server is this application."""
    return as_json(document(urls.path(request)))


def document(base: str) -> Schema:
    """Return the document of what is below a path."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "pyramid_cron", "version": __version__},
        "servers": [{"url": base}],
        "security": [{}, {"token": []}],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths() -> Schema:
    name = _parameter("name", {"type": "string", "minLength": 1}, "path")
    run_id = _parameter("id", {"type": "string", "pattern": "^[0-9a-f]{26}$"}, "path")
    states = {"type": "array", "items": _enum(RunState)}
    paths = {
        "/tasks": _get(
            "Tasks",
            _parameter("q", TEXT),
            _parameter("limit", _range(100)),
            _parameter("page", _range(1_000_000)),
        ),
        "/tasks/{name}": _get("TaskDetail", name, missing=True),
        "/runs": _get(
            "Runs",
            _parameter("task", TEXT),
            _parameter("state", states),
            _parameter("before", {"type": "string", "pattern": "^[0-9a-f]{26}$"}),
            _parameter("limit", _range(200)),
        ),
        "/runs/{id}": _get("WholeRun", run_id, missing=True),
        "/timeline": _get("Timeline"),
        "/health": _health(),
        "/metrics": _metrics(),
    }
    for action, fields in FIELDS.items():
        answer = "WholeRun" if action == "run" else "Pause"
        paths[f"/tasks/{{name}}/{action}"] = _post(answer, name, fields)
    for action in RUN_ACTIONS:
        paths[f"/runs/{{id}}/{action}"] = _post("Run", run_id, set())
    return paths


def _get(schema: str, *parameters: Schema, missing: bool = False) -> Schema:
    statuses = ["400", "403", "404", "503"] if missing else ["400", "403", "503"]
    return {
        "get": {
            "operationId": f"get{schema}",
            "parameters": list(parameters),
            "responses": _responses(schema, statuses),
        }
    }


def _health() -> Schema:
    texts = {kind: {"schema": TEXT} for kind in ("text/plain", "text/html")}
    told = {"application/json": {"schema": _ref("Health")}} | texts
    responses = {
        "200": {"description": "All is well.", "content": told},
        "403": _content("What is wrong.", "Problem"),
        "503": {
            "description": "Something is wrong; as plain text a line for each.",
            "content": told,
        },
    }
    return {"get": {"operationId": "getHealth", "responses": responses}}


def _metrics() -> Schema:
    text = {"text/plain": {"schema": TEXT}}
    formats = text | {"application/openmetrics-text": {"schema": TEXT}}
    responses = {
        "200": {"description": "What Prometheus scrapes.", "content": formats},
        "403": _content("What is wrong.", "Problem"),
        "501": {"description": "prometheus_client is not installed.", "content": text},
        "503": {"description": "The store can't be read.", "content": text},
    }
    return {"get": {"operationId": "getMetrics", "responses": responses}}


def _post(schema: str, parameter: Schema, fields: set[str]) -> Schema:
    kinds: Schema = {
        "payload": {},
        "at": MOMENT,
        "after": {"type": ["string", "number"]},
        "key": TEXT,
        "reason": TEXT,
        "until": MOMENT,
        "for": {"type": ["string", "number"]},
    }
    later = {"202": _content("It waits for a later tick.", "Deferred")} if "key" in fields else {}
    body = {
        "type": "object",
        "properties": {name: kinds[name] for name in sorted(fields)},
        "additionalProperties": False,
    }
    return {
        "post": {
            "parameters": [parameter],
            "requestBody": {"content": {"application/json": {"schema": body}}},
            "responses": later | _responses(schema, ["400", "403", "404", "409", "503"]),
        }
    }


def _responses(schema: str, statuses: list[str]) -> Schema:
    responses = {"200": _content("As asked.", schema)}
    return responses | {status: _content("What is wrong.", "Problem") for status in statuses}


def _content(description: str, schema: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": _ref(schema)}}}


def _parameter(name: str, schema: Schema, place: str = "query") -> Schema:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _schemas() -> Schema:
    runs = {"type": "array", "items": _ref("Run")}
    return {
        "Problem": _object(error=TEXT),
        "Deferred": _object(name=TEXT, slot=MOMENT, key=MAYBE_TEXT),
        "Progress": _object(done={"type": "number"}, total=MAYBE_NUMBER, message=MAYBE_TEXT),
        "Run": _object(**_run()),
        "WholeRun": _object(
            **_run(),
            payload={},
            traceback=MAYBE_TEXT,
            output=MAYBE_TEXT,
            stdout=MAYBE_TEXT,
            stderr=MAYBE_TEXT,
            required=["id", "task", "state", "output", "traceback"],
            attempts=runs,
        ),
        "Runs": _object(now=MOMENT, runs=runs, next=MAYBE_TEXT),
        "PauseSince": _object(since=MOMENT, until=MAYBE_MOMENT, reason=MAYBE_TEXT),
        "Pause": _object(name=TEXT, paused=_maybe("PauseSince")),
        "Task": _object(**_task()),
        "Tasks": _object(
            now=MOMENT,
            tasks={"type": "array", "items": _ref("Task")},
            total=INTEGER,
            page=INTEGER,
            next=MAYBE_TEXT,
        ),
        "Waiting": _object(slot=MOMENT, attempt=INTEGER, trigger=_enum(Trigger), not_before=MOMENT),
        "TaskDetail": _object(
            **_task(),
            next_slots={"type": "array", "items": MOMENT},
            waiting_slots={"type": "array", "items": _ref("Waiting")},
            policies={"type": ["object", "null"]},
            runs=runs,
        ),
        "Health": _object(
            healthy=BOOLEAN,
            error=TEXT,
            last_tick=MAYBE_MOMENT,
            since_last_tick=MAYBE_NUMBER,
            tasks={"type": "array", "items": _ref("TaskHealth")},
            required=["healthy"],
        ),
        "TaskHealth": _object(
            name=TEXT,
            state=_enum(HealthState),
            detail=MAYBE_TEXT,
            next=MAYBE_MOMENT,
            last=_maybe("LastRun"),
        ),
        "LastRun": _object(
            run=TEXT,
            slot=MOMENT,
            state=_enum(RunState),
            finished=MAYBE_MOMENT,
            duration=MAYBE_NUMBER,
            error=MAYBE_TEXT,
        ),
        "Timeline": _object(since=MOMENT, until=MOMENT, complete=BOOLEAN, runs=runs),
    }


def _run() -> Schema:
    return {
        "id": TEXT,
        "task": TEXT,
        "slot": MOMENT,
        "attempt": INTEGER,
        "trigger": _enum(Trigger),
        "state": _enum(RunState),
        "reason": {"enum": [*(each.value for each in Reason), None]},
        "count": INTEGER,
        "started": MAYBE_MOMENT,
        "finished": MAYBE_MOMENT,
        "duration": MAYBE_NUMBER,
        "error": MAYBE_TEXT,
        "progress": _maybe("Progress"),
        "host": TEXT,
        "pid": INTEGER,
        "url": TEXT,
    }


def _task() -> Schema:
    states = [*(state.value for state in RunState), "orphaned", "paused", "waiting"]
    return {
        "name": TEXT,
        "description": TEXT,
        "schedule": MAYBE_TEXT,
        "state": {"enum": states},
        "next": MAYBE_MOMENT,
        "last": _maybe("Run"),
        "running": {"type": "array", "items": _ref("Run")},
        "waiting": INTEGER,
        "success_rate": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "paused": _maybe("PauseSince"),
        "url": TEXT,
    }


def _object(required: list[str] | None = None, **properties: Schema) -> Schema:
    wanted = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": wanted}


def _maybe(schema: str) -> Schema:
    return {"anyOf": [_ref(schema), {"type": "null"}]}


def _ref(schema: str) -> Schema:
    return {"$ref": f"#/components/schemas/{schema}"}


def _enum(kind: Any) -> Schema:
    return {"enum": [each.value for each in kind]}


def _range(most: int) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": most}
