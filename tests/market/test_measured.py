"""What searches ask of measured figures, as people write it."""

import pytest

from market.measured import AT_LEAST_MAX, Measure, UnknownMeasure, parse_at_least, rate_in_words


@pytest.mark.parametrize(
    ("text", "measure", "value"),
    [
        ("network_down=100Mbit", Measure.NETWORK_DOWN, 12_500_000),
        ("network_up=1Gbit/s", Measure.NETWORK_UP, 125_000_000),
        ("disk_read=500MB", Measure.DISK_READ, 500_000_000),
        ("pcie_to_device=20 GB/s", Measure.PCIE_TO_DEVICE, 20 * 10**9),
        ("memory=1.5T", Measure.MEMORY, 1_500 * 10**9),
        ("matrix=200T", Measure.MATRIX, 200 * 10**12),
        ("Matrix=1.2 POP/s", Measure.MATRIX, 1_200 * 10**12),
    ],
)
def test_a_figure_is_written_with_its_unit_or_without(text: str, measure: Measure, value: int) -> None:
    assert parse_at_least([text]) == {measure: value}


@pytest.mark.parametrize(
    "text", ["disk_read", "disk_read=", "disk_read=fast", "matrix=20GB", "memory=3TOP", "matrix=0"]
)
def test_what_is_no_figure_says_how_to_write_it(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_at_least([text])


def test_an_unknown_name_is_told_the_one_that_was_meant() -> None:
    with pytest.raises(UnknownMeasure, match="did you mean `network_down`") as refused:
        parse_at_least(["netwrk_down=1G"])
    assert refused.value.meant == "network_down"


def test_the_larger_of_two_counts_and_their_number_is_bounded() -> None:
    assert parse_at_least(["memory=1G", "memory=2G", "memory=1.5G"]) == {Measure.MEMORY: 2 * 10**9}
    with pytest.raises(ValueError, match="8 at most"):
        parse_at_least(["memory=1G"] * (AT_LEAST_MAX + 1))


def test_rates_in_words() -> None:
    assert rate_in_words(Measure.MATRIX, 1_979 * 10**12) == "1,979 TOP/s"
    assert rate_in_words(Measure.DISK_READ, 512_300_000) == "512 MB/s"
    assert rate_in_words(Measure.NETWORK_UP, 12) == "12 B/s"
