"""Run all benchmarks, one after the other, and print what they print.

python benchmarks/all.py [--quick] [NAME ...]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

SCRIPTS = {
    "matching": ([], ["--quick"]),
    "following": ([], ["--quick"]),
    "idle_tick": ([], ["--quick"]),
    "runs": ([], ["--quick"]),
    "drain": ([], ["--quick"]),
    "lateness": ([], ["--quick"]),
    "hung_task": ([], ["--quick"]),
    "seconds": ([], ["--quick"]),
    "memory": ([], []),
    "importing": ([], ["--quick"]),
    "exactly_once": ([], ["--quick"]),
    "faults": (["--seconds", "120"], ["--seconds", "60"]),
    "many_hosts": (["--minutes", "10"], ["--minutes", "3"]),
    "executors": ([], ["--quick"]),
    "scaling": (["--best"], ["--best", "--quick"]),
    "history": ([], ["--quick"]),
    "pages": ([], ["--quick"]),
    "stored": ([], ["--quick"]),
}
"""By name: the options, and those for rougher figures in a few minutes."""


def main() -> int:
    """Run them; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="rougher figures, in a few minutes")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(SCRIPTS)}")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(SCRIPTS):
        parser.error(f"no benchmark is called {' or '.join(sorted(unknown))}")
    failed = []
    for name in arguments.names or SCRIPTS:
        command = [f"{Path(__file__).parent / name}.py", *SCRIPTS[name][arguments.quick]]
        print(f"\n=== {name} {' '.join(command[1:])}", flush=True)
        if subprocess.run([sys.executable, "-W", "ignore", *command]).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
