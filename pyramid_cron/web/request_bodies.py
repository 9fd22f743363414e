"""What a request for an action sends: a body in JSON or a form, and the fields in it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from pyramid.request import Request

from ..app import get_cron
from ..run import MAX_PAYLOAD_CHARACTERS
from ..schedule.quantities import parse_duration
from ..schedule.zones import parse_moment
from ..text import suggest
from .access import CSRF_FIELD, is_csrf_safe
from .problems import HTTPProblem

FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")
JSON_TYPE = "application/json"

MAX_BODY_BYTES = MAX_PAYLOAD_CHARACTERS + 2**20
"""Bytes that a body may have: the longest payload, and what goes with it."""


def read_body(request: Request, allowed_fields: set[str]) -> dict[str, Any]:
    """Return the body's fields, of JSON or of a form, whose empty fields are left out.

    Raises HTTPProblem 403 without a CSRF token, 400 for fields that are not allowed.
    """
    _check_size(request)
    read_form(request)  # it may have the token
    if not is_csrf_safe(request):
        raise HTTPProblem(403, "the CSRF token is missing or wrong: load the page again")
    is_json = request.content_type == JSON_TYPE
    if not is_json and request.content_type not in ("", *FORM_TYPES) and request.body.strip():
        raise HTTPProblem(415, f"{request.content_type}: must be {JSON_TYPE} or a form")
    body = _parse_json(request) if is_json else _parse_form(request)
    unknown = sorted(set(body) - allowed_fields)
    if unknown:
        allowed = ", ".join(sorted(allowed_fields))
        hint = f"there is {allowed}" if allowed else "nothing is taken here"
        message = f"{unknown[0]!r} is no field{suggest(unknown[0], allowed_fields)}; {hint}"
        raise HTTPProblem(400, message, blamed=unknown[0])
    return body


def _check_size(request: Request) -> None:
    """Refuse a body that is too large, before more of it is read than is allowed."""
    length = request.content_length
    if length is None and request.is_body_readable:  # it comes in chunks
        request.body = request.body_file_raw.read(MAX_BODY_BYTES + 1)
        length = len(request.body)
    if length is not None and length > MAX_BODY_BYTES:
        raise HTTPProblem(413, f"the body is too large: it may have {MAX_BODY_BYTES:,} bytes")


def _parse_json(request: Request) -> dict[str, Any]:
    if not request.body.strip():
        return {}
    try:
        body = json.loads(request.body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise HTTPProblem(400, "the body is no JSON") from None
    if not isinstance(body, dict):
        raise HTTPProblem(400, "the body must be a JSON object")
    return body


def _parse_form(request: Request) -> dict[str, Any]:
    fields = read_form(request).items()
    body = {name: text for name, text in fields if name != CSRF_FIELD and text != ""}
    if "payload" in body:
        try:
            body["payload"] = json.loads(str(body["payload"]), parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise HTTPProblem(400, 'payload: must be JSON, as "text" or {"id": 7}') from None
    return body


def read_form(request: Request) -> Any:
    """Return the fields of a form; none for JSON. Raises HTTPProblem 400 if it can't be read."""
    try:
        return request.POST
    except (ValueError, DeprecationWarning):  # WebOb warns of any charset but UTF-8
        raise HTTPProblem(400, "the body is no form in UTF-8") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def optional_text(body: dict[str, Any], name: str) -> str | None:
    """Return a field that is text; None if it is missing."""
    text = body.get(name)
    if text is not None and not isinstance(text, str):
        raise HTTPProblem(400, f"{name}={text!r}: must be text")
    return text


def parse_until(request: Request, body: dict[str, Any]) -> datetime | None:
    """Return the end of a pause from ``for`` or ``until``; None without an end."""
    until, duration = optional_text(body, "until"), body.get("for")
    now = get_cron(request.registry).clock()
    if until is not None and duration is not None:
        raise HTTPProblem(400, "for: can't go with until")
    try:
        if duration is not None:
            return now + parse_duration(duration, argument="for", min_seconds=1)
        moment = parse_moment(until) if until else None
    except (ValueError, TypeError, OverflowError) as error:
        blamed = "until" if duration is None else "for"
        raise HTTPProblem(400, f"for or until: {error}", blamed=blamed) from None
    if moment is not None and moment <= now:
        raise HTTPProblem(400, f"until={until!r}: must be in the future")
    return moment


def parse_when(request: Request, body: dict[str, Any]) -> dict[str, Any]:
    """Return ``at`` and ``after``; in a form ``at`` may be local time, as pages show it."""
    at, after = body.get("at"), body.get("after")
    if at is not None and request.content_type != "application/json":
        zone = ZoneInfo(get_cron(request.registry).settings.timezone)
        try:
            at = parse_moment(str(at), zone)
        except ValueError as error:
            raise HTTPProblem(400, f"at: {error}") from None
    return {"at": at, "after": after}
