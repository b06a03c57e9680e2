"""gpuhunt's catalogue, asked by the names that NVML writes."""

import pytest

from market.resources import GpuFacts
from provider_agent.gpus.catalogue import cards_of, compute_capability, contradiction
from provider_agent.gpus.simulated import MODELS


@pytest.mark.parametrize(
    ("name", "memory_gib", "capability"),
    [
        ("Tesla T4", [16], "7.5"),
        ("Tesla V100-SXM2-32GB", [16, 32], "7.0"),
        ("NVIDIA A100-SXM4-80GB", [40, 80], "8.0"),
        ("NVIDIA A10G", [24], "8.6"),
        ("NVIDIA RTX A6000", [48], "8.6"),
        ("NVIDIA RTX 6000 Ada Generation", [48], "8.9"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", [16], "8.9"),
        ("NVIDIA H100 80GB HBM3", [80], "9.0"),
        ("NVIDIA H100 NVL", [94], "9.0"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", [96], "12.0"),
    ],
)
def test_a_name_finds_its_cards(name: str, memory_gib: list[int], capability: str) -> None:
    assert [card.memory_gib for card in cards_of(name)] == memory_gib
    assert compute_capability(name) == capability


@pytest.mark.parametrize(
    "name", ["NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA GeForce RTX 4090 D", "NVIDIA GeForce GTX 1080", "unknown"]
)
def test_a_name_that_is_not_listed_finds_none_rather_than_its_neighbour(name: str) -> None:
    assert cards_of(name) == []
    assert compute_capability(name) is None


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_real_cards_do_not_contradict_their_names(model: object) -> None:
    card = MODELS[next(key for key, value in MODELS.items() if value is model)]
    assert contradiction(_facts(card.name, card.memory_bytes, card.compute_capability)) is None


def test_a_card_that_is_smaller_or_older_than_its_name_is_doubted() -> None:
    assert "80 GiB, not 24" in (contradiction(_facts("NVIDIA H100 80GB HBM3", 24 * 2**30, "9.0")) or "")
    assert "9.0, not 8.6" in (contradiction(_facts("NVIDIA H100 80GB HBM3", 80 * 2**30, "8.6")) or "")


def _facts(model: str, memory_bytes: int, capability: str) -> GpuFacts:
    return GpuFacts(uuid="GPU-00000000", index=0, model=model, memory_bytes=memory_bytes, compute_capability=capability)
