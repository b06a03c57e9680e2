"""Billing's tables by noun; importing this brings them all, with their triggers, into the metadata."""

from billing.tables import (
    adjustments,
    allowances,
    bills,
    budgets,
    deposits,
    funding,
    ledger,
    metering,
    settlement,
    triggers,
)

__all__ = [
    "adjustments",
    "allowances",
    "bills",
    "budgets",
    "deposits",
    "funding",
    "ledger",
    "metering",
    "settlement",
    "triggers",
]
