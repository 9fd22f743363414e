"""How a deployment of several hosts stands up to lines that are cut and machines that die.

    python benchmarks/many_hosts.py --minutes 30 [--relays]

Two hosts with servers and two with Celery workers share PostgreSQL and Redis, and are cut off and
killed. The exit code is 1 if a slot was lost track of, or started more often than it may. Root has
a network namespace for each host; ``--relays`` does without.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from common import show_machine

from tests.integration import hosts

if __name__ == "__main__":
    code = hosts.main()
    show_machine("SQLAlchemy", "psycopg", "celery")
    sys.exit(code)
