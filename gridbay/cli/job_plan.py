"""How the plan of a job looks before it is run: what is sent, what would match, what it can cost at most."""

from rich.console import Console, Group
from rich.text import Text

from gridbay.cli import wording
from gridbay.cli.job_request import JobRequest
from gridbay.cli.listing import Column, facts, table_of
from gridbay.client.workdirs import Archive
from market.customer_api import PlanView

OFFERS_SHOWN = 5
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
        console.print(table_of(plan.offers[:OFFERS_SHOWN], COLUMNS))
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
