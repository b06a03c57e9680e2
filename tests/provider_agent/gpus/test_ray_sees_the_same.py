"""Ray finds by itself the GPUs that the agent finds: a raylet that is told nothing of them, over the fake driver."""

import json
import subprocess
import sys

import pytest
from fake_driver import FakeDriver, looking

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]
ASK = """
import json, logging, ray
ray.init(num_cpus=1, include_dashboard=False, logging_level=logging.ERROR, _node_ip_address="127.0.0.1",
         object_store_memory=78643200)
print("SEEN" + json.dumps(ray.cluster_resources()))
ray.shutdown()
"""


def test_ray_finds_as_many_and_of_the_same_model(driver: FakeDriver) -> None:
    with looking(driver) as looker:
        facts = looker.look()["facts"]
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "RAY_USAGE_STATS_ENABLED": "0", **driver.environment}
    told = subprocess.run(
        # A network of its own: what Ray opens without a token is for nobody to reach.
        [
            "unshare",
            "--map-root-user",
            "--net",
            "sh",
            "-c",
            'ip link set lo up; exec "$@"',
            "sh",
            sys.executable,
            "-c",
            ASK,
        ],
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=True,
    )
    resources = json.loads(told.stdout.partition("SEEN")[2].splitlines()[0])
    assert resources["GPU"] == len(facts) == 2
    assert resources["accelerator_type:H100"] == 1
    assert {fact["model"] for fact in facts} == {"NVIDIA H100 80GB HBM3"}
