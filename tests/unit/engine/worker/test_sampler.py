"""What is drawn from: penalties and truncations are those of transformers, row by row in one batch."""

import pytest
import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from shared.types import SamplingParams
from tests.unit.engine.worker.steps import Bench, Row

VOCABULARY = 400


def as_transformers(row: Row, logits: Tensor) -> Tensor:
    """Scores of one row [vocab], by its processors in the order in which `generate` applies them."""
    s, stops = row.sampling, list(row.sampling.stop_ids)
    processors = LogitsProcessorList()
    if s.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(s.repetition_penalty))
    if s.min_tokens:
        processors.append(MinNewTokensLengthLogitsProcessor(len(row.prompt), s.min_tokens, stops, device="cpu"))
    if s.temperature:
        processors.append(TemperatureLogitsWarper(s.temperature))
        if s.top_k:
            processors.append(TopKLogitsWarper(s.top_k))
        if s.top_p < 1:
            processors.append(TopPLogitsWarper(s.top_p))
        if s.min_p:
            processors.append(MinPLogitsWarper(s.min_p))
    known = torch.tensor([row.prompt + row.output])
    scores: Tensor = processors(known, logits[None].clone())
    return scores[0]


ROWS = (
    Row(SamplingParams(max_tokens=9, temperature=0)),
    Row(SamplingParams(max_tokens=9, temperature=0.7)),
    Row(SamplingParams(max_tokens=9, temperature=1.3, top_k=5)),
    Row(SamplingParams(max_tokens=9, top_p=0.6)),
    Row(SamplingParams(max_tokens=9, top_p=0.999)),
    Row(SamplingParams(max_tokens=9, top_p=1e-9)),
    Row(SamplingParams(max_tokens=9, min_p=0.2)),
    Row(SamplingParams(max_tokens=9, temperature=0.6, top_k=50, top_p=0.7)),
    Row(SamplingParams(max_tokens=9, temperature=2.0, top_k=50, top_p=0.9, min_p=0.3)),
    Row(SamplingParams(max_tokens=9, top_p=0.9, min_p=0.05)),
    Row(SamplingParams(max_tokens=9, top_k=VOCABULARY + 5)),
    Row(SamplingParams(max_tokens=9, repetition_penalty=1.7), (3, 4, 3), (9, 9)),
    Row(SamplingParams(max_tokens=9, temperature=0, repetition_penalty=0.5), (3, 4, 3), (9, 9)),
    Row(SamplingParams(max_tokens=9, min_tokens=3, stop_ids=(7, 8)), (1, 2), (5, 6)),
    Row(SamplingParams(max_tokens=9, min_tokens=2, stop_ids=(7, 8)), (1, 2), (5, 6)),
    Row(SamplingParams(max_tokens=9, top_k=3, repetition_penalty=1.2, min_tokens=9, stop_ids=(0, 399)), (5,), (5, 1)),
)


@pytest.mark.parametrize("sharpness", [1.0, 4.0])
def test_each_row_of_a_batch_is_shaped_as_transformers_shapes_it(sharpness: float) -> None:
    """Flat logits (top-p keeps most tokens) and sharp ones (few), all kinds of rows in one step."""
    logits = torch.randn(len(ROWS), VOCABULARY, generator=torch.Generator().manual_seed(3)) * sharpness
    _, shaped = Bench(len(ROWS), VOCABULARY).draw(ROWS, logits)
    for row, ours, raw in zip(ROWS, shaped, logits, strict=True):
        expected = as_transformers(row, raw)
        assert torch.equal(ours.isinf(), expected.isinf()), row
        torch.testing.assert_close(ours.log_softmax(-1), expected.log_softmax(-1), rtol=1e-5, atol=1e-5)


def test_frequency_and_presence_count_the_output_alone() -> None:
    """logit - frequency * count - presence * (count > 0), as OpenAI defines them; the prompt is free."""
    sampling = SamplingParams(max_tokens=9, temperature=0, frequency_penalty=0.5, presence_penalty=0.25)
    logits = torch.zeros(1, 20)
    _, shaped = Bench(1, 20).draw([Row(sampling, prompt=(1, 2, 2), output=(2, 3, 3, 3))], logits)
    expected = torch.zeros(20)
    expected[2], expected[3] = -0.75, -1.75
    torch.testing.assert_close(shaped[0], expected)


def test_penalties_see_what_was_drawn_since_and_nothing_behind_it() -> None:
    """A row's table may hold ids of an earlier request past its end; they do not count."""
    bench = Bench(1, 20)
    bench.draw([Row(SamplingParams(max_tokens=9), prompt=(4,) * 30)], torch.zeros(1, 20))
    penalised = SamplingParams(max_tokens=9, temperature=0, frequency_penalty=1.0, repetition_penalty=2.0)
    _, shaped = bench.draw([Row(penalised, prompt=(1,), output=(2,))], torch.ones(1, 20))
    assert shaped[0].tolist() == [1, 0.5, -0.5, *[1.0] * 17]


def test_greedy_rows_take_the_largest_whatever_stands_beside_them() -> None:
    """Temperature zero is an argmax, also below what would overflow a division."""
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(1)) * 1e30
    rows = [Row(SamplingParams(max_tokens=1, temperature=t)) for t in (0, 1e-9)]
    ids, _ = Bench(3, 50).draw([*rows, Row(SamplingParams(max_tokens=1))], logits)
    assert ids[:2] == tuple(logits[:2].argmax(-1).tolist())


def test_a_draw_depends_on_seed_and_position_only() -> None:
    """Alone, among others, in another row, after another prompt of the same length: the same token."""
    logits = torch.randn(1, VOCABULARY, generator=torch.Generator().manual_seed(5))
    others = [Row(SamplingParams(max_tokens=9, seed=n, top_p=0.9 if n % 2 else 1.0), (n,) * n) for n in range(1, 30)]
    noise = torch.randn(29, VOCABULARY)
    for seed in range(40):
        row = Row(SamplingParams(max_tokens=9, seed=seed), (1, 2, 3), (4,))
        (alone,), _ = Bench(1, VOCABULARY).draw([row], logits)
        moved = Row(row.sampling, (9, 9), (8, 7))
        ids, _ = Bench(30, VOCABULARY).draw([*others, moved], torch.cat((noise, logits)))
        assert ids[-1] == alone


def test_tokens_that_tie_with_the_last_one_kept_are_kept() -> None:
    """Which of equals a sort puts first must not decide what can be drawn."""
    logits = torch.tensor([[2.0, 1.0, 1.0, 1.0, 0.0]]).repeat(2, 1)
    rows = [Row(SamplingParams(max_tokens=1, top_k=2)), Row(SamplingParams(max_tokens=1, top_p=0.6))]
    _, shaped = Bench(2, 5).draw(rows, logits)
    assert shaped.isinf().tolist() == [[False, False, False, False, True]] * 2


def test_a_row_may_forbid_many_stop_ids() -> None:
    """The table of stop ids grows by need, and a short list does not inherit the rest of a long one."""
    bench = Bench(1, VOCABULARY)
    for stops in (tuple(range(100)), (3,)):
        sampling = SamplingParams(max_tokens=9, temperature=0, min_tokens=5, stop_ids=stops)
        _, shaped = bench.draw([Row(sampling)], torch.zeros(1, VOCABULARY))
        assert shaped[0].isinf().nonzero().flatten().tolist() == list(stops)
