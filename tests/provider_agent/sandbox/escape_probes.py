"""Ways out of a sandbox, tried from inside: each returns what it got, or raises because it was denied.

Run as `python3 escape_probes.py TARGETS.json` inside; prints one JSON object: probe -> "denied: ..." or "got: ...".
They stop at having the way open: what would harm a host is not done even where it could be.
"""

import json
import sys
from pathlib import Path

import host_probes
import kernel_probes
import probing
from probing import PROBES

FILES = tuple(Path(file) for file in (__file__, probing.__file__, host_probes.__file__, kernel_probes.__file__))


def main() -> None:
    targets = json.loads(Path(sys.argv[1]).read_text())
    results = {}
    for name in targets["probes"] or PROBES:
        way_out = PROBES[name]
        try:
            results[name] = f"got: {way_out(targets)}"
        except (OSError, LookupError) as error:
            results[name] = f"denied: {type(error).__name__}: {error}"
        except Exception as error:  # a probe with a fault of its own proves nothing
            results[name] = f"broken: {type(error).__name__}: {error}"
    print(json.dumps(results))


if __name__ == "__main__":
    main()
