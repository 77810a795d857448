"""A prompt that stands before its answer: its text, and where the text of each of its tokens begins (pure)."""

from functools import cached_property

from services.detokenizer.decode import Decoder, Vocabulary
from shared.messages import GenerateRequest
from shared.types import TokenIds


class Echo:
    def __init__(self, request: GenerateRequest, vocabulary: Vocabulary) -> None:
        """`request` with all of its prompt."""
        self.ids: TokenIds = request.prompt
        self._vocabulary = vocabulary
        self._skips = request.render.skip_special_tokens

    @cached_property
    def text(self) -> str:
        visible = self._vocabulary.visible(self._skips)
        return self._vocabulary.text([id for id in self.ids if id in visible])

    @cached_property
    def starts(self) -> list[int]:
        """Characters before each token's, as its first is read."""
        decoder, at, starts = Decoder(self._vocabulary, (), self._skips), 0, []
        for id in self.ids:
            starts.append(min(at, len(self.text)))
            at += len(decoder.push(id))
        return starts
