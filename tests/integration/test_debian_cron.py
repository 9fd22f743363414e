"""Crontabs, read by Debian's own cron: its source is fetched from Debian and compiled."""

import glob
import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest
from pyramid.config import Configurator

from pyramid_cron import scheduler
from pyramid_cron.export import export_crontab
from pyramid_cron.sources.crontab_syntax import CrontabSyntaxError, parse_crontab

READER = r"""
#define MAIN_PROGRAM
#include "cron.h"

static void wrong(char *reason) { printf("%d wrong %s\n", LineNumber - 1, reason); }

static void set(bitstr_t *bits, int size) {
    for (int bit = 0; bit < size; bit++)
        if (bit_test(bits, bit)) printf("%d,", bit);
    printf(" ");
}

static void hex(char *text) {
    for (printf("="); *text; text++) printf("%02x", (unsigned char)*text);
}

int main(int argc, char **argv) {
    char variable[MAX_ENVSTR], **environment = env_init();
    struct passwd *account = argc > 2 ? NULL : getpwuid(getuid());
    FILE *file = fopen(argv[1], "r");
    int status;
    Set_LineNum(1)
    while ((status = load_env(variable, file)) != ERR) {
        if (status == TRUE) {
            environment = env_set(environment, variable);
            continue;
        }
        entry *line = load_entry(file, wrong, account, environment);
        if (!line) return 1;
        printf("%d ", LineNumber - 1);
        set(line->minute, 60), set(line->hour, 24), set(line->dom, 31);
        set(line->month, 12), set(line->dow, 7);
        printf("%d %d ", line->flags & (MIN_STAR | HR_STAR), line->uid);
        hex(line->cmd);
        for (char **one = line->envp; *one; one++) printf(" "), hex(*one);
        printf("\n");
    }
    return 0;
}
"""

SOURCES = "deb-src http://deb.debian.org/debian bookworm main\n"
FLAGS = [
    "-w",
    "-I.",
    "-DDEBUGGING=0",
    "-DDEBIAN",
    "-DPOSIX",
    "-DSYS_TIME_H=1",
    "-D_GNU_SOURCE",
    "-DUSE_SIGCHLD",
]


def run(*arguments, cwd):
    subprocess.run(arguments, cwd=cwd, check=True, timeout=120, capture_output=True)


def fetch_source(folder):
    """Return cron's source with Debian's patches."""
    (folder / "sources.list").write_text(SOURCES)
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "archives" / "partial").mkdir(parents=True)
    places = {
        "Etc::sourcelist": folder / "sources.list",
        "Etc::sourceparts": "/dev/null",
        "State::lists": folder / "lists",
        "Cache": folder,
    }
    apt = ["apt-get", *(f"-oDir::{name}={path}" for name, path in places.items())]
    run(*apt, "-oAPT::Sandbox::User=root", "update", cwd=folder)
    run(*apt, "source", "cron", cwd=folder)
    [source] = (path.parent for path in folder.glob("cron-*/entry.c"))
    return source


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Returns what Debian's cron reads from a crontab: its lines, or the number of a wrong one."""
    folder = tmp_path_factory.mktemp("cron")
    if missing := [name for name in ("apt-get", "dpkg-source", "gcc") if not shutil.which(name)]:
        pytest.skip(f"needs {missing[0]}")
    try:
        source = fetch_source(folder)
    except (subprocess.SubprocessError, ValueError) as error:
        pytest.skip(f"cron's source can't be had: {error}")
    (source / "reader.c").write_text(READER)
    run("gcc", *FLAGS, "-o", "reader", "reader.c", "entry.c", "env.c", "misc.c", cwd=source)

    def read(data, *, user=False):
        (folder / "crontab").write_bytes(data)
        command = [source / "reader", folder / "crontab", *(["user"] if user else [])]
        output = subprocess.run(command, capture_output=True, text=True).stdout
        lines = [line.split(" ") for line in output.splitlines()]
        if lines and lines[-1][1] == "wrong":
            return int(lines[-1][0])
        return [(int(line[0]), *to_entry(line[1:])) for line in lines]

    return read


