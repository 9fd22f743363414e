"""Look at what was built, and try it out where nothing else is installed.

    python -m build --outdir FOLDER && python tests/dist.py FOLDER

FOLDER holds one sdist, and the wheel that was built from it. ``tox -e dist`` does both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Callable, Iterable
from email import message_from_bytes
from email.message import Message
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]

APP = '''
from pyramid.config import Configurator


def greet(system):
    """Do nothing else."""


def main(_, executor="request", **settings):
    config = Configurator(settings=settings)
    config.include("pyramid_cron")
    config.add_cron_task(greet, name="greet", executor=executor)
    return config.make_wsgi_app()
'''

EXTRAS = {
    "celery": "executor = celery\ncron.celery.broker_url = redis://127.0.0.1",
    "mysql": "cron.url = mysql://127.0.0.1/shop",
    "postgresql": "cron.url = postgresql://127.0.0.1/shop",
    "sentry": "cron.monitors = sentry",
}
"""Settings that need an extra, by its name."""

OF_EXTRAS = {"pyramid_mailer", "pytest", "sentry_sdk", "waitress"}
"""What modules that belong to an extra may import at once."""

INSTALLED = """
import importlib.metadata as metadata, json
print(json.dumps({each.name: each.requires or [] for each in metadata.distributions()}))
"""

IMPORTED = """
import importlib, json, pkgutil, pyramid_cron
lacking = {}
for module in pkgutil.walk_packages(pyramid_cron.__path__, "pyramid_cron."):
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        lacking[module.name] = error.name
print(json.dumps(lacking))
"""

ANSWERED = """
import sys
from pyramid.request import Request
from app import main
path, accept = sys.argv[1:]
request = Request.blank(path, accept=accept, environ={"REMOTE_ADDR": "127.0.0.1"})
response = request.get_response(main({}, **{"cron.url": "sqlite://"}))
print(response.status_int, response.text)
"""


def files_in(*folders: str) -> set[str]:
    """Return the files of this tree below these folders, without what was made there."""
    return {
        str(path.relative_to(ROOT))
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not {"__pycache__", "_build"} & set(path.parts)
    }


def the_sdist_has_all_there_is(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        files = {
            str(PurePosixPath(*PurePosixPath(each.name).parts[1:]))
            for each in archive.getmembers()
            if each.isfile()
        }
    top = {name for name in files if "/" not in name}
    same(files - top, files_in(".ci", "benchmarks", "docs", "pyramid_cron", "tests"))
    assert {"README.rst", "CHANGES.rst", "LICENSE", "conftest.py", "tox.ini"} <= top, top


def the_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if ".dist-info/" not in name}
        info = {name.partition("/")[2] for name in archive.namelist() if ".dist-info/" in name}
    same(files, files_in("pyramid_cron"))
    assert {"pyramid_cron/py.typed", "pyramid_cron/web/static/cron.css"} <= files, files
    assert "licenses/LICENSE" in info, info


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        return message_from_bytes(archive.read(name))


def what_an_index_shows_points_nowhere(about: Message) -> None:
    """An index shows the description without the files beside it."""
    description = about.get_payload()
    for relative in ("<docs/", "image:: docs/", "<LICENSE>", "<CHANGES.rst>"):
        assert relative not in description, relative


class Fresh:
    """An environment with the wheel and what it needs, and an application that uses it."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv" / "bin"
        venv.create(self.bin.parent, with_pip=True)
        self.run("pip", "install", "--quiet", str(wheel))
        (folder / "app.py").write_text(APP)
        self.configure("cron.url = sqlite:///cron.sqlite")

    def configure(self, settings: str) -> None:
        (self.folder / "app.ini").write_text(f"[app:main]\nuse = call:app:main\n{settings}\n")

    def run(self, program: str, *arguments: str, status: int = 0) -> str:
        """Return what a program of the environment prints, having ended with this status."""
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONHOME"}
        done = subprocess.run(
            [self.bin / program, *arguments],
            cwd=self.folder,
            env={**environ, "PYTHONPATH": str(self.folder), "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
        )
        said = done.stdout + done.stderr
        assert done.returncode == status, f"{program} {arguments} ended {done.returncode}: {said}"
        return said

    def python(self, code: str, *arguments: str) -> str:
        return self.run("python", "-c", code, *arguments)


def only_what_the_core_needs_is_installed(fresh: Fresh, about: Message) -> None:
    installed = {
        canonicalize_name(name): [Requirement(each) for each in requires]
        for name, requires in json.loads(fresh.python(INSTALLED)).items()
    }
    core = [Requirement(each) for each in about.get_all("Requires-Dist")]
    needed: set[str] = {"pip", "pyramid-cron"}
    waiting = needed_by(core)
    while waiting:
        needed |= waiting
        waiting = {name for each in waiting for name in needed_by(installed[each])} - needed
    if sys.version_info < (3, 12):
        needed.add("setuptools")  # every environment has it
    same(set(installed), needed)
    of_extras = {canonicalize_name(each.name) for each in core} - needed_by(core)
    assert not of_extras & set(installed), of_extras & set(installed)


def needed_by(requirements: Iterable[Requirement]) -> set[str]:
    """Return the names of what is required here without any extra."""
    return {
        canonicalize_name(each.name)
        for each in requirements
        if each.marker is None or each.marker.evaluate({"extra": ""})
    }


def no_module_of_the_core_needs_an_extra(fresh: Fresh) -> None:
    lacking = json.loads(fresh.python(IMPORTED))
    assert set(lacking.values()) <= OF_EXTRAS, lacking


def tasks_run_and_are_shown(fresh: Fresh) -> None:
    assert "usage: pcron" in fresh.run("pcron", "--help")
    assert "succeeded" in fresh.run("pcron", "app.ini", "tick")
    assert "every minute" in fresh.run("pcron", "app.ini", "list")
    [run] = json.loads(fresh.run("pcron", "app.ini", "history", "--json"))
    assert (run["task"], run["state"]) == ("greet", "succeeded"), run
    assert fresh.python(ANSWERED, "/cron", "text/plain") == "200 ok\n"
    assert fresh.python(ANSWERED, "/cron/tasks", "application/json").startswith('200 {"now"')


def what_is_lacking_names_its_extra(fresh: Fresh) -> None:
    assert "usage: python -m pyramid_cron" in fresh.run("python", "-m", "pyramid_cron", "--help")
    names("demo", fresh.run("python", "-m", "pyramid_cron", status=2))
    names("web", fresh.python(ANSWERED, "/cron/tasks", "text/html"))
    names("prometheus", fresh.python(ANSWERED, "/cron/metrics", "text/plain"))
    for extra, settings in EXTRAS.items():
        fresh.configure(settings)
        names(extra, fresh.run("pcron", "app.ini", "list", status=2))


def names(extra: str, said: str) -> None:
    assert f"pyramid_cron[{extra}]" in said, said
    assert "Traceback" not in said, said


def same(found: set[str], expected: set[str]) -> None:
    assert found == expected, f"too much: {found - expected}; lacking: {expected - found}"


def checked(check: Callable[..., None], *arguments: object) -> None:
    """Check, and say so."""
    check(*arguments)
    print(check.__name__.replace("_", " "), flush=True)


def main() -> None:
    [sdist] = Path(sys.argv[1]).glob("*.tar.gz")
    [wheel] = Path(sys.argv[1]).glob("*.whl")
    about = metadata(wheel)
    checked(the_sdist_has_all_there_is, sdist)
    checked(the_wheel_has_the_package_and_nothing_else, wheel)
    checked(what_an_index_shows_points_nowhere, about)
    with TemporaryDirectory() as folder:
        fresh = Fresh(Path(folder), wheel.resolve())
        checked(only_what_the_core_needs_is_installed, fresh, about)
        checked(no_module_of_the_core_needs_an_extra, fresh)
        checked(tasks_run_and_are_shown, fresh)
        checked(what_is_lacking_names_its_extra, fresh)


if __name__ == "__main__":
    main()
