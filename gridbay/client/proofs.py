"""What proofs say of a provider's devices (/provider/v1/proofs)."""

from datetime import datetime

from gridbay.client.party import Answer


class Measured(Answer):
    """by_market: measured by the market's clock; otherwise the node's own word."""

    kind: str
    value: int
    by_market: bool
    measured_at: datetime


class DeviceProof(Answer):
    """state: unproven, verified, suspect, frozen or banned. outcome, findings: of the newest verdict."""

    node_id: str
    node_name: str
    device: str
    model: str | None
    state: str
    score: int
    suspicion: str = ""
    proven_at: datetime | None
    outcome: str | None = None
    findings: dict[str, str] = {}
    shadow: list[str] = []
    engine: str = ""
    measured: list[Measured] = []


class DeviceProofs(Answer):
    items: list[DeviceProof]
