"""The environment of a customer's command: theirs, their secrets, and what says where it runs."""

from collections.abc import Sequence

from market.agent_api import AttemptOrder


def command_environment(order: AttemptOrder, gpu_uuids: Sequence[str]) -> dict[str, str]:
    """What is injected wins. Exactly the leased GPUs are named, by UUID; without any the names are empty, not unset."""
    devices = ",".join(gpu_uuids)
    return {
        **order.env,
        **{secret.name: secret.value for secret in order.secrets},
        "GRIDBAY_JOB_ID": order.job_id,
        "GRIDBAY_ATTEMPT": str(order.attempt_number),
        "NODE_RANK": "0",
        "NODES": "1",
        "MASTER_ADDR": "127.0.0.1",
        "GPUS_PER_NODE": str(len(gpu_uuids)),
        "CUDA_VISIBLE_DEVICES": devices,
        "NVIDIA_VISIBLE_DEVICES": devices,
    }
