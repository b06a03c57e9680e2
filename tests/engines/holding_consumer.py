"""`python holding_consumer.py URL PREFIX`: takes one batch, says how many messages it has, and never ends."""

import sys
import threading

from usage_buses import Market

from infra.bus.usage import UsageMessage


def hold(batch: list[UsageMessage]) -> None:
    print(len(batch), flush=True)
    threading.Event().wait()


Market(sys.argv[1], sys.argv[2]).bus().consume(hold, threading.Event())
