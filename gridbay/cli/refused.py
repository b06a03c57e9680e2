"""How a refusal looks: what happened, where in the input, and how to mend it; never a traceback."""

from rich.text import Text

from gridbay.cli.console import harmless, remarks
from market.errors import MarketError


def tell_refusal(error: MarketError) -> None:
    """Write it to stderr."""
    console = remarks()
    excerpt = getattr(error, "excerpt", None)
    if excerpt is not None:
        # The places of a job file are its whole message.
        console.print(excerpt)
    else:
        console.print(Text.assemble(("refused: ", "bold red"), harmless(error.detail)))
        for item in error.errors:
            place = item.pointer or "/"
            if item.detail not in error.detail:
                console.print(Text.assemble("  ", (place, "bold"), f": {harmless(item.detail)}"))
    if error.remedy:
        console.print(Text.assemble(("  mend: ", "green"), harmless(error.remedy)))
