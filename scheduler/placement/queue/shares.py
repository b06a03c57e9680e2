"""Weighted dominant-resource fairness between organizations, with quotas that others may borrow.

An organization's share is the greatest part it holds of any resource, by its weight ("Dominant Resource Fairness",
NSDI'11). Of those that waited as long, the turn is that of the least share; one that stays within its quota comes
before those that borrow.
"""

from collections.abc import Mapping

from scheduler.placement.queue.waiting import USUAL, Account, Amounts

SCALE = 10**12


class Shares:
    """used: what each organization holds, as a round goes on."""

    def __init__(self, accounts: Mapping[str, Account], used: Mapping[str, Amounts], capacity: Amounts) -> None:
        self._accounts, self._capacity = accounts, capacity
        self.used = dict(used)

    def of(self, organization_id: str) -> int:
        """Its weighted dominant share, whole numbers so that every machine agrees."""
        used, capacity = self.used.get(organization_id, Amounts()), self._capacity
        part = max(
            used.gpu_milli * SCALE // max(capacity.gpu_milli, 1),
            used.cpu_milli * SCALE // max(capacity.cpu_milli, 1),
            used.memory_bytes * SCALE // max(capacity.memory_bytes, 1),
        )
        return part * 1000 // self._account(organization_id).weight_milli

    def borrows(self, organization_id: str, asked: Amounts) -> bool:
        """Whether it would hold more GPUs than its quota; work without GPUs has no quota to stay within."""
        quota = self._account(organization_id).quota_gpus * 1000
        return asked.gpu_milli == 0 or self._gpus(organization_id) + asked.gpu_milli > quota

    def allows(self, organization_id: str, asked: Amounts) -> bool:
        """Whether its ceiling lets it hold that much more."""
        ceiling = self._account(organization_id).ceiling_gpus
        return ceiling is None or not asked.gpu_milli or self._gpus(organization_id) + asked.gpu_milli <= ceiling * 1000

    def add(self, organization_id: str, taken: Amounts) -> None:
        """It has got that much."""
        self.used[organization_id] = self.used.get(organization_id, Amounts()) + taken

    def _account(self, organization_id: str) -> Account:
        return self._accounts.get(organization_id, USUAL)

    def _gpus(self, organization_id: str) -> int:
        return self.used.get(organization_id, Amounts()).gpu_milli
