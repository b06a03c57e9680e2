"""What cards of a model were measured at: the median over providers, per power limit, of proofs that passed."""

from datetime import datetime, timedelta

from sqlalchemy import delete, exists, select, text
from sqlalchemy.orm import Session

from scheduler.proofs.bands import Rate
from scheduler.tables import Benchmark, CardRate, ProofChallenge

PROVIDERS_MIN = 3
"""A model's rate is believed once so many providers were measured at it: no owner sets a rate alone."""
LOOKED_BACK = timedelta(days=30)
POWER_STEP_WATTS = 25
KEPT = timedelta(days=90)
FORGOTTEN_MAX = 10_000

# One figure a provider, so that a thousand cards of one owner weigh as one.
_LEARN = text(
    """
    INSERT INTO card_rates (model, power_limit_watts, operations_per_second, providers, measured_at)
    SELECT model, watts, percentile_disc(0.5) WITHIN GROUP (ORDER BY rate), count(*), :now
    FROM (
        SELECT model, :step * greatest(1, round(power_limit_watts::numeric / :step))::bigint AS watts, provider_id,
            percentile_disc(0.5) WITHIN GROUP (ORDER BY operations_per_second) AS rate
        FROM proof_challenges
        WHERE state = 'judged' AND outcome = 'passed' AND NOT disturbed AND judged_at > :since
            AND model IS NOT NULL AND power_limit_watts IS NOT NULL AND operations_per_second > 0
        GROUP BY 1, 2, 3
    ) AS of_provider
    GROUP BY model, watts
    HAVING count(*) >= :providers
    ON CONFLICT (model, power_limit_watts) DO UPDATE SET
        operations_per_second = excluded.operations_per_second, providers = excluded.providers,
        measured_at = excluded.measured_at
    """
)


def learn(session: Session, now: datetime) -> None:
    """Bring the rates in line with the proofs of the last month."""
    values = {"now": now, "since": now - LOOKED_BACK, "step": POWER_STEP_WATTS, "providers": PROVIDERS_MIN}
    session.execute(_LEARN, values)


def forget(session: Session, now: datetime) -> int:
    """Drop challenges that were over long ago and are no figure's source; returns how many, a bounded number."""
    over = (
        select(ProofChallenge.id)
        .where(ProofChallenge.judged_at < now - KEPT)
        .where(~exists().where(Benchmark.challenge_id == ProofChallenge.id))
        .limit(FORGOTTEN_MAX)
    )
    gone = session.execute(delete(ProofChallenge).where(ProofChallenge.id.in_(over)).returning(ProofChallenge.id))
    return len(gone.all())


def of_model(session: Session, model: str) -> list[Rate]:
    """The rates of a model, by the name that NVML writes."""
    rows = session.scalars(select(CardRate).where(CardRate.model == model).order_by(CardRate.power_limit_watts))
    return [Rate(row.power_limit_watts, float(row.operations_per_second), row.providers) for row in rows]
