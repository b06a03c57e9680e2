"""How a refusal looks: what happened, where in the input, and how to mend it; never a traceback."""

from rich.text import Text

from gridbay.cli.console import harmless, remarks
from market.error_codes import Kind, usual_remedy
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
    if error.remedy and not _only_repeats(error):
        console.print(Text.assemble(("  mend: ", "green"), harmless(error.remedy)))
    number = f", request {harmless(error.request_id)}" if error.request_id else ""
    console.print(f"  code: {harmless(error.code)}{number}", style="dim", markup=False)


def _only_repeats(error: MarketError) -> bool:
    """Whether the remedy is the usual one of a wrong input: that says no more than its details did."""
    return error.kind is Kind.INVALID and error.remedy == usual_remedy(error.code)
