"""What the pages on deployment say is tried, word for word, on the programs that it is about."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import yaml
from webtest.http import StopableWSGIServer

from pyramid_cron import Cron
from tests.integration.processes import missing, program, python, wait_until
from tests.integration.recipes import DOCS, Shop, free_port, recipe, replaced

TOKEN = "2f9c41d7e0b84a15"
INI = "/srv/shop/production.ini"
CONF = "/etc/nginx/conf.d/shop.conf"

OUTSIDE = "127.0.0.9"
"""An address of this machine that is none of the allowed ones."""

INSIDE = "127.0.0.17"
"""One that stands for the company's network."""

INSIDE_NETWORK = "127.0.0.16/28"


@pytest.fixture
def shop(tmp_path):
    if shutil.which("curl") is None:
        missing("needs curl")
    return Shop(tmp_path)


def curl(*arguments):
    done = subprocess.run(
        ["curl", "-sS", "-w", " %{http_code}", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done
    return done.stdout


def answers(url):
    return subprocess.run(["curl", "-s", "-o", os.devnull, url]).returncode == 0


@contextmanager
def pserve(shop, caption=INI, changes=None, options=()):
    ini = shop.write("production.ini", caption, changes)
    command = ["-m", "pyramid.scripts.pserve", ini, *options]
    with python(shop.folder / "printed", *command) as server:
        wait_until(lambda: answers(shop.url.replace("/cron", "/")))
        yield server


@contextmanager
def gunicorn(shop, changes=None, settings=None):
    """Serve as the unit file says."""
    ini = shop.write("production.ini", changes=settings)
    conf = shop.write("gunicorn.conf.py", changes=changes)
    files = {"production.ini": str(ini), "gunicorn.conf.py": str(conf)}
    command = [files.get(word, word) for word in shlex.split(in_unit("shop.service", "ExecStart"))]
    assert command.pop(0).endswith("/bin/gunicorn")
    with python(shop.folder / "printed", "-m", "gunicorn", *command) as server:
        wait_until(lambda: answers(shop.url.replace("/cron", "/")))
        yield server


def in_unit(name, key):
    """What one of the page's unit files says."""
    lines = recipe(f"/etc/systemd/system/{name}").splitlines()
    [value] = [line.removeprefix(f"{key}=") for line in lines if line.startswith(f"{key}=")]
    return value


# Servers.


def test_pserve_serves_the_shop(shop):
    with pserve(shop) as server:
        assert curl(shop.url) == "ok 200"
        server.send(signal.SIGTERM)
        assert server.exit_code() == -signal.SIGTERM
    assert [str(run.state) for run in shop.runs("sell")] == ["succeeded"]
    assert (shop.folder / "cron.sqlite").exists()


@pytest.mark.parametrize("executor", ["request", "thread"])
def test_a_run_is_lost_when_pserve_reloads_the_application(shop, executor, monkeypatch):
    assert "\n``pserve --reload`` gives" in (DOCS / "troubleshooting.rst").read_text()
    monkeypatch.setenv("CRON_EXECUTOR", executor)
    lease = {"[server:main]": "cron.lease = 1\n\n[server:main]"}
    with pserve(shop, changes=lease, options=["--reload"]) as server:
        shop.starts_long_task()
        while not shop.is_busy:
            subprocess.run(["curl", "-s", "--max-time", "0.5", shop.url])
        wait_until(lambda: touched(shop.folder / "production.ini") and "reloading" in server.output)
        wait_until(lambda: "Server did not exit, forcefully killing" in server.output)
        shop.finish()
        wait_until(lambda: answers(shop.url) and shop.runs("long")[-1].finished)
    assert str(shop.runs("long")[-1].state) == "lost"


def touched(file):
    """Say that a file has changed; who watches it may have begun to only now."""
    os.utime(file)
    time.sleep(0.1)
    return True


preloaded_or_not = pytest.mark.parametrize("preload", ["True", "False"], ids=lambda it: it)


@preloaded_or_not
def test_of_all_the_workers_of_gunicorn_one_runs_a_slot(shop, preload):
    with gunicorn(shop, {"preload_app = True": f"preload_app = {preload}"}) as server:
        with ThreadPoolExecutor(12) as pool:
            hits = [pool.submit(curl, shop.url) for _ in range(36)]
        assert {hit.result() for hit in hits} == {"ok 200"}
        assert server.output.count("Booting worker") == 3
    slots = Counter(run.slot for run in shop.runs("sell"))
    # The minute may have turned meanwhile.
    assert 1 <= len(slots) <= 2
    assert set(slots.values()) == {1}


@preloaded_or_not
def test_gunicorn_lets_the_running_task_finish_when_it_is_told_to_stop(shop, preload):
    with gunicorn(shop, {"preload_app = True": f"preload_app = {preload}"}) as server:
        shop.starts_long_task()
        with hitting_until_busy(shop):
            server.send(signal.SIGTERM)
            shop.finish()
            assert server.exit_code() == 0
    [run] = shop.runs("long")
    assert str(run.state) == "succeeded"


@contextmanager
def hitting_until_busy(shop):
    """Have curl wait for the answer to the hit that begins the long task."""

    def hit():
        while not shop.is_busy:
            subprocess.run(["curl", "-s", shop.url], capture_output=True)

    with ThreadPoolExecutor(1) as pool:
        hits = pool.submit(hit)
        wait_until(lambda: shop.is_busy)
        yield
        hits.result()


def test_a_worker_of_gunicorn_that_takes_too_long_is_ended_and_its_task_fails(shop):
    changes = {"timeout = 300": "timeout = 1", "workers = 3": "workers = 1"}
    with gunicorn(shop, changes) as server:
        shop.starts_long_task()
        with hitting_until_busy(shop):
            wait_until(lambda: "WORKER TIMEOUT" in server.output)
        wait_until(lambda: shop.runs("long")[0].finished)
    [run] = shop.runs("long")
    assert (str(run.state), run.error) == ("failed", "SystemExit: 1")


def test_a_worker_of_gunicorn_with_threads_may_take_longer(shop):
    threads = 'timeout = 1\nworker_class = "gthread"\nthreads = 2'
    changes = {"timeout = 300": threads, "workers = 3": "workers = 1", "preload_app = True": ""}
    with gunicorn(shop, changes) as server:
        shop.starts_long_task()
        with hitting_until_busy(shop):
            time.sleep(2.5)  # nothing is to happen meanwhile
            shop.finish()
        assert "WORKER TIMEOUT" not in server.output
    assert str(shop.runs("long")[-1].state) == "succeeded"


def test_a_client_that_hangs_up_does_not_stop_its_tick(shop):
    with pserve(shop):
        shop.starts_long_task()
        while not shop.is_busy:
            subprocess.run(["curl", "-s", "--max-time", "0.5", shop.url])
        shop.finish()
        wait_until(lambda: shop.runs("long")[-1].state == "succeeded")


# Triggers.


def as_cron_does(line, folder):
    """Run the command of a crontab's line in the environment that Debian's cron gives it."""
    environment = {"HOME": str(folder), "LOGNAME": "shop", "SHELL": "/bin/sh"}
    environment["PATH"] = "/usr/bin:/bin"
    *schedule, command = line.strip().split(maxsplit=5)
    assert Cron(" ".join(schedule)) == Cron("* * * * *")
    return subprocess.run(
        ["/bin/sh", "-c", command], env=environment, cwd=folder, capture_output=True, text=True
    )


def test_the_crontab_line_ticks_and_says_nothing(shop):
    with pserve(shop):
        done = as_cron_does(shop.has("crontab -e"), shop.folder)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(shop.runs("sell")) == 1


def test_the_crontab_line_waits_for_a_server_that_is_being_restarted(shop):
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(as_cron_does, shop.has("crontab -e"), shop.folder)
        with pserve(shop):
            assert waits.result().returncode == 0
    assert len(shop.runs("sell")) == 1


def test_the_crontab_line_fails_and_is_mailed_where_nobody_answers(shop):
    done = as_cron_does(replaced(shop.has("crontab -e"), {"--retry 3": "--retry 1"}), shop.folder)
    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr.count("Couldn't connect to server") == 2


def test_the_crontab_line_reads_the_token_from_a_file(shop):
    header = shop.write("cron-header", "/etc/shop/cron-header")
    line = shop.has("crontab -e, with a token", {"/etc/shop/cron-header": str(header)})
    with pserve(shop, changes={"[server:main]": f"cron.token = {TOKEN}\n\n[server:main]"}):
        assert curl(shop.url) == "fail 127.0.0.1 403"
        assert as_cron_does(line, shop.folder).returncode == 0
        header.write_text("Authorization: Bearer wrong\n")
        refused = as_cron_does(line, shop.folder)
        assert refused.returncode == 22
        assert "403" in refused.stderr


@pytest.fixture
def units(shop):
    """The unit files, with programs that are here in the places of those in /srv/shop."""
    for name in ("shop.service", "shop-cron.service", "shop-cron.timer"):
        shop.write(name, f"/etc/systemd/system/{name}")
    service = shop.folder / "shop.service"
    program = f"{shop.folder}/venv/bin/gunicorn"
    service.write_text(replaced(service.read_text(), {program: sys.executable}))
    return shop


def test_the_service_of_the_timer_makes_a_tick(units):
    command = in_unit("shop-cron.service", "ExecStart").replace(":6543", f":{units.port}")
    with pserve(units):
        done = subprocess.run(shlex.split(command), capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(units.runs("sell")) == 1


def test_systemd_has_nothing_against_the_units(units):
    if shutil.which("systemd-analyze") is None:
        # Too much to install for this alone, and its server could not run in a container.
        pytest.skip("needs systemd-analyze")
    files = [units.folder / name for name in ("shop.service", "shop-cron.timer")]
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True)
    # It may have something to say of other units that are installed.
    assert [line for line in done.stderr.splitlines() if "shop" in line] == []
    assert done.returncode == 0, done.stderr
    minutely = ["systemd-analyze", "calendar", "minutely"]
    printed = subprocess.run(minutely, capture_output=True, text=True, check=True).stdout
    assert "Normalized form: *-*-* *:*:00\n" in printed


@pytest.mark.parametrize("status", ["302 Found", "308 Permanent Redirect"])
def test_the_line_of_the_crontab_fails_when_it_is_redirected(status):
    def redirect(environ, start_response):
        start_response(status, [("Location", "https://shop.example/cron")])
        return []

    command = recipe("crontab -e").split(maxsplit=5)[5]
    server = StopableWSGIServer.create(redirect)
    try:
        command = command.replace("localhost:6543", f"127.0.0.1:{server.effective_port}")
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    finally:
        server.shutdown()
    assert (done.returncode, done.stdout) == (47, "")
    assert "redirects followed" in done.stderr


def test_the_job_of_kubernetes_is_whole_and_its_container_makes_a_tick(shop):
    [job] = yaml.safe_load_all(recipe("shop-cron.yaml"))
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    spec = job["spec"]
    assert Cron(spec["schedule"]) == Cron("* * * * *")
    assert spec["concurrencyPolicy"] == "Allow"
    # The controller looks every ten seconds; what is less than that would never start.
    assert spec["startingDeadlineSeconds"] > 10
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    [container] = pod["containers"]
    [volume] = pod["volumes"]
    [mount] = container["volumeMounts"]
    assert mount["name"] == volume["name"]
    header = shop.folder / "header"
    header.write_text(f"Authorization: Bearer {TOKEN}")
    there = {f"{mount['mountPath']}/header": str(header), "http://shop:6543/cron": shop.url}
    command = ["curl", *(replaced(text, there, all_there=False) for text in container["args"])]
    guard = guarded_as("production.ini in the cluster", {"10.244.0.0/16": "127.0.0.0/8"})
    with pserve(shop, changes=guard):
        assert subprocess.run(command).returncode == 0
        header.write_text("Authorization: Bearer wrong")
        assert subprocess.run(command, capture_output=True).returncode == 22
    assert len(shop.runs("sell")) == 1


def guarded_as(caption, networks):
    """The change to production.ini that gives it the guard of another recipe."""
    guard = ("cron.allow", "cron.token", "cron.trusted_proxies", "cron.permission")
    ini = replaced(recipe(caption), networks)
    lines = [line for line in ini.splitlines() if line.startswith(guard)]
    return {"[server:main]": "\n".join([*lines, "", "[server:main]"])}


CLOUDS = {
    "Cloud Scheduler": ["-X", "POST", "-A", "Google-Cloud-Scheduler", "-d", ""],
    "EventBridge": [
        *("-X", "POST", "-A", "Amazon/EventBridge/ApiDestinations", "-d"),
        json.dumps({"detail-type": "Scheduled Event", "source": "aws.events", "detail": {}}),
        *("-H", "Content-Type: application/json; charset=utf-8"),
    ],
    "by GET": [],
}


@pytest.mark.parametrize("request_", CLOUDS.values(), ids=CLOUDS.keys())
def test_what_a_scheduler_in_a_cloud_sends_makes_a_tick_if_it_has_the_token(shop, request_):
    guard = guarded_as("production.ini behind a load balancer", {"10.0.0.0/24": "127.0.0.1"})
    through_balancer = ["-H", "X-Forwarded-For: 203.0.113.9", *request_, shop.url]
    with pserve(shop, changes=guard):
        assert curl(*through_balancer) == "fail 203.0.113.9 403"
        wrong = curl("-H", "Authorization: Bearer 0", *through_balancer)
        assert wrong == "fail 203.0.113.9 403"
        assert not shop.runs("sell")
        assert curl("-H", f"Authorization: Bearer {TOKEN}", *through_balancer) == "ok 200"
    assert len(shop.runs("sell")) == 1


# nginx.


@contextmanager
def nginx(shop, *replacing):
    """Serve a recipe with nginx, as one process of this user; give the port."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        missing("needs nginx")
    port = free_port()
    server = shop.has(CONF, {"listen 80;": f"listen 127.0.0.1:{port};"})
    for there, here in replacing:
        server = replaced(server, {there: here})
    temporary = "\n".join(
        f"{kind}_temp_path {shop.folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf = shop.folder / "nginx.conf"
    conf.write_text(
        f"daemon off;\nmaster_process off;\npid {shop.folder}/nginx.pid;\nevents {{ }}\n"
        f"error_log stderr;\nhttp {{\naccess_log off;\n{temporary}\n{server}}}\n"
    )
    command = [found, "-e", "stderr", "-p", shop.folder, "-c", conf]
    with program(shop.folder / "nginx.printed", *command):
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/"))
        yield f"http://127.0.0.1:{port}"


CLOSED = recipe(CONF)[recipe(CONF).index("    location ~ ^/cron") : -2]
"""The part of the configuration that closes the trigger."""


def test_nginx_lets_nobody_through_to_the_trigger_and_the_pages(shop):
    ways = ["/cron", "/cron/", "/cron/tasks", "/cron/health", "/cron?x=1", "//cron", "/./cron"]
    ways += ["/x/../cron", "/%63ron", "/cron%2Ftasks", "/x/..%2fcron"]
    ways += ["/cron%0A", "/cron/tasks%0A"]  # what Pyramid takes for the same
    with pserve(shop), nginx(shop) as front:
        for way in ways:
            answer = curl("--path-as-is", "-o", os.devnull, front + way)
            assert answer == " 403", way
        post = ["-X", "POST", "-H", "Content-Type: application/json", "-d", "{}"]
        assert curl("-o", os.devnull, *post, f"{front}/cron/tasks/sell/run") == " 403"
        assert curl("-o", os.devnull, f"{front}/cronjobs") == " 404"
        assert not shop.runs("sell")
        assert curl(shop.url) == "ok 200"


def test_without_that_waitress_hides_from_the_guard_who_asks(shop):
    """Why the page has the last line of production.ini."""
    hiding = {"clear_untrusted_proxy_headers = false": ""}
    with pserve(shop, changes=hiding), nginx(shop, (CLOSED, "")) as front:
        assert curl("--interface", OUTSIDE, f"{front}/cron") == "ok 200"


def test_with_it_the_guard_refuses_what_comes_through_a_proxy(shop):
    with pserve(shop), nginx(shop, (CLOSED, "")) as front:
        assert curl("--interface", OUTSIDE, f"{front}/cron") == "fail 127.0.0.1 403"
        assert curl("-o", os.devnull, f"{front}/cron/tasks") == " 403"
        assert curl(shop.url) == "ok 200"


def test_or_nginx_says_so_in_a_header_that_waitress_leaves(shop):
    header = "proxy_set_header X-Real-IP $remote_addr;"
    assert f"``{header}``" in (DOCS / "guard.rst").read_text()
    hiding = {"clear_untrusted_proxy_headers = false": ""}
    with pserve(shop, changes=hiding), nginx(shop, (CLOSED, header)) as front:
        assert curl(f"{front}/cron") == "fail 127.0.0.1 403"
        assert curl(shop.url) == "ok 200"


def test_through_nginx_the_guard_lets_in_who_is_allowed(shop):
    opened = shop.has("the trigger in /etc/nginx/conf.d/shop.conf")
    network = {"10.0.0.0/8": INSIDE_NETWORK}
    with pserve(shop, f"{INI} behind nginx", network), nginx(shop, (CLOSED, opened)) as front:
        url = f"{front}/cron"
        assert curl("--interface", OUTSIDE, url) == f"fail {OUTSIDE} 403"
        spoofed = ["-H", f"X-Forwarded-For: {INSIDE}"]
        assert curl("--interface", OUTSIDE, *spoofed, url) == f"fail {OUTSIDE} 403"
        real_ip = ["-H", f"X-Real-IP: {INSIDE}", "-H", f"Forwarded: for={INSIDE}"]
        assert curl("--interface", OUTSIDE, *real_ip, url) == f"fail {OUTSIDE} 403"
        assert curl("--interface", OUTSIDE, "-o", os.devnull, f"{url}/tasks") == " 403"
        assert not shop.runs("sell")
        assert curl("--interface", INSIDE, url) == "ok 200"
        assert curl("--interface", INSIDE, "-o", os.devnull, f"{url}/tasks") == " 200"
        assert curl(shop.url) == "ok 200"


def test_through_nginx_administrators_see_the_pages_and_nobody_reaches_the_trigger(shop):
    alone = shop.has("the trigger alone in /etc/nginx/conf.d/shop.conf")
    boss = ["--cookie", "user=boss"]
    run = ["-X", "POST", "-H", "Content-Type: application/json", "-d", "{}"]
    permission = guarded_as(f"{INI} for administrators", {})
    with pserve(shop, changes=permission), nginx(shop, (CLOSED, alone)) as front:
        for way in ("/cron", "/cron?x=1", "/cron%0A"):
            assert curl("-o", os.devnull, *boss, front + way) == " 403", way
        for page in ("tasks", "runs", "timeline", "health", "metrics"):
            assert curl("-o", os.devnull, f"{front}/cron/{page}") == " 403", page
            assert curl("-o", os.devnull, *boss, f"{front}/cron/{page}") != " 403", page
        assert curl("-o", os.devnull, *run, f"{front}/cron/tasks/sell/run") == " 403"
        assert not shop.runs("sell")
        assert curl("-o", os.devnull, *boss, *run, f"{front}/cron/tasks/sell/run") == " 202"
        assert curl(shop.url) == "ok 200"


def test_gunicorn_behind_nginx_needs_no_more_than_the_settings(shop):
    opened = shop.has("the trigger in /etc/nginx/conf.d/shop.conf")
    guard = guarded_as(f"{INI} behind nginx", {"10.0.0.0/8": INSIDE_NETWORK})
    with gunicorn(shop, settings=guard), nginx(shop, (CLOSED, opened)) as front:
        assert curl("--interface", OUTSIDE, f"{front}/cron") == f"fail {OUTSIDE} 403"
        assert curl("--interface", INSIDE, f"{front}/cron") == "ok 200"
