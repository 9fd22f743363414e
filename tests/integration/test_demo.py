"""The demo in a process of its own."""

import json
import signal
import socket
from contextlib import contextmanager
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

from tests.integration.processes import DEADLINE, python, wait_until

EAGER_DEMO = """
import sys
from pyramid_cron import Retry
from pyramid_cron.__main__ import main
from pyramid_cron import demo

demo.CHARGE_RETRY = Retry(attempts=3, delay=0)
sys.exit(main())
"""

SLOW_DEMO = """
import sys
from pyramid_cron.__main__ import main
from pyramid_cron import demo

def wait(system):
    print("a task waits", flush=True)
    demo.log.info("heard %s", sys.stdin.readline().strip())

demo.charge_orders = wait
sys.exit(main())
"""


@contextmanager
def demo(folder, *program):
    """Give the demo as a process, and its address."""
    (folder / "data").mkdir()
    with python(
        folder / "printed", *program, "--port", "0", TMPDIR=str(folder / "data")
    ) as process:
        yield process, process.wait_for("The shop and its tasks: ").rstrip("/")


def get(url, accept="*/*"):
    request = Request(url, headers={"Accept": accept})
    with build_opener(ProxyHandler({})).open(request, timeout=DEADLINE) as answer:
        return answer.url, answer.read().decode()


def ended(folder, process):
    """Assert that it ended cleanly, and return what it printed."""
    assert process.exit_code() == 0
    assert process.lines("Stopped.") == [""]
    assert list((folder / "data").iterdir()) == []
    return process.output


def test_the_demo_hits_its_trigger_shows_its_pages_and_stops_cleanly(tmp_path):
    with demo(tmp_path, "-m", "pyramid_cron") as (process, url):
        wait_until(
            lambda: f"$ curl -fsSL --max-redirs 0 -o /dev/null {url}/cron  # ok" in process.output
        )
        page, html = get(url + "/", accept="text/html")
        assert page == url + "/cron/tasks"
        assert "charge-orders" in html
        assert "tick" in json.loads(get(url + "/cron", accept="application/json")[1])
        [folder] = process.lines("Times are in ")
        assert Path(folder.partition("Data is in ")[2].partition(",")[0], "cron.sqlite").exists()
        process.send(signal.SIGINT)
        ended(tmp_path, process)


def test_a_charge_that_failed_is_retried_by_the_next_tick(tmp_path):
    with demo(tmp_path, "-c", EAGER_DEMO) as (process, url):
        wait_until(lambda: "PaymentServiceError" in get(url + "/cron/runs")[1])
        get(url + "/cron")

        def is_retried():  # by this tick, or by a beat that was quicker
            runs = json.loads(get(url + "/cron/runs?task=charge-orders")[1])["runs"]
            return ("retry", "succeeded") in {(run["trigger"], run["state"]) for run in runs}

        wait_until(is_retried)
        process.send(signal.SIGTERM)
        ended(tmp_path, process)


def test_sigterm_lets_a_running_tick_end(tmp_path):
    with demo(tmp_path, "-c", SLOW_DEMO) as (process, _):
        process.wait_for("a task waits")
        process.send(signal.SIGTERM)
        process.say("go on")
        output = ended(tmp_path, process)
    assert "heard go on" in output
    assert "Traceback" not in output


def test_a_port_in_use_is_one_line_and_exit_code_2(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with python(tmp_path / "printed", "-m", "pyramid_cron", "--port", port) as process:
            assert process.exit_code() == 2
            assert process.output == f"can't listen on 127.0.0.1:{port}: Address already in use\n"
