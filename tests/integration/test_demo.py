import json
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.request import ProxyHandler, Request, build_opener

DEADLINE = 30
"""Seconds after which a demo that does not do what it should is given up."""

SLOW_DEMO = """
import sys
from pyramid_cron.__main__ import main
from pyramid_cron.demo import tasks

def wait(system):
    print("a task waits", flush=True)
    tasks.log.info("told to %s", sys.stdin.readline().strip())

tasks.welcome_customers = wait
sys.exit(main())
"""


class Demo:
    """The demo in a process of its own, with the lines it has printed so far."""

    def __init__(self, process):
        self.process = process
        self.lines = []
        self._rest = b""
        self._give_up = time.monotonic() + DEADLINE
        self._selector = selectors.DefaultSelector()
        self._selector.register(process.stdout, selectors.EVENT_READ)

    def read_until(self, enough):
        """Read lines until ``enough`` of them, or the deadline."""
        while not (found := enough(self.lines)):
            left = self._give_up - time.monotonic()
            assert left > 0, "\n".join(self.lines)
            if self._selector.select(left):
                data = os.read(self.process.stdout.fileno(), 65536)
                assert data, "\n".join([*self.lines, "(the demo ended)"])
                *lines, self._rest = (self._rest + data).split(b"\n")
                self.lines += [line.decode() for line in lines]
        return found

    def url(self):
        """Return the address it prints."""
        return self.read_until(lambda lines: captured(lines, r"(http:\S+)/cron$"))

    def stop(self, number, said=b""):
        """Send a signal, then say something; return the exit code and all that was printed."""
        self.process.send_signal(number)
        rest, _ = self.process.communicate(said, timeout=DEADLINE)
        return self.process.returncode, "\n".join([*self.lines, (self._rest + rest).decode()])


@contextmanager
def demo(*options, program=("-m", "pyramid_cron")):
    process = subprocess.Popen(
        [sys.executable, *program, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield Demo(process)
    finally:
        # Killed at once, it would leave its folder behind.
        process.terminate()
        try:
            process.communicate(timeout=DEADLINE)
        finally:
            process.kill()


def get(url, accept="*/*"):
    request = Request(url, headers={"Accept": accept})
    with build_opener(ProxyHandler({})).open(request, timeout=DEADLINE) as answer:
        return answer.status, answer.read().decode()


def captured(lines, pattern):
    """Return what the pattern's group holds in the first line it is found in."""
    return next((found[1] for line in lines if (found := re.search(pattern, line))), None)


def tasks_in(lines, state):
    """Return the names of the tasks shown in this state."""
    shown = [line.split() for line in lines if re.match(r"\d\d:\d\d ", line)]
    return {words[1] for words in shown if words[2] == state}


def test_the_demo_shows_runs_as_they_happen_and_stops_cleanly():
    with demo("--port", "0", "--fast", "0.3") as shop:
        url = shop.url()
        shop.read_until(
            lambda lines: (
                {"customers", "expire-carts", "import-stock"} <= tasks_in(lines, "succeeded")
                and "import-stock" in tasks_in(lines, "failed")
            )
        )
        assert get(url + "/cron") == (200, "ok")
        assert "tick" in json.loads(get(url + "/cron", accept="application/json")[1])
        status, html = get(url + "/")
        assert status == 200
        assert "<td>expire-carts</td>" in html
        code, output = shop.stop(signal.SIGINT)
    assert code == 0
    assert "Traceback" not in output
    assert output.endswith("Stopped.\n")


def test_the_folder_it_names_is_there_while_it_runs_and_gone_after_sigterm():
    with demo("--port", "0", "--fast") as shop:
        folder = shop.read_until(lambda lines: captured(lines, "Data is in (.*), removed"))
        assert Path(folder, "shop.sqlite").exists()
        code, output = shop.stop(signal.SIGTERM)
    assert code == 0
    assert "Traceback" not in output
    assert not Path(folder).exists()


def test_at_the_real_pace_the_first_runs_come_at_once():
    with demo("--port", "0") as shop:
        shop.read_until(lambda lines: "customers" in tasks_in(lines, "succeeded"))
        assert any(line.endswith("at each full minute.") for line in shop.lines)
        code, output = shop.stop(signal.SIGINT)
    assert code == 0
    assert "Traceback" not in output


def test_a_signal_to_stop_lets_a_running_tick_end():
    with demo("--port", "0", program=("-c", SLOW_DEMO)) as shop:
        shop.read_until(lambda lines: "a task waits" in lines)
        code, output = shop.stop(signal.SIGINT, said=b"go on\n")
    assert code == 0
    assert "Traceback" not in output
    assert re.search("customers +succeeded .* told to go on", output)
    assert output.endswith("Stopped.\n")


def test_a_port_in_use_is_one_line_and_exit_code_2():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "pyramid_cron", "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            # On some Pythons importing Pyramid warns.
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"can't listen on 127.0.0.1:{port}: Address already in use\n"
