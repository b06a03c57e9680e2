"""Submitting jobs: key, plan, first window and queue in one transaction, for as many submissions as have gathered."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.orm import Session

from billing.charging import funding
from billing.charging.bills import JobCost
from billing.charging.funding import FundedWindow, JobTerms
from billing.charging.windows import Limits, Rate, next_window
from infra.ground import Ground
from infra.logging import current_trace
from market.customer_api import PlanView, SubmitRequest
from market.errors import FieldError, InvalidInput, MarketError
from market.failpoints import failpoint
from market.ids import new_id
from market.specs import InvalidSpec, JobSpec, parse_job_spec
from market.states import Reason
from portal_api import job_views
from portal_api.identity import customer_secrets, idempotency
from portal_api.identity.idempotency import Answered, Intent
from scheduler.files import workdirs
from scheduler.rounds import quotes
from scheduler.rounds.quotes import Limit, StandingOffers
from scheduler.work import jobs
from scheduler.work.jobs import NewJob

ROUTE = "submit_job"
CREATED = 201


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked request. intent.owner is the organization; trace: the number of the HTTP request."""

    intent: Intent
    spec: JobSpec
    workdir_sha256: str | None
    trace: str | None = None

    @property
    def organization_id(self) -> str:
        return self.intent.owner


def read_request(request: SubmitRequest) -> JobSpec:
    """The specification of a request; the pointers of its faults begin at the request's body. Raises InvalidSpec."""
    try:
        spec = parse_job_spec(request.spec)
    except InvalidSpec as error:
        raise _below_spec(error) from None
    if spec.workdir is not None and request.workdir_sha256 is None:
        detail = "the archive of the working directory was not sent; declare and upload it first"
        raise InvalidSpec(detail, errors=[FieldError("/workdir_sha256", detail)])
    return spec


def submission_of(organization_id: str, key: str, request: SubmitRequest) -> Submission:
    """Raises InvalidSpec."""
    spec = read_request(request)
    # With the standard library: what a specification says may hold numbers of any size.
    body = json.dumps(request.model_dump(mode="json"), sort_keys=True, ensure_ascii=True).encode()
    intent = Intent(organization_id, ROUTE, key, idempotency.body_digest(body))
    return Submission(intent, spec, request.workdir_sha256, current_trace())


def plan_job(session: Session, base: Ground, organization_id: str, request: SubmitRequest) -> PlanView:
    """What a job would get and cost; nothing is stored. Raises NoOffer, InvalidSpec, InvalidInput."""
    spec = read_request(request)
    try:
        customer_secrets.require(session, organization_id, spec.secrets)
    except InvalidInput as error:
        raise _below_spec(error) from None
    plan = quotes.plan(session, spec, organization_id)
    rate = Rate(plan.quantity_milli, plan.price_limit_microusd_per_unit_hour, plan.minimum_seconds)
    longest = Limits(base.settings.window_seconds, spec.max_duration, spec.budget.max_total, 2**62)
    window = next_window(rate, longest)
    if isinstance(window, Reason):
        detail = f"max_total pays for less than {rate.least} of this job at its highest price"
        raise InvalidInput(detail, errors=[FieldError("/spec/budget/max_total", detail)])
    return job_views.plan_view(plan, window.amount_microusd)


