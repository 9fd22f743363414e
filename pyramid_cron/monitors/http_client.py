"""Requests to monitors by HTTP."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from ..version import __version__
from .delivery import DeliveryError

MONITOR_TIMEOUT_SECONDS = 5.0
"""Seconds that a monitor has to answer."""

_MAX_ANSWER_BYTES = 10_000
"""Bytes of an answer that are read."""


def get(url: str, headers: Mapping[str, str] = MappingProxyType({})) -> str:
    """Request a URL, which may be secret, by GET; return the beginning of the answer's text.

    Raises DeliveryError for any status but 200 to 299, and without an answer in time.
    """
    return _request(url, None, headers)


def post(url: str, text: str) -> str:
    """Do the same by POST, with a text that may be empty."""
    headers = {"Content-Type": "text/plain; charset=utf-8"} if text else {}
    return _request(url, text.encode("utf-8", "replace"), headers)


def _request(url: str, body: bytes | None, headers: Mapping[str, str]) -> str:
    headers = {"User-Agent": f"pyramid_cron/{__version__}", **headers}
    request = urllib.request.Request(url, body, headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=MONITOR_TIMEOUT_SECONDS) as response:  # noqa: S310
            answer: bytes = response.read(_MAX_ANSWER_BYTES)
    except urllib.error.HTTPError as error:
        error.close()
        cause = f"{_host_of(url)} answered {error.code} {error.reason}"
        raise DeliveryError(cause, is_check_specific=error.code < 500, status=error.code) from None
    except urllib.error.URLError as error:
        raise DeliveryError(f"{_host_of(url)}: {_describe_failure(error.reason)}") from None
    except OSError as error:
        raise DeliveryError(f"{_host_of(url)}: {_describe_failure(error)}") from None
    except http.client.HTTPException as error:
        raise DeliveryError(f"{_host_of(url)}: no HTTP ({type(error).__name__})") from None
    return answer.decode("utf-8", "replace")


def _describe_failure(reason: object) -> str:
    if isinstance(reason, TimeoutError):
        return f"no answer in {MONITOR_TIMEOUT_SECONDS:g} s"
    return str(reason) or type(reason).__name__


def _host_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
