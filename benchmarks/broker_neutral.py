"""Whether the broker matters: the control plane's rounds on RabbitMQ and on Valkey, in alternating pairs (issue 3).

One market has RabbitMQ as broker and usage bus (GRIDBAY_TEST_AMQP_URL, a vhost of its own), the other its own Valkey.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
from pathlib import Path

from benchmarks.control_plane import show
from benchmarks.markets import BenchMarket, running
from benchmarks.stand import Round, Stand

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
# Not `tests.real_engines`: gpuhunt's wheel brings a package `tests` of its own.
from real_engines import own_vhost

PAIRS, QUICK_PAIRS = 7, 2
AMQP_URL = "amqp://guest:guest@127.0.0.1:5672/"
TARGET_RATIO = 1.5


def main() -> None:
    """Print the figures of both sides and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--quick", action="store_true", help="two pairs: to see that it works")
    options = parser.parse_args()
    with (
        own_vhost(os.environ.get("GRIDBAY_TEST_AMQP_URL", AMQP_URL)) as amqp,
        running(with_agent=False) as on_valkey,
        running(with_agent=False, broker_url=amqp) as on_rabbitmq,
    ):
        pairs = asyncio.run(_pairs(on_valkey, on_rabbitmq, QUICK_PAIRS if options.quick else options.pairs))
    show("Valkey", [valkey for valkey, _ in pairs])
    show("RabbitMQ", [rabbitmq for _, rabbitmq in pairs])
    latency = statistics.median(rabbitmq.p50_ms / valkey.p50_ms for valkey, rabbitmq in pairs)
    rate = statistics.median(valkey.jobs_per_second / rabbitmq.jobs_per_second for valkey, rabbitmq in pairs)
    print(f"RabbitMQ against Valkey: latency {latency:.2f} x, time a job in a burst {rate:.2f} x")
    ratio = max(latency, 1 / latency, rate, 1 / rate)
    print(json.dumps({"name": "broker_neutral", "ratio": round(ratio, 3), "target": TARGET_RATIO}))


async def _pairs(on_valkey: BenchMarket, on_rabbitmq: BenchMarket, count: int) -> list[tuple[Round, Round]]:
    """Rounds in pairs; which side goes first alternates."""
    pairs = []
    async with Stand.on(on_valkey) as valkey, Stand.on(on_rabbitmq) as rabbitmq:
        for number in range(count):
            if number % 2:
                second = await rabbitmq.round()
                pairs.append((await valkey.round(), second))
            else:
                pairs.append((await valkey.round(), await rabbitmq.round()))
    return pairs


if __name__ == "__main__":
    main()
