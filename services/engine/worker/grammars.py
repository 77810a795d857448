"""Compiled grammars. The one file of the engine that knows what its ids spell: masks are made of bytes.

By llguidance (a lexer of lazy derivatives under an Earley parser), which compiles in a millisecond and needs no torch.
What was compiled is kept for the next request with the same grammar: a copy of it costs nothing.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import llguidance

from services.engine.worker.columns import Ints
from shared.checkpoint import eos_ids
from shared.grammars import LIMITS, first_line, too_large

KEPT = 32  # compiled grammars; each may grow to LIMITS.max_lexer_states
KEPT_BYTES = 1 << 20  # of their texts


class GrammarError(ValueError):
    """In words for the client whose request it ends."""


class Matcher:
    """How far one output is in its grammar. Not for two threads at once."""

    def __init__(self, inner: llguidance.LLMatcher) -> None:
        self._inner = inner

    def accept(self, ids: Sequence[int]) -> None:
        """Raises GrammarError if the grammar does not allow them."""
        taken = self._inner.try_consume_tokens(list(ids)) if ids else 0
        self._check()
        if taken < len(ids):
            raise GrammarError("the output left its grammar: it has an id that is not allowed there")

    def fill(self, words: Ints) -> None:
        """words [W] int32, contiguous: a bit for each id that may come next. Raises GrammarError."""
        self._inner.unsafe_compute_mask_ptr(words.ctypes.data, words.nbytes)
        self._check()

    def _check(self) -> None:
        if self._inner.is_error():
            raise GrammarError(f"the grammar became too complex: {first_line(self._inner.get_error())}")


class Grammars:
    """Of one checkpoint. Any thread may ask."""

    def __init__(self, folder: Path, vocab_size: int) -> None:
        self._folder = folder
        self._vocab_size = vocab_size
        self._tokenizer: llguidance.LLTokenizer | None = None  # read when it is first needed
        self._limits = llguidance.LLParserLimits(verbose_errors=False, **asdict(LIMITS))
        self._kept: OrderedDict[str, llguidance.LLMatcher] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()
        self._reading = threading.Lock()

    def check(self, grammar: str) -> str:
        """Compile it for later; "" or why it cannot be used."""
        try:
            self.matcher(grammar)
        except GrammarError as error:
            return str(error)
        return ""

    def matcher(self, grammar: str) -> Matcher:
        """At the beginning of an output. Raises GrammarError."""
        with self._lock:
            kept = self._kept.get(grammar)
            if kept is not None:
                self._kept.move_to_end(grammar)
                return Matcher(kept.deep_copy())
        compiled = self._compile(grammar)
        with self._lock:
            self._keep(grammar, compiled)
            return Matcher(compiled.deep_copy())

    def forget(self, grammar: str) -> None:
        """Copies share what the lexer has found out so far, and so its limits."""
        with self._lock:
            if self._kept.pop(grammar, None) is not None:
                self._bytes -= len(grammar)

    def _keep(self, grammar: str, compiled: llguidance.LLMatcher) -> None:
        self._bytes += 0 if grammar in self._kept else len(grammar)
        self._kept[grammar] = compiled
        while len(self._kept) > KEPT or self._bytes > KEPT_BYTES:
            gone, _ = self._kept.popitem(last=False)
            self._bytes -= len(gone)

    def _compile(self, grammar: str) -> llguidance.LLMatcher:
        if too_large(grammar):
            raise GrammarError("the grammar is too large")
        compiled = llguidance.LLMatcher(self._read(), grammar, log_level=0, limits=self._limits)
        if compiled.is_error():
            raise GrammarError(f"the grammar cannot be used: {first_line(compiled.get_error())}")
        return compiled

    def _read(self) -> llguidance.LLTokenizer:
        with self._reading:
            if self._tokenizer is None:
                try:
                    self._tokenizer = self._open((self._folder / "tokenizer.json").read_text("utf-8"))
                except (OSError, ValueError) as error:
                    raise GrammarError(f"this engine cannot use the model's tokenizer.json: {error}") from None
            return self._tokenizer

    def _open(self, text: str) -> llguidance.LLTokenizer:
        size = llguidance.LLTokenizer(text).vocab_size  # the model's may be more
        ends = [id for id in eos_ids(self._folder) if id < size]
        if not ends:
            raise ValueError("it spells no id that ends a text, which a grammar needs")
        return llguidance.LLTokenizer(text, n_vocab=self._vocab_size, eos_token=ends)
