"""How a deployment of several hosts stands up to lines that are cut and machines that die.

    python benchmarks/many_hosts.py --minutes 30 [--relays]

Two hosts with servers, each hit every second by a trigger of its own, and two with Celery workers
share a store in PostgreSQL and a broker in Redis. Tasks are due each second or two, in requests, in
threads and on the workers. All the while hosts are cut off, so that nothing gets through or that
connections are refused, and mended again, or they are killed and started anew. Afterwards it is
counted what became of every slot; the exit code is 1 if one was lost track of, or started more
often than it may. The test suite does the same for half a minute.

Root has a network namespace for each host. ``--relays`` does without, as everybody else does.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.integration import hosts

if __name__ == "__main__":
    sys.exit(hosts.main())
