"""Print what kinto answers, as JSON: ``python -m tests.integration.inside_kinto [INCLUDE …]``."""

import json
import re
import sys

from kinto import main
from webtest import TestApp

SETTINGS = {
    "kinto.project_name": "kinto",
    "kinto.storage_backend": "kinto.core.storage.memory",
    "kinto.cache_backend": "kinto.core.cache.memory",
    "kinto.permission_backend": "kinto.core.permission.memory",
    "kinto.userid_hmac_secret": "secret",
    "kinto.bucket_create_principals": "system.Authenticated",
    "multiauth.policies": "basicauth",
    "cron.url": "sqlite://",
    "cron.timezone": "UTC",
}

RECORD = "/v1/buckets/b/collections/c/records/r"
REQUESTS = (
    ("GET", "/", None),
    ("GET", "/v1", None),
    ("GET", "/v1/", None),
    ("GET", "/v1/__heartbeat__", None),
    ("GET", "/v1/__api__", None),
    ("GET", "/v1/buckets", None),
    ("GET", "/v1/buckets/", None),
    ("PUT", "/v1/buckets/b", {"data": {}}),
    ("PUT", "/v1/buckets/!!", {}),
    ("POST", "/v1/buckets/b", {}),
    ("PUT", "/v1/buckets/b/collections/c", {}),
    ("PUT", RECORD, {"data": {"price": 1}}),
    ("GET", RECORD, None),
    ("HEAD", RECORD.removesuffix("/r"), None),
    ("OPTIONS", "/v1/buckets", None),
    ("POST", "/v1/batch", {"requests": [{"path": "/v1/buckets"}]}),
    ("DELETE", RECORD, None),
    ("GET", RECORD, None),
    ("GET", "/v1/cronjobs", None),
    ("GET", "/v1/none", None),
)
CRON_REQUESTS = (
    ("GET", "/v1/cron", None),
    ("POST", "/v1/cron", {}),
    ("GET", "/v1/cron/tasks", None),
    ("GET", "/v1/cron/health", None),
    ("GET", "/cron", None),
)


def answers(app, requests):
    """Return the status, headers and text of each answer, without moments and ids."""
    for method, path, body in requests:
        headers = {"Authorization": "Basic dTpw"}
        data = b"" if body is None else json.dumps(body).encode()
        if body is not None:
            headers["Content-Type"] = "application/json"
        answer = app.request(path, method=method, headers=headers, body=data, expect_errors=True)
        shown = repr((sorted(answer.headers), answer.content_type, answer.text))
        yield (
            method,
            path,
            answer.status_int,
            re.sub(r"[0-9a-f-]{28,}|\d{13}|\d\d:\d\d:\d\d GMT", "…", shown),
        )


def serve(*includes):
    """Return kinto with these packages included, as its operators include plugins."""
    included = " ".join(("kinto.plugins.default_bucket", *includes))
    app = main({}, **SETTINGS, **{"kinto.includes": included})
    return TestApp(app, extra_environ={"REMOTE_ADDR": "127.0.0.1"})


if __name__ == "__main__":
    app = serve(*sys.argv[1:])
    print(
        json.dumps([list(answers(app, REQUESTS)), [*answers(app, CRON_REQUESTS)]]),
    )
