"""The main job on real parts: waitress, curl, pyramid_tm, zope.sqlalchemy and SQLite."""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyramid_cron import scheduler
from tests.apps import committed
from tests.integration import shop

ROOT = Path(__file__).parents[2]
CURL = ["curl", "-fsSL", "--max-redirs", "0", "-o", "/dev/null"]

pytestmark = pytest.mark.skipif(
    shutil.which("curl") is None and "CI" not in os.environ, reason="needs curl"
)


@contextmanager
def serving(folder, log):
    """Serve the shop in a process of its own; give the URL of its trigger."""
    with open(log, "ab") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.shop", str(folder)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
        )
    try:
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}/cron"
    finally:
        server.terminate()
        server.communicate(timeout=30)


def curl(*arguments):
    return subprocess.run(["curl", "-sS", *arguments], capture_output=True, text=True, check=True)


def wait_for_room_in_this_minute():
    """Keep what follows within one minute: two hits in two minutes are two slots."""
    if (left := 60 - time.time() % 60) < 5:
        time.sleep(left + 0.1)


def test_the_crontab_line_runs_tasks_commits_their_work_and_keeps_their_runs(tmp_path):
    log = tmp_path / "server.log"
    wait_for_room_in_this_minute()
    with serving(tmp_path, log) as url:
        for _ in range(2):
            done = subprocess.run([*CURL, url], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    config = shop.configure(tmp_path)
    config.commit()
    texts = committed(config)
    assert [text.split()[0] for text in texts] == ["pondered", "sold"]
    runs = scheduler(config.registry).history()
    assert sorted((run.task.rpartition(".")[2], str(run.state)) for run in runs) == [
        ("break_down", "failed"),
        ("ponder", "succeeded"),
        ("sell", "succeeded"),
    ]
    [sold] = [run for run in runs if run.task.endswith("sell")]
    assert sold.output.endswith("INFO  [shop] sold\n")
    written = log.read_text()
    assert written.count("state=running") == 3
    assert written.count("state=succeeded duration=") == 2
    assert "ERROR pyramid_cron __main__.break_down" in written
    assert "RuntimeError: broken" in written


def test_hits_from_everywhere_in_one_minute_run_a_slot_once(tmp_path):
    """Two servers over one store, eight hits at once on each."""
    log = tmp_path / "server.log"
    wait_for_room_in_this_minute()
    with serving(tmp_path, log) as one, serving(tmp_path, log) as two:
        with ThreadPoolExecutor(16) as pool:
            hits = [
                pool.submit(curl, "-f", "-H", "Accept: application/json", url)
                for url in [one, two] * 8
            ]
        answers = [json.loads(hit.result().stdout) for hit in hits]
    ran = [run["task"].rpartition(".")[2] for answer in answers for run in answer["runs"]]
    assert sorted(ran) == ["break_down", "ponder", "sell"]
    config = shop.configure(tmp_path)
    config.commit()
    assert len(scheduler(config.registry).history()) == 3
    assert len(committed(config)) == 2


def test_a_hit_through_an_unknown_proxy_is_refused(tmp_path):
    log = tmp_path / "server.log"
    with serving(tmp_path, log) as url:
        answer = curl("-H", "X-Real-IP: 203.0.113.9", "-w", " %{http_code}", url)
    assert answer.stdout == "fail 127.0.0.1 403"
    assert "WARNING pyramid_cron tick refused: came through a proxy" in log.read_text()