def to_entry(words):
    *when, account, command = words[:8]
    texts = [bytes.fromhex(word[1:]).decode() for word in [command, *words[8:]]]
    variables = dict(text.split("=", 1) for text in texts[1:])
    return (*when, account, *split_input(texts[0].lstrip(" \t")), variables)


def split_input(text):
    """What the shell and the command read, by the rules in cron's manual and do_command.c."""
    command, rest = "", list(text)
    while rest:
        sign = rest.pop(0)
        if sign == "%":
            return command, read_input("".join(rest))
        if sign == "\\" and rest:
            following = rest.pop(0)
            sign = following if following in "%\\" else sign + following
        command += sign
    return command, None


def read_input(text):
    lines = text.replace("\\%", "\0").replace("%", "\n").replace("\0", "%")
    last = lines.rpartition("\n")[2]
    return lines + "\n" if last.strip("\\") else lines


def without_zone(lines):
    """Lines without their number, and without the zone, which Debian's cron does not know."""
    return [
        (*line[1:-1], {name: value for name, value in line[-1].items() if name != "CRON_TZ"})
        for line in lines
    ]


PIECES = ["A", "B1", "=", "=", '"', "'", " ", "\\", "\\", "%", "x", "*", "b", "\t"]


def random_line(generator):
    text = "".join(generator.choices(PIECES, k=generator.randint(1, 9)))
    return generator.choice([f"N={text}", f"N{text}", f"@daily {text}", f"@daily {text}", text])


def test_lines_are_read_as_debian_reads_them(read):
    generator = random.Random(1)
    counts = {"refused": 0, "same": 0}
    for _ in range(400):
        data = f"{random_line(generator)}\n@daily z\n".encode()
        expected = read(data)
        try:
            found = parse_crontab(data)
        except CrontabSyntaxError:
            counts["refused"] += 1
            continue  # more is refused here, such as lines without a command
        assert not isinstance(expected, int), data
        cron_own = {name: expected[-1][-1][name] for name in ("SHELL", "HOME", "PATH", "LOGNAME")}
        assert [(line[0], *line[-3:]) for line in expected] == [
            (entry.line, entry.command, entry.stdin, cron_own | dict(entry.variables))
            for entry in found
        ], data
        counts["same"] += 1
    assert min(counts.values()) > 80


def tasks_of(path, **arguments):
    config = Configurator(settings={"cron.url": "sqlite://", "cron.timezone": "UTC"})
    config.include("pyramid_cron")
    config.add_crontab(path, **arguments)
    return scheduler(config.make_wsgi_app().registry).tasks()


def test_what_is_exported_is_read_by_debian_as_it_was(read, tmp_path):
    generator = random.Random(2)
    lines = [
        *("0 5 * * *", "*/15 * * * *", "0 */2 1 * mon", "7 3 */2 jan,jul fri", "09,39 * * * *"),
        *("@hourly", "@weekly", "@monthly", "@yearly", "5-55/10 8-18 * * 1-5", "0 0 13 * 5"),
    ]
    count = 0
    for _ in range(60):
        command = "".join(generator.choices([*PIECES, "%", "\\"], k=9))
        variable = f"""N='{"".join(generator.choices(PIECES, k=4))}'"""
        text = f"MAILTO=x\n{variable}\n{generator.choice(lines)} x{command}\n"
        (tmp_path / "a.cron").write_text(text)
        expected = read(text.encode())
        if isinstance(expected, int):
            continue
        exported = export_crontab(tasks_of(tmp_path / "a.cron"), "shop.ini")
        if "# Run by pcron" not in exported:
            assert without_zone(read(exported.encode())) == without_zone(expected), text
            count += 1
    assert count > 20


@pytest.mark.parametrize("path", sorted(glob.glob("/etc/cron.d/*")))
def test_files_of_this_machine_come_back_the_same(read, tmp_path, path):
    data = Path(path).read_bytes()
    expected = read(data, user=True)
    if isinstance(expected, int) or os.path.basename(path).startswith("."):
        pytest.skip("Debian's cron does not read it")
    tasks = tasks_of(path, user=True, skip_reboot=True)
    exported = export_crontab(tasks, "shop.ini")
    lines = [line for line in expected if line[1].count(",")]
    assert without_zone(read(exported.encode(), user=True)) == without_zone(lines)
