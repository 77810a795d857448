"""Logits to token ids, in the order of transformers: penalties, min_tokens, temperature, top-k, top-p, min-p, draw.

The draw is Gumbel-max with noise by (seed, position, token id): see `noise`. Rows come sorted by what they need, greedy
first, so that no row pays for another's sort. Top-k, top-p and min-p each become a threshold on the logits: tokens that
tie with the last one kept are kept, and what is kept does not depend on how a sort breaks ties.
"""

import torch
from torch import Tensor

from services.engine.worker.batch import Batch, StepInputs
from services.engine.worker.noise import gumbel, row_keys, token_counters
from services.engine.worker.pack import Column, Header, Parts

CHUNK = 1 << 17  # logits that are drawn from at once, so that all passes over them find them in the cache
FEW = 256  # candidates that top-p looks at before it sorts them all


class Sampler:
    def __init__(self, vocab_size: int, device: torch.device) -> None:
        self._vocab = vocab_size
        self._counters = token_counters(vocab_size, device)

    def __call__(self, logits: Tensor, batch: Batch, inputs: StepInputs, parts: Parts, header: Header) -> Tensor:
        """logits [S, vocab] float32, changed in place; returns the drawn ids [S] int32."""
        self.shape(logits, batch, inputs, parts, header)
        greedy = header.greedy
        drawn = [logits[:greedy].argmax(-1)]
        if greedy < header.sampled:
            columns = batch.parameters.index_select(0, inputs.drawing[greedy:])
            keys = row_keys(columns[:, Column.SEED_LOW], columns[:, Column.SEED_HIGH], inputs.ends[greedy:])
            chunk = max(1, CHUNK // self._vocab)
            for first in range(0, header.sampled - greedy, chunk):
                part = slice(first, first + chunk)
                noise = gumbel((keys[0][part], keys[1][part]), self._counters)
                drawn.append(noise.add_(logits[greedy:][part]).argmax(-1))
        return torch.cat(drawn).to(torch.int32)

    def shape(self, logits: Tensor, batch: Batch, inputs: StepInputs, parts: Parts, header: Header) -> None:
        """Everything before the draw, in place: afterwards the softmax of a row is what it is drawn from."""
        if header.penalised:
            self._penalise(logits, batch, inputs, parts.penalised)
        if header.early:
            self._forbid_stops(logits, batch, inputs, parts.early)
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

    def _forbid_stops(self, logits: Tensor, batch: Batch, inputs: StepInputs, which: Tensor) -> None:
        """Below min_tokens no stop id may be drawn."""
        stops = batch.stops.index_select(0, inputs.drawing[which]).long()  # [E, K], padded with -1
        masks = logits.new_zeros(len(which), self._vocab + 1).scatter_(1, stops.remainder_(self._vocab + 1), -torch.inf)
        logits.index_add_(0, which, masks[:, :-1])  # the padding went to the column that is left out


def _float(columns: Tensor, column: Column) -> Tensor:
    """[S, 1] float32."""
    return columns[:, column, None].view(torch.float32)


def _truncate(logits: Tensor, columns: Tensor, header: Header) -> None:
    """Set to -inf what the rows may not draw. logits [S, vocab] hold plain rows, then limited, then nucleus ones."""
    plain, limited = header.plain, header.plain + header.limited
    if header.floored:
        x = logits[:plain]
        least = x.amax(-1, keepdim=True) + _float(columns[:plain], Column.MIN_P).log()
        x.masked_fill_(x < least, -torch.inf)
    if header.limited:
        x = logits[plain:limited]
        best = x.topk(header.most_k).values
        last = best.gather(1, columns[plain:limited, Column.TOP_K, None].long() - 1)
        x.masked_fill_(x < last, -torch.inf)
        _keep_best(x, best.masked_fill_(best < last, -torch.inf), columns[plain:limited])
    if header.nucleus:
        x = logits[limited:]
        _keep_best(x, _nucleus(x, _float(columns[limited:], Column.TOP_P)), columns[limited:])


def _nucleus(logits: Tensor, top_p: Tensor) -> Tensor:
    """The largest logits of each row in falling order, enough to hold the share top_p: seldom more than a few."""
    few = logits.topk(min(FEW, logits.shape[-1])).values
    shares = (few - logits.logsumexp(-1, keepdim=True)).exp_().sum(-1, keepdim=True)
    return few if bool((shares > top_p).all()) else logits.sort(descending=True).values


def _keep_best(logits: Tensor, best: Tensor, columns: Tensor) -> None:
    """Top-p (Holtzman et al. 2020) and min-p (Nguyen et al. 2024) as one threshold for each row.

    best [S, K] holds the largest logits of each row in falling order, and all that top-p may keep.
    """
    share = (best - logits.logsumexp(-1, keepdim=True)).exp_()
    before = share.cumsum(-1) - share  # the share of those better than this one
    kept = (before < _float(columns, Column.TOP_P)).sum(-1, keepdim=True).clamp_min_(1)
    least = torch.maximum(best.gather(1, kept - 1), best[:, :1] + _float(columns, Column.MIN_P).log())
    logits.masked_fill_(logits < least, -torch.inf)
