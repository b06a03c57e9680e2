"""The end of an attempt: the rest of its log, its outputs, its result; repeated until the portal has taken them."""

import asyncio

from market.agent_api import AttemptStatus
from market.states import Reason
from provider_agent.attempts import outputs
from provider_agent.attempts.attempt import Attempt
from provider_agent.attempts.ending import DETAIL_MAX
from provider_agent.attempts.logs import Shipping
from provider_agent.attempts.record import Result
from provider_agent.attempts.threads import in_thread
from provider_agent.conversation import Refused, Unreachable
from provider_agent.minder import orders
from provider_agent.pacing import Backoff
from provider_agent.sandbox.outputs import UnsafePath


async def deliver(attempt: Attempt, result: Result, shipping: Shipping) -> None:
    """Returns once the portal has accepted the end of the attempt."""
    faults = await _deliver_outputs(attempt)
    await shipping.finish()
    if faults.broken and result.reason is Reason.SUCCEEDED:
        result = result.model_copy(update={"reason": Reason.FAILED_OUTPUTS})
    words = "; ".join(word for word in (result.detail, *faults.broken, *faults.missing) if word)
    status = AttemptStatus(
        attempt_id=attempt.attempt_id,
        state="exited",
        reason=result.reason,
        exit_code=result.exit_code,
        detail=words[:DETAIL_MAX],
        log_bytes=shipping.shipment.delivered,
    )
    attempt.log.info("attempt ended", reason=result.reason, exit_code=result.exit_code, detail=status.detail)
    await attempt.means.reports.tell(status).wait()


async def _deliver_outputs(attempt: Attempt) -> outputs.Faults:
    """Also what a job that failed has left: it may be all there is to learn from."""
    if not attempt.record.outputs or not orders.was_started(attempt.folder):
        return outputs.Faults()
    backoff = Backoff()
    while True:
        try:
            collected = await in_thread(outputs.collect, attempt.workdir, attempt.record.outputs)
            await outputs.deliver(
                attempt.means.conversation,
                attempt.means.transfers,
                attempt.attempt_id,
                attempt.workdir,
                collected.files,
            )
        except Unreachable as error:
            attempt.log.info("outputs will be sent again", error=error.detail)
            await asyncio.sleep(backoff.next_seconds(error.retry_after))
        except Refused as error:
            return outputs.Faults(broken=[error.detail])
        except (OSError, UnsafePath) as error:
            return outputs.Faults(broken=[f"the outputs cannot be read: {error}"])
        else:
            return collected.faults
