"""The end of the demo: one table of what was run, what it cost, who got what, and whether the receipts hold."""

from decimal import Decimal

from rich.table import Table
from rich.text import Text

from gridbay.cli import wording
from gridbay.cli.console import results
from gridbay.cli.demo_market import Proof
from gridbay.client.operator import Epoch
from market.customer_api import Money
from market.errors import MarketError


class NotVerified(MarketError):
    """A receipt of the demo does not hold."""

    code = "receipt_not_verified"


def show_outcome(proofs: list[Proof], epoch: Epoch) -> None:
    """Print the table. Raises NotVerified, with what does not hold, after it."""
    table = Table(header_style="bold")
    table.add_column("job")
    for proof in proofs:
        table.add_column(proof.job.name, overflow="fold")
    for title, cells in _rows(proofs, epoch):
        table.add_row(title, *cells)
    results().print()
    results().print(table)
    problems = [p for proof in proofs for p in (*proof.offline.problems, *proof.on_chain.problems)]
    if problems:
        raise NotVerified("; ".join(problems))


def _rows(proofs: list[Proof], epoch: Epoch) -> list[tuple[str, list[str | Text]]]:
    return [
        ("id", [proof.job.job_id for proof in proofs]),
        ("outcome", [wording.state(proof.job) for proof in proofs]),
        ("node", [proof.job.attempts[-1].node_name for proof in proofs]),
        ("seconds billed", [f"{sum(line.run_ms for line in proof.cost.lines) / 1000:.3f}" for proof in proofs]),
        ("cost (USDC)", [_six(proof.cost.total) for proof in proofs]),
        ("provider's share", [_sum([line.provider_share for line in proof.cost.lines]) for proof in proofs]),
        ("fee", [_sum([line.fee for line in proof.cost.lines]) for proof in proofs]),
        ("rounding", [_sum([line.rounding for line in proof.cost.lines]) for proof in proofs]),
        ("epoch", [str(epoch.epoch)] * len(proofs)),
        ("signature", [_signatures(proof) for proof in proofs]),
        ("receipt", [_verdict(proof) for proof in proofs]),
    ]


def _sum(parts: list[Money]) -> str:
    return _six(Money.of(sum(part.microusd for part in parts)))


def _six(amount: Money) -> str:
    """To the micro-USDC, so that the parts can be added up by eye."""
    return f"{Decimal(amount.usdc):.6f}"


def _signatures(proof: Proof) -> str:
    return "\n".join(anchor.signature for anchor in proof.on_chain.anchors)


def _verdict(proof: Proof) -> Text:
    return Text("receipt verified", "green") if proof.verified else Text("receipt NOT verified", "bold red")
