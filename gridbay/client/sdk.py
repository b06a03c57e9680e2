"""The SDK: what a customer can ask of a market, with typed answers (docs: /v1, market.customer_api)."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from pydantic import TypeAdapter

from gridbay.client.downloads import download
from gridbay.client.patience import OnRetry
from gridbay.client.streams import LogPosition, follow_job, follow_log, wait_until
from gridbay.client.transport import DEFAULT_PATIENCE_SECONDS, Transport
from gridbay.client.workdirs import Archive, pack, put_archive
from market.customer_api import (
    IDEMPOTENCY_HEADER,
    BalanceView,
    CostView,
    DepositRequest,
    DepositView,
    IdentityView,
    JobView,
    LogLine,
    OfferView,
    OutputView,
    Page,
    PlanView,
    SecretRequest,
    SubmitRequest,
    WorkdirAnswer,
    WorkdirRequest,
)
from market.errors import FieldError
from market.receipts import Receipt
from market.specs import InvalidSpec
from market.states import JobState

PAGES_MAX = 1000
JOBS_A_PAGE = 50
_SPEC = "/spec"


class Gridbay:
    """A market at a URL, as seen with a customer's token. Use it in a `with` block, from any number of threads.

    Every method raises a MarketError: the market's refusal, or Unavailable when it cannot be reached.
    on_retry hears why something is asked again.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        patience_seconds: float = DEFAULT_PATIENCE_SECONDS,
        on_retry: OnRetry | None = None,
    ) -> None:
        self._transport = Transport(url, token, patience_seconds=patience_seconds, on_retry=on_retry)

    @property
    def url(self) -> str:
        return self._transport.url

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> "Gridbay":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def me(self) -> IdentityView:
        return IdentityView.model_validate_json(self._transport.request("GET", "/v1/me").content)

    def offers(
        self,
        *,
        gpu: str | None = None,
        max_price: str | None = None,
        unit: str | None = None,
        simulated: bool | None = None,
    ) -> list[OfferView]:
        """What is for rent, cheapest first. gpu: as in job.yaml (24GB.., H100:80GB); max_price: in USDC an hour."""
        query = {"gpu": gpu, "max_price": max_price, "unit": unit, "simulated": simulated}
        return list(self._pages("/v1/offers", Page[OfferView], query))

    def plan(self, spec: Mapping[str, Any], *, workdir_sha256: str | None = None) -> PlanView:
        """What a job would get and could cost at most; nothing is charged or stored. spec: job.yaml as plain data.

        workdir_sha256: of the archive that would go with it, sent or not. Raises InvalidSpec with pointers into spec.
        """
        body = SubmitRequest(spec=dict(spec), workdir_sha256=workdir_sha256).model_dump(mode="json")
        with _pointers_into_spec():
            answer = self._transport.request("POST", "/v1/jobs/plan", json=body, repeatable=True)
        return PlanView.model_validate_json(answer.content)

    def submit(
        self, spec: Mapping[str, Any], *, workdir_sha256: str | None = None, idempotency_key: str | None = None
    ) -> JobView:
        """Submit a job exactly once, however often the connection breaks.

        workdir_sha256: of an archive that `upload_workdir` has sent. idempotency_key: the same text for the same
        intent; by default a fresh one for each call.
        """
        body = SubmitRequest(spec=dict(spec), workdir_sha256=workdir_sha256).model_dump(mode="json")
        with _pointers_into_spec():
            answer = self._transport.request(
                "POST", "/v1/jobs", json=body, headers=_intent(idempotency_key), repeatable=True
            )
        return JobView.model_validate_json(answer.content)

    def jobs(self, *, states: Sequence[JobState] = ()) -> Iterator[JobView]:
        """Every job of the organization (in one of these states), newest first; a page is asked for when reached."""
        return self._pages("/v1/jobs", Page[JobView], {"limit": JOBS_A_PAGE, "state": list(states)})

    def job(self, job_id: str) -> JobView:
        return JobView.model_validate_json(self._transport.request("GET", f"/v1/jobs/{job_id}").content)

    def stop(self, job_id: str) -> JobView:
        """Ask a job to stop; one that has ended stays as it is."""
        answer = self._transport.request("POST", f"/v1/jobs/{job_id}/stop", repeatable=True)
        return JobView.model_validate_json(answer.content)

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
        answer = self._transport.request("GET", f"/v1/jobs/{job_id}/outputs")
        return TypeAdapter(list[OutputView]).validate_json(answer.content)

    def download_outputs(self, job_id: str, folder: Path) -> list[Path]:
        """Fetch every output into the folder, checked against its hash; where each of them lies now."""
        return [download(output, folder) for output in self.outputs(job_id)]

    def cost(self, job_id: str) -> CostView:
        return CostView.model_validate_json(self._transport.request("GET", f"/v1/jobs/{job_id}/cost").content)

    def receipt(self, job_id: str) -> Receipt:
        """The proof of a job's bill; raises Unavailable while the epoch of one of its lines is open."""
        # An open epoch is a plain answer here, not a moment's weakness: asking again at once is no use.
        answer = self._transport.request("GET", f"/v1/jobs/{job_id}/receipt", insist=False)
        return Receipt.model_validate_json(answer.content)

    def balance(self) -> BalanceView:
        return BalanceView.model_validate_json(self._transport.request("GET", "/v1/balance").content)

    def deposit(self, amount_microusd: int, *, idempotency_key: str | None = None) -> DepositView:
        """How to pay that much in: a Solana Pay request, credited once its transfer is final."""
        body = DepositRequest(amount_microusd=amount_microusd).model_dump(mode="json")
        answer = self._transport.request(
            "POST", "/v1/deposits", json=body, headers=_intent(idempotency_key), repeatable=True
        )
        return DepositView.model_validate_json(answer.content)

    def deposit_status(self, deposit_id: str) -> DepositView:
        return DepositView.model_validate_json(self._transport.request("GET", f"/v1/deposits/{deposit_id}").content)

    def set_secret(self, name: str, value: str) -> None:
        """Store a secret for jobs that name it; it is never shown again."""
        body = SecretRequest(value=value).model_dump(mode="json")
        self._transport.request("PUT", f"/v1/secrets/{name}", json=body)

    def secret_names(self) -> list[str]:
        answer = self._transport.request("GET", "/v1/secrets").json()
        return [str(name) for name in answer["names"]]

    def remove_secret(self, name: str) -> None:
        self._transport.request("DELETE", f"/v1/secrets/{name}")

    def upload_workdir(self, folder: Path) -> str:
        """Pack a folder and send it, unless the market has exactly that already; the hash that `submit` takes."""
        with pack(folder) as archive:
            return self.upload_archive(archive)

    def upload_archive(self, archive: Archive) -> str:
        """Send an archive that was packed before."""
        body = WorkdirRequest(sha256=archive.sha256, size_bytes=archive.size_bytes).model_dump(mode="json")
        answer = WorkdirAnswer.model_validate_json(
            self._transport.request("POST", "/v1/workdirs", json=body, repeatable=True).content
        )
        if answer.upload_url is not None:
            put_archive(archive, answer.upload_url, self._transport.patience())
        return archive.sha256

    def _pages(self, path: str, kind: Any, query: Mapping[str, Any]) -> Iterator[Any]:
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            answer = self._transport.request("GET", path, params={**query, "cursor": cursor})
            page = kind.model_validate_json(answer.content)
            yield from page.items
            if page.next_cursor is None:
                return
            cursor = page.next_cursor


def _intent(key: str | None) -> dict[str, str]:
    return {IDEMPOTENCY_HEADER: key or secrets.token_hex(16)}


@contextmanager
def _pointers_into_spec() -> Iterator[None]:
    """The market points into the request's body; whoever calls knows only the specification in it."""
    try:
        yield
    except InvalidSpec as error:
        faults = [FieldError(fault.pointer.removeprefix(_SPEC), fault.detail) for fault in error.errors]
        raise InvalidSpec(error.detail.removeprefix(_SPEC), remedy=error.remedy, errors=faults) from None
