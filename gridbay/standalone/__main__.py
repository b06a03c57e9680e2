"""`python -m gridbay.standalone`: `gridbay up` without the command line around it, for a market in the background."""

import argparse
import sys
from pathlib import Path

from gridbay.standalone.facts import MarketFacts
from gridbay.standalone.market import MARKET_TREE, up
from market.errors import MarketError


def main() -> int:
    """Run the market in front; the exit status of `up`, or 2 if it may not start."""
    parser = argparse.ArgumentParser(prog="python -m gridbay.standalone", description=__doc__)
    parser.add_argument("--state", type=Path, help="the state folder")
    parser.add_argument("--no-agent", action="store_true", help="without the provider on this machine")
    parser.add_argument("--tree", default=MARKET_TREE, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        return up(
            arguments.state,
            out=sys.stdout,
            ready_callback=_tell_ready,
            with_agent=not arguments.no_agent,
            tree=arguments.tree,
        )
    except MarketError as error:
        sys.stderr.write(f"{error.detail}\n{error.remedy}\n")
        return 2


def _tell_ready(facts: MarketFacts) -> None:
    sys.stdout.write(f"ready after {facts.elapsed_seconds:.1f} s: {facts.public_url} (state: {facts.state_dir})\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
