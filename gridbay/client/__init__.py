"""The SDK: `with Gridbay(url, token) as market: market.submit({...})`; errors are market.errors.MarketError."""

from gridbay.client.anchors import Anchor, ChainVerdict, verify_anchors
from gridbay.client.sdk import Gridbay
from gridbay.client.streams import LogPosition, WaitedTooLong
from gridbay.client.workdirs import pack
from market.receipts import verify_receipt

__all__ = [
    "Anchor",
    "ChainVerdict",
    "Gridbay",
    "LogPosition",
    "WaitedTooLong",
    "pack",
    "verify_anchors",
    "verify_receipt",
]
