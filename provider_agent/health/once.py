"""What can be seen to stand against GPUs at a single look, for the checklist: no symptom has to last."""

from market.health import Condition
from provider_agent.gpus.catalogue import contradiction
from provider_agent.gpus.port import Gpus
from provider_agent.gpus.readings import Look
from provider_agent.health.surroundings import Surroundings
from provider_agent.health.symptoms import symptoms


def conditions_at_a_look(gpus: Gpus) -> list[Condition]:
    """Of real devices; nothing stands against simulated ones."""
    if gpus.simulated:
        return []
    facts = gpus.facts()
    present = frozenset(fact.uuid for fact in facts)
    doubts = {fact.uuid: words for fact in facts if (words := contradiction(fact)) is not None}
    around = Surroundings(pool=present, seen=present, contradictions=doubts)
    found = symptoms(gpus.look(), around, Look(), ())
    return [Condition(code=one.code, gpu_uuid=one.uuid, detail=one.detail[:200]) for one in found]
