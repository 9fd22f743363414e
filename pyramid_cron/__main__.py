"""``python -m pyramid_cron``: a demo application that serves itself and hits its own trigger."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from pyramid_cron.schedule.quantities import parse_integer_text

DEMO_MODULES = ("jinja2", "waitress")
"""What the demo imports beside what pyramid_cron itself needs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the demo; return the exit code: 0 once stopped, 2 if it can't start."""
    options = build_parser().parse_args(arguments)
    missing = [name for name in DEMO_MODULES if find_spec(name) is None]
    if missing:
        needed = ", ".join(missing)
        print(f'the demo needs {needed}: pip install "pyramid_cron[demo]"', file=sys.stderr)
        return 2
    from pyramid_cron.demo import serve

    return serve(options.port)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pyramid_cron",
        description="Serve a demo: a small shop whose tasks run in it, with a trigger of its own.",
    )
    parser.add_argument(
        "--port",
        type=_parse_port,
        default=6543,
        help="where to listen on 127.0.0.1; 0 for any free port",
    )
    return parser


def _parse_port(text: str) -> int:
    try:
        return parse_integer_text("port", text, 0, 65_535)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no port; use a number from 0 to 65535"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
