"""Random numbers by (seed, position, token id): the same everywhere, and random."""

import torch

from tests.noise import row_keys, token_counters, uniforms

CPU = torch.device("cpu")


def draws(seeds: list[int], positions: list[int], vocab_size: int) -> torch.Tensor:
    low = torch.tensor([s & 0x7FFFFFFF for s in seeds], dtype=torch.int32)
    high = torch.tensor([s >> 32 for s in seeds], dtype=torch.int32)
    keys = row_keys(low, high, torch.tensor(positions, dtype=torch.int32))
    return uniforms(keys, token_counters(vocab_size, CPU))


MASK = 2**64 - 1


def mixed(x: int) -> int:
    """splitmix64's finaliser."""
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def by_hand(seed: int, position: int, token: int) -> float:
    """The number in Python's integers."""
    key = mixed((mixed(seed) + position * 0x9E3779B97F4A7C15) & MASK)
    x = (token * 0x9E3779B1 & 0xFFFFFFFF) ^ (key & 0xFFFFFFFF)
    x ^= x >> 16
    x = (x * 0x7FEB352D + (key >> 32)) & 0xFFFFFFFF
    x ^= x >> 15
    x = x * 0x846CA68B & 0xFFFFFFFF
    x ^= x >> 16
    return (2 * (x >> 9) + 1) / 2**24


def test_the_numbers_are_those_of_the_definition() -> None:
    """A request that is continued elsewhere must meet the same numbers there: bit for bit those of the integer code."""
    seeds, positions = [0, 1, 2**31 - 1, (5 << 32) + 1, (2**31 - 1) << 32], [1, 7, 0, 4095, 2**31 - 1]
    expected = [[by_hand(s, p, token) for token in range(300)] for s, p in zip(seeds, positions, strict=True)]
    assert draws(seeds, positions, 300).tolist() == expected


def test_a_row_draws_alone_what_it_draws_among_others() -> None:
    """No number depends on the other rows or on how many tokens there are."""
    together = draws(list(range(20)), list(range(100, 120)), 500)
    for row in range(20):
        assert torch.equal(draws([row], [100 + row], 77)[0], together[row, :77])


def test_the_numbers_fill_the_open_unit_interval_evenly() -> None:
    """Two million numbers over seeds, positions and tokens: a chi-square over 256 cells, and neither 0 nor 1."""
    u = torch.cat(
        [
            draws([7] * 500, list(range(500)), 1000).flatten(),  # successive positions
            draws(list(range(500)), [9] * 500, 1000).flatten(),  # successive seeds
            draws([3] * 1000, list(range(0, 4000, 4)), 1000).T[::2].flatten(),  # tokens apart
        ]
    )
    assert float(u.min()) > 0 and float(u.max()) < 1
    counts = torch.histc(u.double(), 256, 0, 1)
    expected = u.numel() / 256
    assert float(((counts - expected) ** 2 / expected).sum()) < 255 + 5 * (2 * 255) ** 0.5


def test_neighbours_are_not_related() -> None:
    """Between successive tokens, positions and seeds the correlation is that of independent numbers."""
    u = draws([11] * 600, list(range(600)), 600).double() - 0.5
    v = draws(list(range(600)), [11] * 600, 600).double() - 0.5
    pairs = [(u[:, 1:], u[:, :-1]), (u[1:], u[:-1]), (v[1:], v[:-1]), (u, v)]
    for a, b in pairs:
        assert abs(float((a * b).mean()) * 12) < 5 / a.numel() ** 0.5
