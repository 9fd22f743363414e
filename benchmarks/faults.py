"""How the record stands up to processes that are killed at random.

    python benchmarks/faults.py --seconds 120

Eight processes tick the same seconds over one store. Afterwards it is counted what became of every
slot; the exit code is 1 if one was lost track of, or started more often than it may. The test suite
does the same for some seconds.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.integration import killing

if __name__ == "__main__":
    sys.exit(killing.main())
