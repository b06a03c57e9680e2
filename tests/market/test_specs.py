"""job.yaml: what is understood, and how a fault is told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.resources import GpuRequest, gpu_matches, parse_gpu, parse_size
from market.specs import InvalidSpec, Where, parse_duration, parse_job_spec, spec_document, stored_spec

FULL: dict[str, Any] = {
    "apiVersion": "gridbay/v1",
    "kind": "job",
    "name": "digits",
    "run": "python train.py",
    "workdir": ".",
    "env": {"EPOCHS": 5, "RATE": 0.1},
    "secrets": ["HF_TOKEN"],
    "resources": {"gpu": "H100:80GB:2", "cpu": 4, "memory": "16GB", "disk": "20GiB"},
    "budget": {"max_price": 2.5, "max_total": "10"},
    "max_duration": "1h 30m",
    "retry": {"on": ["provider_lost", "failure"], "max_attempts": 2},
    "outputs": ["metrics.json", {"path": "models/*.npz"}],
}


def faults(data: object) -> dict[str, str]:
    with pytest.raises(InvalidSpec) as caught:
        parse_job_spec(data)
    return {fault.pointer: fault.detail for fault in caught.value.errors}


def test_everything_that_works_is_understood() -> None:
    spec = parse_job_spec(FULL)
    assert spec.env == {"EPOCHS": "5", "RATE": "0.1"}
    assert spec.quantity_milli == 2000
    assert spec.resources.memory == 16 * 10**9
    assert spec.budget.max_total == 10_000_000
    assert spec.max_duration == 5400
    assert [output.path for output in spec.outputs] == ["metrics.json", "models/*.npz"]


WHERE = {
    "regions": ["eu-west"],
    "providers": {"allow": [], "deny": []},
    "verified_only": True,
    "min_reliability": 0.95,
    "labels": ["ssd=nvme"],
    "tolerations": ["reserved=ml"],
    "driver": "550.54",
    "cuda": "12.4",
    "compute_capability": "8.0",
    "nvlink": True,
    "network": "100Mbit",
    "pcie": "20GB",
}


def test_where_is_read_again_from_what_is_stored_of_it() -> None:
    """Rounds read it so: a field whose text means another thing once it was read would mean that from then on."""
    assert WHERE.keys() == Where.model_fields.keys()
    where = parse_job_spec({"run": "true", "where": WHERE}).where
    assert Where.model_validate(where.model_dump(mode="json")) == where


@pytest.mark.parametrize("data", [FULL, {"run": "true"}, {"run": "x", "resources": {"cpu": "500m"}}])
def test_a_stored_specification_reads_back_the_same(data: dict[str, Any]) -> None:
    spec = parse_job_spec(data)
    assert stored_spec(spec_document(spec)) == spec


@pytest.mark.parametrize(
    ("change", "pointer", "said"),
    [
        ({"image": "ubuntu"}, "/image", "not available yet"),
        ({"kind": "service"}, "/kind", "not available yet"),
        ({"resources": {"nodes": 2}}, "/resources/nodes", "not available yet"),
        ({"resources": {"memroy": "1GB"}}, "/resources/memroy", "did you mean `memory`?"),
        ({"retries": 2}, "/retries", "did you mean `retry`?"),
        ({"resources": {"gpu": "0.5"}}, "/resources/gpu", "shares of a GPU are not available yet"),
        ({"resources": {"memory": "4 apples"}}, "/resources/memory", "write it like 4GB"),
        ({"max_duration": "soon"}, "/max_duration", "write it like 90s"),
        ({"budget": {"max_price": "-1"}}, "/budget/max_price", "not an amount of USDC"),
        ({"outputs": ["../../etc/passwd"]}, "/outputs/0/path", "leaves the working directory"),
        ({"env": {"GRIDBAY_JOB_ID": "x"}}, "/env/GRIDBAY_JOB_ID", "reserved"),
        ({"run": ""}, "/run", "at least 1 character"),
    ],
)
def test_a_fault_says_where_it_is_and_how_to_mend_it(change: dict[str, Any], pointer: str, said: str) -> None:
    assert said in faults({"run": "true"} | change)[pointer]


def test_every_fault_is_told_at_once() -> None:
    assert faults({"image": "x", "max_duration": "soon", "retries": 1}).keys() == {
        "/image",
        "/max_duration",
        "/retries",
        "/run",
    }


def test_what_is_no_mapping_is_refused() -> None:
    assert faults(["run"]) == {"": "not a mapping"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_no_input_is_met_with_anything_but_a_refusal(data: Any) -> None:
    for candidate in (
        data,
        {"run": "true", "resources": data},
        {"run": data},
        {"run": "x", "env": data, "outputs": data},
    ):
        try:
            parse_job_spec(candidate)
        except InvalidSpec as refusal:
            assert refusal.errors


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ("H100", GpuRequest(count=1, model="H100")),
        ("RTX 4090:2", GpuRequest(count=2, model="RTX 4090")),
        (2, GpuRequest(count=2)),
        ("24GB..", GpuRequest(count=1, memory_min_bytes=24 * 94 * 10**7)),
        ("24GB..48GB:4", GpuRequest(count=4, memory_min_bytes=24 * 94 * 10**7, memory_max_bytes=48 * 113 * 10**7)),
        ("A100:1g.5gb", GpuRequest(count=1, model="A100", mig="1g.5gb")),
        ("3G.40GB:1", GpuRequest(count=1, mig="3g.40gb")),
        ("1g.10gb+me", GpuRequest(count=1, mig="1g.10gb+me")),
        ("0", None),
    ],
)
def test_gpu_expressions(text: str | int, request_: GpuRequest | None) -> None:
    assert parse_gpu(text) == request_


@pytest.mark.parametrize(
    ("asked", "model", "memory_mib", "fits"),
    [
        ("H100:80GB", "NVIDIA H100 80GB HBM3", 81_559, True),
        ("H100:80GB", "NVIDIA H100 NVL", 95_830, False),
        ("24GB", "NVIDIA A10", 23_028, True),
        ("24GB..", "NVIDIA H100 80GB HBM3", 81_559, True),
        ("rtx4090", "NVIDIA GeForce RTX 4090", 24_564, True),
        ("4090 D", "NVIDIA GeForce RTX 4090", 24_564, False),
        ("A10", "NVIDIA A100-SXM4-80GB", 81_920, False),
        ("L4", "NVIDIA L40S", 46_068, False),
        ("H100", "NVIDIA H100 PCIe", 81_559, True),
    ],
)
def test_which_cards_an_expression_means(asked: str, model: str, memory_mib: int, fits: bool) -> None:
    request = parse_gpu(asked) if not asked.startswith("4090") else GpuRequest(count=1, model=asked)
    assert request is not None
    assert gpu_matches(request, model, memory_mib * 2**20) is fits


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), (90, 90), ("15m", 900), ("1d 6h", 108_000), ("2h30m", 9000)]
)
def test_durations(text: str | int, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "31d", "-5", "1h-1", "h"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_sizes() -> None:
    assert (parse_size("1.5GB"), parse_size("2KiB"), parse_size(7), parse_size("10 b")) == (1_500_000_000, 2048, 7, 10)
