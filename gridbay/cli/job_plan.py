"""How the plan of a job looks before it is run: what is sent, what would match, what it can cost at most."""

from rich.console import Console, Group
from rich.text import Text

from gridbay.cli import wording
from gridbay.cli.job_request import JobRequest
from gridbay.cli.listing import Column, facts, table_of
from gridbay.cli.offers import BESIDE
from gridbay.client.workdirs import Archive
from market.customer_api import PlanView

OFFERS_SHOWN = 5
UNIT = Column(
    "UNIT/h", lambda offer: offer.unit_price_per_hour.usdc if offer.unit_price_per_hour else "", right=True, rank=1
)
"""Of the unit by itself, where an offer asks for more: USDC/h is all in."""
COLUMNS = (
    Column("NODE", lambda offer: offer.node_name),
    Column("MODEL", wording.model),
    Column("FREE", lambda offer: f"{offer.free_milli / 1000:g} of {offer.total_milli / 1000:g}", right=True),
    Column("USDC/h", lambda offer: offer.price_per_unit_hour.usdc, right=True),
)


def show_plan(console: Console, request: JobRequest, plan: PlanView, archive: Archive | None) -> None:
    """Print it."""
    name = request.spec.name or "job"
    asked = wording.quantity(plan.quantity_milli, plan.unit)
    unit = wording.unit_name(plan.unit)
    needs, hourly = request.spec.resources, plan.expected_price_per_hour
    rows = [
        ("resources", f"{asked}, {wording.size(needs.memory)} of memory, {wording.size(needs.disk)} of disk"),
        ("workdir", _workdir(request, archive)),
        ("at most", wording.duration(plan.max_duration_seconds)),
        ("price", f"{hourly.usdc} USDC an hour now" if hourly is not None else ""),
        ("discount", f"{plan.discount_basis_points / 100:g}%, in all prices" if plan.discount_basis_points else ""),
        ("spot", "it makes room for what pays more, and is tried again" if request.spec.spot else ""),
        ("price limit", f"{plan.price_limit_per_unit_hour.usdc} USDC a {unit}"),
        ("charged", f"for {wording.duration(plan.minimum_seconds)} at least" if plan.minimum_seconds else ""),
        ("highest cost", f"{plan.highest_cost.usdc} USDC ({plan.first_hold.usdc} held at first)"),
    ]
    console.print(Group(Text(name, style="bold"), facts(rows)))
    if plan.offers:
        more = plan.offer_count - min(OFFERS_SHOWN, len(plan.offers))
        shown = plan.offers[:OFFERS_SHOWN]
        beside = [one for one in BESIDE if any(map(one.cell, shown))]
        console.print(table_of(shown, [*COLUMNS, *([UNIT] if beside else []), *beside]))
        if more > 0:
            console.print(f"and {more} more", style="dim")
    if plan.explanation:
        console.print(plan.explanation, style="yellow", markup=False, soft_wrap=True)


def _workdir(request: JobRequest, archive: Archive | None) -> str:
    if request.folder is None or archive is None:
        return ""
    files = f"{archive.file_count} file{'' if archive.file_count == 1 else 's'}"
    sizes = f"{wording.size(archive.content_bytes)}, {wording.size(archive.size_bytes)} packed"
    return f"{request.folder.resolve()} ({files}, {sizes})"
