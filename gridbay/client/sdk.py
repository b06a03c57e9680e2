"""The SDK: what a customer can ask of a market, with typed answers (docs: /v1, market.customer_api)."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gridbay.client.downloads import download
from gridbay.client.party import Party
from gridbay.client.streams import LogPosition, follow_job, follow_log, wait_until
from gridbay.client.transport import segment
from gridbay.client.workdirs import Archive, pack, put_archive
from market.customer_api import (
    IDEMPOTENCY_HEADER,
    PAGE_MAX,
    CostView,
    IdentityView,
    JobView,
    LogLine,
    OfferView,
    OutputView,
    Page,
    PlanView,
    WorkdirAnswer,
)
from market.epochs import EpochLines, PublishedEpoch, PublishedLine
from market.errors import InvalidInput
from market.explanation_api import ExplanationView
from market.funds_api import (
    AllowanceView,
    BalanceView,
    BudgetList,
    BudgetView,
    DepositView,
    MoneyEventView,
    MoneyWatchView,
    PullList,
    PullView,
    WithdrawalList,
    WithdrawalView,
)
from market.receipts import Receipt
from market.specs import InvalidSpec
from market.states import JobState

PAGES_MAX = 1000
JOBS_A_PAGE = 50
_SPEC = "/spec"


class _Names(BaseModel):
    names: list[str]


class Gridbay(Party):
    """A market as seen with a customer's token (gbc_). Errors and threads as in Party."""

    def me(self) -> IdentityView:
        return self._transport.ask(IdentityView, "GET", "/v1/me")

    def offers(
        self,
        *,
        gpu: str | None = None,
        max_price: str | None = None,
        unit: str | None = None,
        simulated: bool | None = None,
        verified: bool = False,
        at_least: Sequence[str] = (),
        sort: str | None = None,
    ) -> list[OfferView]:
        """What is for rent, cheapest first. gpu: as in job.yaml (24GB.., H100:80GB); max_price: in USDC an hour.

        at_least: what was measured, such as "network_down=100Mbit" (market.measured). sort: "work" puts first what
        computes most for its price; "price" is usual.
        """
        query = {
            "gpu": gpu,
            "max_price": max_price,
            "unit": unit,
            "simulated": simulated,
            "verified": verified or None,
            "at_least": list(at_least) or None,
            "sort": sort,
        }
        return list(self._pages("/v1/offers", Page[OfferView], query))

    def plan(self, spec: Mapping[str, Any], *, workdir_sha256: str | None = None) -> PlanView:
        """What a job would get and could cost at most; nothing is charged or stored. spec: job.yaml as plain data.

        workdir_sha256: of the archive that would go with it, sent or not. Raises InvalidSpec with pointers into spec.
        """
        body = {"spec": dict(spec), "workdir_sha256": workdir_sha256}
        with _pointers_into_spec():
            return self._transport.ask(PlanView, "POST", "/v1/jobs/plan", json=body, repeatable=True)

    def submit(
        self, spec: Mapping[str, Any], *, workdir_sha256: str | None = None, idempotency_key: str | None = None
    ) -> JobView:
        """Submit a job exactly once, however often the connection breaks.

        workdir_sha256: of an archive that `upload_workdir` has sent. idempotency_key: the same text for the same
        intent; by default a fresh one for each call.
        """
        body = {"spec": dict(spec), "workdir_sha256": workdir_sha256}
        with _pointers_into_spec():
            return self._transport.ask(
                JobView, "POST", "/v1/jobs", json=body, headers=_intent(idempotency_key), repeatable=True
            )

    def jobs(self, *, states: Sequence[JobState] = ()) -> Iterator[JobView]:
        """Every job of the organization (in one of these states), newest first; a page is asked for when reached."""
        return self._pages("/v1/jobs", Page[JobView], {"limit": JOBS_A_PAGE, "state": list(states)})

    def job(self, job_id: str) -> JobView:
        return self._transport.ask(JobView, "GET", f"/v1/jobs/{segment(job_id)}")

    def why(self, job_id: str) -> ExplanationView:
        """Why a job waits, or stands where it stands, and what would match."""
        return self._transport.ask(ExplanationView, "GET", f"/v1/jobs/{segment(job_id)}/explanation")

    def stop(self, job_id: str) -> JobView:
        """Ask a job to stop; one that has ended stays as it is."""
        return self._transport.ask(JobView, "POST", f"/v1/jobs/{segment(job_id)}/stop", repeatable=True)

    def logs(self, job_id: str, *, follow: bool = True, after: LogPosition | None = None) -> Iterator[LogLine]:
        """The log in pieces, each exactly once, across broken connections; until the job's end if it is followed.

        after: where the last piece ended that one has already.
        """
        return follow_log(self._transport, job_id, follow=follow, after=after)

    def events(self, job_id: str) -> Iterator[JobView]:
        """The job at each change, until it is over and its whole bill is written."""
        return follow_job(self._transport, job_id)

    def wait(self, job_id: str, *, timeout_seconds: float | None = None, billed: bool = True) -> JobView:
        """The job once it is over (and billed). Raises WaitedTooLong, and leaves the job as it is."""
        return wait_until(self._transport, job_id, timeout_seconds=timeout_seconds, billed=billed)

    def outputs(self, job_id: str) -> list[OutputView]:
        """The files a job left, with signed URLs that are good for a while."""
        return self._transport.ask(list[OutputView], "GET", f"/v1/jobs/{segment(job_id)}/outputs")

    def download_outputs(self, job_id: str, folder: Path) -> list[Path]:
        """Fetch every output into the folder, checked against its hash; where each of them lies now."""
        return [download(output, folder) for output in self.outputs(job_id)]

    def cost(self, job_id: str) -> CostView:
        return self._transport.ask(CostView, "GET", f"/v1/jobs/{segment(job_id)}/cost")

    def receipt(self, job_id: str) -> Receipt:
        """The proof of a job's bill; raises Unavailable while the epoch of one of its lines is open."""
        # An open epoch is a plain answer here, not a moment's weakness: asking again at once is no use.
        return self._transport.ask(Receipt, "GET", f"/v1/jobs/{segment(job_id)}/receipt", insist=False)

    def published_epoch(self, epoch: int) -> PublishedEpoch:
        """A closed epoch's root and anchor, as anybody may read them."""
        return self._transport.ask(PublishedEpoch, "GET", f"/v1/epochs/{epoch}/published")

    def published_lines(self, epoch: int, start: int = 0) -> list[PublishedLine]:
        """Its lines from that leaf on, some at a time; none are left when there are none."""
        return self._transport.ask(EpochLines, "GET", f"/v1/epochs/{epoch}/published/lines?start={start}").lines

    def balance(self) -> BalanceView:
        return self._transport.ask(BalanceView, "GET", "/v1/balance")

    def deposit(self, amount_microusd: int, *, idempotency_key: str | None = None) -> DepositView:
        """How to pay that much in: a Solana Pay request, credited once its transfer is final."""
        body = {"amount_microusd": amount_microusd}
        return self._transport.ask(
            DepositView, "POST", "/v1/deposits", json=body, headers=_intent(idempotency_key), repeatable=True
        )

    def deposit_status(self, deposit_id: str) -> DepositView:
        return self._transport.ask(DepositView, "GET", f"/v1/deposits/{segment(deposit_id)}")

    def withdraw(
        self, amount_microusd: int, wallet_address: str, *, idempotency_key: str | None = None
    ) -> WithdrawalView:
        """Take that much of what is available back to a wallet of one's own, exactly once for each key.

        A wallet that nothing was withdrawn to before waits until its `payable_from`.
        """
        body = {"amount_microusd": amount_microusd, "wallet_address": wallet_address}
        return self._transport.ask(
            WithdrawalView, "POST", "/v1/withdrawals", json=body, headers=_intent(idempotency_key), repeatable=True
        )

    def withdrawals(self) -> list[WithdrawalView]:
        """The newest 1,000, newest first."""
        return self._transport.ask(WithdrawalList, "GET", "/v1/withdrawals").items

    def withdrawal(self, withdrawal_id: str) -> WithdrawalView:
        return self._transport.ask(WithdrawalView, "GET", f"/v1/withdrawals/{segment(withdrawal_id)}")

    def cancel_withdrawal(self, withdrawal_id: str) -> WithdrawalView:
        """Give back one that still waits; raises Conflict for one that is on its way."""
        path = f"/v1/withdrawals/{segment(withdrawal_id)}/cancel"
        return self._transport.ask(WithdrawalView, "POST", path, repeatable=True)

    def allowance(self) -> AllowanceView:
        """The organization's allowance; raises NotFound if there is none."""
        return self._transport.ask(AllowanceView, "GET", "/v1/allowance")

    def set_allowance(self, keep_microusd: int, daily_max_microusd: int | None = None) -> AllowanceView:
        """Ask what a token account's owner must approve, or change how much is kept; needs an owner's token."""
        body = {"keep_microusd": keep_microusd, "daily_max_microusd": daily_max_microusd}
        return self._transport.ask(AllowanceView, "PUT", "/v1/allowance", json=body, repeatable=True)

    def offer_approval(self, signature: str) -> AllowanceView:
        """Name the transaction that approves; the allowance is active once it is final and right."""
        body = {"signature": signature}
        return self._transport.ask(AllowanceView, "POST", "/v1/allowance/approval", json=body, repeatable=True)

    def end_allowance(self) -> None:
        """Have nothing more pulled; what was approved on the chain, only the account's owner can revoke."""
        self._transport.request("DELETE", "/v1/allowance")

    def pulls(self) -> list[PullView]:
        """The newest 1,000, newest first."""
        return self._transport.ask(PullList, "GET", "/v1/allowance/pulls").items

    def budgets(self) -> list[BudgetView]:
        """The organization's budgets, each in its present period."""
        return self._transport.ask(BudgetList, "GET", "/v1/budgets").items

    def set_budget(self, limit_microusd: int, period: str = "month", label: str = "") -> BudgetView:
        """Set a budget for each hour, day or month, of all jobs or of those with a label; needs an owner's token."""
        body = {"label": label, "period": period, "limit_microusd": limit_microusd}
        return self._transport.ask(BudgetView, "PUT", "/v1/budgets", json=body, repeatable=True)

    def remove_budget(self, budget_id: str) -> None:
        self._transport.request("DELETE", f"/v1/budgets/{segment(budget_id)}")

    def money_events(self, *, limit: int = 50) -> list[MoneyEventView]:
        """The newest things that the organization was told of its balance and budgets."""
        pages = self._pages("/v1/money/events", Page[MoneyEventView], {"limit": min(limit, PAGE_MAX)})
        return list(islice(pages, limit))

    def money_watch(self) -> MoneyWatchView:
        """From when on the organization is told that its balance is low."""
        return self._transport.ask(MoneyWatchView, "GET", "/v1/money/watch")

    def set_money_watch(self, low_microusd: int, forecast_hours: int) -> MoneyWatchView:
        """0 of either: never."""
        body = {"low_microusd": low_microusd, "forecast_hours": forecast_hours}
        return self._transport.ask(MoneyWatchView, "PUT", "/v1/money/watch", json=body, repeatable=True)

    def set_secret(self, name: str, value: str) -> None:
        """Store a secret for jobs that name it; it is never shown again."""
        self._transport.request("PUT", f"/v1/secrets/{segment(name)}", json={"value": value})

    def secret_names(self) -> list[str]:
        return self._transport.ask(_Names, "GET", "/v1/secrets").names

    def remove_secret(self, name: str) -> None:
        self._transport.request("DELETE", f"/v1/secrets/{segment(name)}")

    def upload_workdir(self, folder: Path) -> str:
        """Pack a folder and send it, unless the market has exactly that already; the hash that `submit` takes."""
        with pack(folder) as archive:
            return self.upload_archive(archive)

    def upload_archive(self, archive: Archive) -> str:
        """Send an archive that was packed before."""
        body = {"sha256": archive.sha256, "size_bytes": archive.size_bytes}
        answer = self._transport.ask(WorkdirAnswer, "POST", "/v1/workdirs", json=body, repeatable=True)
        if answer.upload_url is not None:
            put_archive(archive, answer.upload_url, self._transport.patience())
        return archive.sha256

    def _pages(self, path: str, kind: Any, query: Mapping[str, Any]) -> Iterator[Any]:
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            page = self._transport.ask(kind, "GET", path, params={**query, "cursor": cursor})
            yield from page.items
            if page.next_cursor is None:
                return
            cursor = page.next_cursor


def _intent(key: str | None) -> dict[str, str]:
    key = key or secrets.token_hex(16)
    if not (key.isascii() and key.isprintable()):
        raise InvalidInput("an idempotency key is plain ASCII text")
    return {IDEMPOTENCY_HEADER: key}


@contextmanager
def _pointers_into_spec() -> Iterator[None]:
    """The market points into the request's body; whoever calls knows only the specification in it."""
    try:
        yield
    except InvalidSpec as error:
        faults = [replace(fault, pointer=fault.pointer.removeprefix(_SPEC)) for fault in error.errors]
        raise InvalidSpec(error.detail.removeprefix(_SPEC), remedy=error.remedy, errors=faults) from None
