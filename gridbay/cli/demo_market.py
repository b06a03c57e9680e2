"""The steps of the demo: a user, a provider and an operator on one embedded market, each over HTTP with their token."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from gridbay.cli import wording
from gridbay.cli.admin import wait_settled
from gridbay.cli.console import remarks, results
from gridbay.cli.deposit import pay_locally, wait_credited
from gridbay.cli.embedded import EmbeddedMarket, running_market
from gridbay.cli.following import Following, closing_line
from gridbay.cli.job_flags import JobFlags
from gridbay.cli.job_plan import show_plan
from gridbay.cli.job_request import job_of_file
from gridbay.cli.local_wallet import LocalWallet
from gridbay.client.anchors import ChainVerdict, verify_anchors
from gridbay.client.operator import Epoch, Operator
from gridbay.client.provider import Provider
from gridbay.client.sdk import Gridbay
from gridbay.client.workdirs import pack
from gridbay.standalone.background import Progress, RunningMarket
from market.customer_api import CostView, JobView
from market.errors import NotFound, Unavailable
from market.money import MICROUSD_PER_USDC
from market.receipts import Receipt, Verdict, verify_receipt
from market.resources import Unit

DEPOSIT_MICROUSD = 5 * MICROUSD_PER_USDC
START_SECONDS, LISTED_SECONDS, DEPOSIT_SECONDS, JOB_SECONDS, SETTLE_SECONDS = 120.0, 90.0, 60.0, 240.0, 90.0
LOOK_SECONDS = 0.25
LAST_LINES = 3
PATIENCE_SECONDS = 30.0
_BEGAN = time.monotonic()
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Proof:
    """A job with its bill and what became of checking its receipt."""

    job: JobView
    cost: CostView
    receipt: Receipt
    offline: Verdict
    on_chain: ChainVerdict

    @property
    def verified(self) -> bool:
        return self.offline.ok and self.on_chain.ok


class DemoMarket:
    """Use it in a `with` block."""

    def __init__(self, market: EmbeddedMarket) -> None:
        account = market.account
        self._state_dir, self._rpc_url = market.state_dir, market.rpc_url
        self._customer = Gridbay(account.url, account.customer or "", patience_seconds=PATIENCE_SECONDS)
        self._provider = Provider(account.url, account.provider or "", patience_seconds=PATIENCE_SECONDS)
        self._operator = Operator(account.url, account.operator or "", patience_seconds=PATIENCE_SECONDS)
        self._wallet = LocalWallet(market.rpc_url, market.state_dir / "wallet.json")
        self._stack = ExitStack()

    @classmethod
    def ready(cls, running: RunningMarket) -> "DemoMarket":
        """Once every process of the market is; each step of the way is told. Raises Unavailable."""
        facts = running.wait_ready(START_SECONDS, on_progress=_tell_progress)
        market = running_market(running.state_dir)
        if market is None:
            raise Unavailable(f"the market is up, but {facts.credentials_file} cannot be read")
        _say(f"the market is up after {facts.elapsed_seconds:.1f} s at {facts.public_url}")
        return cls(market)

    def __enter__(self) -> "DemoMarket":
        for each in (self._customer, self._provider, self._operator, self._wallet):
            self._stack.enter_context(each)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def wait_listed(self) -> None:
        """Until this machine's node offers its CPUs."""
        offers = _until(LISTED_SECONDS, lambda: self._customer.offers(unit=Unit.CPU), "no node has listed itself")
        for offer in offers:
            price = offer.price_per_unit_hour.usdc
            _say(
                f"listed: {wording.quantity(offer.total_milli, offer.unit)} of {offer.node_name} at {price} USDC/h each"
            )

    def give_provider_a_wallet(self) -> None:
        """Where payouts go: a wallet of the provider's own, with an account for test USDC."""
        with LocalWallet(self._rpc_url, self._state_dir / "provider_wallet.json") as wallet:
            address = wallet.address
        self._wallet.open_token_account(address)
        self._provider.set_wallet(address)
        _say(f"the provider is paid to {address}")

    def deposit(self) -> None:
        """Test USDC from a wallet on the local chain, credited when that has finalized it."""
        wanted = self._customer.deposit(DEPOSIT_MICROUSD)
        signature = pay_locally(wanted, self._rpc_url, self._state_dir)
        wait_credited(self._customer, wanted, DEPOSIT_SECONDS)
        available = self._customer.balance().available.usdc
        _say(f"deposited {wanted.amount.usdc} test USDC ({available} available), transaction {signature}")

    def run(self, example: Path) -> JobView:
        """As `gridbay run example/job.yaml -y` does."""
        request = job_of_file(example / "job.yaml", JobFlags(), (), send_folder=True)
        assert request.folder is not None
        _say(f"running {example / 'job.yaml'}")
        with pack(request.folder) as archive:
            plan = self._customer.plan(request.data, workdir_sha256=archive.sha256)
            show_plan(results(), request, plan, archive)
            digest = self._customer.upload_archive(archive)
        job = self._customer.submit(request.data, workdir_sha256=digest)
        results().print(job.job_id, style="bold")
        job = Following(self._customer, job, remarks()).run(seconds=JOB_SECONDS)
        if not job.billed:
            raise Unavailable(f"{job.job_id} has ended, but its bill is not complete")
        _say(closing_line(job))
        return job

    def fetch_outputs(self, job: JobView) -> None:
        folder = self._state_dir / "outputs" / job.job_id
        for path in self._customer.download_outputs(job.job_id, folder):
            _say(f"fetched {path} ({wording.size(path.stat().st_size)})")

    def explain_failure(self, job: JobView) -> None:
        """Its exit code, the end of its log, and that nothing but the time it ran was charged."""
        text = "".join(piece.text for piece in self._customer.logs(job.job_id, follow=False))
        _say(f"as expected it ended with exit code {job.exit_code}; the end of its log:")
        for line in text.splitlines()[-LAST_LINES:]:
            results().print(f"    {line}", markup=False)
        cost = self._customer.cost(job.job_id)
        ran = sum(line.run_ms for line in cost.lines) / 1000
        price = cost.lines[0].price_per_unit_hour.usdc if cost.lines else "0"
        asked = wording.quantity(job.quantity_milli, job.unit)
        _say(
            f"only what it used is charged: {ran:.3f} s x {asked} x {price} USDC/h = {cost.total.usdc} USDC "
            f"(it could have cost {cost.highest_cost.usdc})"
        )

    def settle(self) -> Epoch:
        """Close the epoch; its root and the payout are final on the chain before this returns."""
        epoch = self._operator.close_epoch()
        if epoch is None:
            raise NotFound("there is no usage line to settle: another close was faster")
        _say(f"epoch {epoch.epoch} is closed: {epoch.line_count} lines, {epoch.total.usdc} USDC")
        epoch = wait_settled(self._operator, epoch, SETTLE_SECONDS)
        _say(f"its root is anchored in {epoch.anchor_signature}")
        for payout in epoch.payouts:
            _say(f"paid {payout.amount.usdc} USDC to {payout.wallet_address} in {payout.signature}")
        return epoch

    def verify(self, job: JobView) -> Proof:
        """Fetch the receipt, keep it, and check it without the market: offline, and against the chain."""
        receipt = self._customer.receipt(job.job_id)
        path = self._state_dir / "receipts" / f"{job.job_id}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{receipt.model_dump_json(indent=2)}\n")
        _say(f"receipt: {path}")
        on_chain = verify_anchors(receipt, self._rpc_url, treasury=self._wallet.treasury())
        return Proof(job, self._customer.cost(job.job_id), receipt, verify_receipt(receipt), on_chain)


def _until(seconds: float, look: Callable[[], Found], otherwise: str) -> Found:
    """What `look` finds, once it finds anything."""
    until = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > until:
            raise Unavailable(f"{otherwise} after {seconds:g} s")
        time.sleep(LOOK_SECONDS)
    return found


def _tell_progress(progress: Progress) -> None:
    waiting = f", waiting for {', '.join(progress.waiting_for)}" if progress.waiting_for else ""
    _say(f"{progress.ready} of {progress.total} processes are ready{waiting}")


def _say(text: str) -> None:
    """A line of the story, with the seconds since its beginning."""
    results().print(f"{time.monotonic() - _BEGAN:5.1f} s  {text}", markup=False, soft_wrap=True)
