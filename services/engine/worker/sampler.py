"""Logits to token ids, in the order of vLLM: what steers, penalties, temperature, top-k, top-p, min-p, draw.

The draw is Gumbel-max with noise by (seed, position, token id): see `kernels.draw.cpu`. Rows come sorted by what they
need, greedy first, so that no row pays for another's sort. Top-k, top-p and min-p each become a threshold on the
logits: tokens that tie with the last one kept are kept, and what is kept does not depend on how a sort breaks ties.
"""

import torch
from torch import Tensor
from torch.nn import functional

from kernels.draw.cpu import argmax, draw, row_keys
from kernels.steer import steer
from kernels.step_inputs.cpu import StepInputs
from services.engine.worker.batch import Batch
from services.engine.worker.columns import Column
from services.engine.worker.pack import Header, Parts

HOPELESS = 64.0  # noise lies between -2.9 and 16.7
FEW = 256  # candidates that top-p looks at before it sorts them all


class Sampler:
    def __init__(self, vocab_size: int) -> None:
        self._vocab = vocab_size

    def __call__(self, logits: Tensor, batch: Batch, inputs: StepInputs, parts: Parts, header: Header) -> Tensor:
        """logits [S, vocab] float32, changed in place; returns the drawn ids [S] int32."""
        self.shape(logits, batch, inputs, parts, header)
        greedy = header.greedy
        if greedy == header.sampled:
            return argmax(logits)
        keys = row_keys(batch.parameters, Column.SEED_LOW, inputs.drawing[greedy:], inputs.ends[greedy:])
        drawn = draw(logits[greedy:], *keys)
        return torch.cat((argmax(logits[:greedy]), drawn)) if greedy else drawn

    def shape(self, logits: Tensor, batch: Batch, inputs: StepInputs, parts: Parts, header: Header) -> None:
        """Everything before the draw, in place: afterwards the softmax of a row is what it is drawn from."""
        if header.steered:
            columns = batch.parameters[:, Column.PROMPT_LEN : Column.SEED_LOW]
            steer(logits, batch.lists, columns, batch.tokens, inputs.drawing, inputs.ends, parts.steered)
        if header.penalised:
            self._penalise(logits, batch, inputs, parts.penalised)
        if header.greedy < header.sampled:
            columns = batch.parameters.index_select(0, inputs.drawing[header.greedy :])
            rest = logits[header.greedy :].div_(_float(columns, Column.TEMPERATURE))
            _truncate(rest, columns, header)

    def _penalise(self, logits: Tensor, batch: Batch, inputs: StepInputs, which: Tensor) -> None:
        """Repetition over prompt and output (Keskar et al. 2019), frequency and presence over output (OpenAI)."""
        rows, ends = inputs.drawing[which], inputs.ends[which]
        columns = batch.parameters.index_select(0, rows)
        known = batch.tokens.index_select(0, rows).long()  # [P, L]
        at = torch.arange(known.shape[1], dtype=torch.int32, device=known.device)
        valid = at < ends[:, None]
        output = valid & (at >= columns[:, Column.PROMPT_LEN, None])
        seen, count = (
            logits.new_zeros(len(rows), self._vocab).scatter_add_(1, known, mask.to(logits.dtype))
            for mask in (valid, output)
        )
        x = logits.index_select(0, which)
        repetition = _float(columns, Column.REPETITION)
        x = torch.where(seen > 0, torch.where(x > 0, x / repetition, x * repetition), x)
        x -= _float(columns, Column.FREQUENCY) * count
        x -= _float(columns, Column.PRESENCE) * (count > 0)
        logits.index_copy_(0, which.long(), x)


def _float(columns: Tensor, column: Column) -> Tensor:
    """[S, 1] float32."""
    return columns[:, column, None].view(torch.float32)


def _truncate(logits: Tensor, columns: Tensor, header: Header) -> None:
    """Set to -inf what the rows may not draw. logits [S, vocab] of all rows that are not greedy, in packed order.

    Each kind of row has its own way, and each way ends in one threshold; what a row needs not is off in its parameters.
    """
    sizes = [header.plain, header.floored, header.limited, header.nucleus]
    _, floored, limited, nucleus = zip(torch.split(logits, sizes), torch.split(columns, sizes), strict=True)
    if header.floored:
        x, of = floored
        _cut(x, x.amax(-1, keepdim=True), of)
    if header.limited:
        x, of = limited
        best = x.topk(header.most_k).values
        last = best.gather(1, of[:, Column.TOP_K, None].long() - 1)
        best.masked_fill_(best < last, -torch.inf)
        _cut(x, best[:, :1], of, torch.maximum(last, _last_of_top_p(best, best.logsumexp(-1, keepdim=True), of)))
    if header.nucleus:
        x, of = nucleus
        total = x.logsumexp(-1, keepdim=True)
        best = x.topk(min(FEW, x.shape[-1])).values
        if not bool(((best - total).exp_().sum(-1, keepdim=True) > _float(of, Column.TOP_P)).all()):
            best = x.sort(descending=True).values
        _cut(x, best[:, :1], of, _last_of_top_p(best, total, of))


def _last_of_top_p(best: Tensor, total: Tensor, columns: Tensor) -> Tensor:
    """The smallest logit [S, 1] that top-p keeps (Holtzman et al. 2020).

    best [S, K] holds the largest logits of each row in falling order, enough of them for top-p; total [S, 1] is the
    logarithm of the sum of exp(logit) that shares are of.
    """
    share = (best - total).exp_()
    before = share.cumsum(-1) - share  # the share of those better than this one
    kept = (before < _float(columns, Column.TOP_P)).sum(-1, keepdim=True).clamp_min_(1)
    return best.gather(1, kept - 1)


def _cut(logits: Tensor, top: Tensor, columns: Tensor, least: Tensor | None = None) -> None:
    """In place: logits below `least` or min-p (Nguyen et al. 2024) become -inf, others lose a constant of their row.

    top [S, 1] is the row's largest. torch's `threshold` is its one comparison that is vectorised on a CPU (`where` and
    `masked_fill` take fourteen times as long), but it compares with one number: so each row is shifted to meet it. What
    lies HOPELESS below the top could not be drawn anyway.
    """
    floor = torch.maximum(top - HOPELESS, top + _float(columns, Column.MIN_P).log())  # log(0): off
    if least is not None:
        floor = torch.maximum(floor, least)
    just_below = floor.nextafter(floor.new_tensor(-torch.inf))
    logits.copy_(functional.threshold(logits.sub_(just_below), 0.0, -torch.inf))
