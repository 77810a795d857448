"""Exponents and their words, and sweeps that are over in a moment; what takes how long is a bench's to say."""

from pathlib import Path

import pytest

from bench.growth import engine, streams
from bench.growth.picture import draw
from bench.growth.series import Sweep, Word, exponent, word

SIZES = (1, 4, 16, 64, 256)


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_the_exponent_is_the_power_of_the_size(power: float) -> None:
    assert exponent(SIZES, [0.3 * size**power for size in SIZES]) == pytest.approx(power)


def test_a_fixed_part_does_not_hide_growth() -> None:
    """Where what grows is most of it: the largest sizes decide."""
    assert exponent(SIZES, [1 + 0.5 * size for size in SIZES]) == pytest.approx(1, abs=0.1)


def test_a_size_of_nothing_has_no_place_among_powers() -> None:
    assert exponent((0, *SIZES), [99.0, *(2.0 * size for size in SIZES)]) == pytest.approx(1)


@pytest.mark.parametrize(("power", "expected"), [(-0.4, "flat"), (0.1, "flat"), (0.9, "linear"), (1.5, "worse")])
def test_growth_has_a_word(power: float, expected: Word) -> None:
    assert word(power) == expected


def test_a_sweep_names_the_lines_that_grow_too_fast() -> None:
    lines = {"even": [1.0] * 5, "steep": [float(size) for size in SIZES]}
    assert Sweep("sizes", "", "flat", SIZES, lines).worse == ["steep"]
    assert not Sweep("sizes", "", "linear", SIZES, lines).worse


def test_each_sweep_has_a_cost_for_each_size_and_a_picture(tmp_path: Path) -> None:
    sweeps = [
        engine.rows((1, 2, 4), 16),
        engine.context((16, 32, 64), 16),
        engine.queue((0, 1, 2), 16),
        streams.detokenizer((1, 2, 4), 2),
        streams.gateway((1, 2, 4), 2),
    ]
    for sweep in sweeps:
        assert all(len(costs) == 3 and min(costs) > 0 for costs in sweep.lines.values()), sweep
    draw(sweeps, "for a test", tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