class SubmissionBatches:
    """The work of a batch. What is wrong with one submission alone is its outcome and leaves the others be."""

    def __init__(self, base: Ground) -> None:
        self._base = base
        self._offers = StandingOffers()

    def __call__(self, submissions: list[Submission]) -> Sequence[Answered | BaseException]:
        now = self._base.clock.now()
        with self._base.database.transaction() as session:
            verdicts = idempotency.claim(session, [item.intent for item in submissions])
            fresh = _first_of_each(submissions, verdicts)
            made = self._make(session, fresh, now)
            answers = [(fresh[name].intent, made[name]) for name in fresh]
            idempotency.remember(
                session, [(intent, answer) for intent, answer in answers if isinstance(answer, Answered)], now
            )
            failpoint("api.submit.before_commit")
        failpoint("api.submit.after_commit")
        return [_outcome(item, verdict, made, fresh) for item, verdict in zip(submissions, verdicts, strict=True)]

    def _make(
        self, session: Session, fresh: Mapping[tuple[str, str, str], Submission], now: datetime
    ) -> dict[tuple[str, str, str], Answered | BaseException]:
        """Plan, fund and queue; by the intent's name, the answer or the refusal."""
        made: dict[tuple[str, str, str], Answered | BaseException] = {}
        planned: dict[tuple[str, str, str], tuple[Submission, Limit, str]] = {}
        wanted = [(item.spec, item.organization_id) for item in fresh.values()]
        limits = quotes.limits(session, wanted, self._offers)
        for (name, item), limit in zip(fresh.items(), limits, strict=True):
            refusal = limit if isinstance(limit, MarketError) else self._refusal(session, item, now)
            if refusal is not None:
                made[name] = refusal
            elif not isinstance(limit, MarketError):
                planned[name] = (item, limit, new_id("job"))
        terms = [_terms(item, limit, job_id) for item, limit, job_id in planned.values()]
        funded: dict[tuple[str, str, str], FundedWindow] = {}
        for name, outcome in zip(planned, funding.open_jobs(session, terms, now, self._base.settings), strict=True):
            if isinstance(outcome, MarketError):
                made[name] = _below_spec(outcome) if isinstance(outcome, InvalidInput) else outcome
            else:
                funded[name] = outcome
        new_jobs = [_new_job(*planned[name], window.seconds) for name, window in funded.items()]
        records = jobs.submit(session, new_jobs, now)
        for (name, window), record in zip(funded.items(), records, strict=True):
            view = job_views.job_view(record, JobCost(0, window.amount_microusd, settled=False))
            made[name] = Answered(CREATED, view.model_dump(mode="json"))
        return made

    def _refusal(self, session: Session, item: Submission, now: datetime) -> MarketError | None:
        """What else a job needs that is not there: its secrets, its working directory."""
        try:
            customer_secrets.require(session, item.organization_id, item.spec.secrets)
            if item.workdir_sha256 is not None:
                workdirs.require(session, self._base.storage, item.organization_id, item.workdir_sha256, now)
        except InvalidInput as error:
            return _below_spec(error) if error.errors else error
        except MarketError as error:
            return error
        return None


def _first_of_each(
    submissions: Sequence[Submission], verdicts: Sequence[Answered | Exception | None]
) -> dict[tuple[str, str, str], Submission]:
    first: dict[tuple[str, str, str], Submission] = {}
    for item, verdict in zip(submissions, verdicts, strict=True):
        if verdict is None:
            first.setdefault(item.intent.name, item)
    return first


def _outcome(
    item: Submission,
    verdict: Answered | Exception | None,
    made: Mapping[tuple[str, str, str], Answered | BaseException],
    fresh: Mapping[tuple[str, str, str], Submission],
) -> Answered | BaseException:
    if verdict is not None:
        return verdict
    first, answer = fresh[item.intent.name], made[item.intent.name]
    if first is item or isinstance(answer, BaseException):
        return answer
    try:
        idempotency.same_body(first.intent, item.intent)
    except InvalidInput as error:
        return error
    return Answered(answer.status, answer.body, replayed=True)


def _terms(item: Submission, limit: Limit, job_id: str) -> JobTerms:
    return JobTerms(
        job_id=job_id,
        organization_id=item.organization_id,
        unit=limit.unit,
        quantity_milli=limit.quantity_milli,
        price_limit_microusd_per_unit_hour=limit.price_limit_microusd_per_unit_hour,
        max_total_microusd=item.spec.budget.max_total,
        max_duration_seconds=item.spec.max_duration,
        labels=tuple(item.spec.labels),
    )


def _new_job(item: Submission, limit: Limit, job_id: str, funded_seconds: int) -> NewJob:
    return NewJob(
        job_id=job_id,
        organization_id=item.organization_id,
        spec=item.spec,
        workdir_sha256=item.workdir_sha256,
        trace=item.trace,
        price_limit_microusd_per_unit_hour=limit.price_limit_microusd_per_unit_hour,
        funded_seconds=funded_seconds,
    )


def _below_spec(error: InvalidInput) -> InvalidInput:
    """The same refusal, its pointers seen from the request's body."""
    errors = [replace(item, pointer=f"/spec{item.pointer}") for item in error.errors]
    named = errors and error.detail.startswith(error.errors[0].pointer or " ")
    return type(error)(f"/spec{error.detail}" if named else error.detail, remedy=error.remedy, errors=errors)
