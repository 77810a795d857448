"""Token ids to text, one at a time: the pieces, joined, are the text of the whole (pure).

Each token is decoded within a short window of those before it, so its cost does not grow with the answer, and it reads
as it does in context: SentencePiece's leading spaces come out right, and so do characters whose bytes lie in several
tokens. (The idea of text-generation-inference's and vLLM's offsets; here the window keeps a count of sent characters.)
What later tokens may still change is held back:
- U+FFFD at the end of the text: bytes of a character that is not complete, or never will be.
- A run of byte pieces (`<0xE2>`: Llama 2, Mistral), as a run that turns out invalid is decoded as U+FFFD from its first
  byte on. Only a run longer than LONGEST_RUN is let go earlier, at the end of a character.
Ids that show nothing (special ones that are skipped, ids beyond the vocabulary) never enter the window.

A byte-level vocabulary needs the window only around characters in several tokens: elsewhere the text of a token is that
of its bytes, whatever stands before it, and is decoded once.
"""

from collections.abc import Callable, Sequence
from itertools import islice

from tokenizers import Tokenizer, decoders

UNFINISHED = "\ufffd"
LONGEST_RUN = 64  # byte pieces that are held back at most
LONGEST_WINDOW = 10  # tokens, a run of byte pieces apart
MOST_KNOWN = 1 << 16  # ids whose bytes, or text, are remembered
SHORTEST_WINDOW = 5  # more than the three bytes that decoding from the middle of a character may misread


class Vocabulary:
    """What each id of a tokenizer is; shared by all decoders."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        names = tokenizer.get_vocab(with_added_tokens=True)
        added = tokenizer.get_added_tokens_decoder()
        self._specials = {token.content: i for i, token in added.items() if token.special}
        self._plain = frozenset(names.values()) - set(self._specials.values())
        self._all = self._plain | set(self._specials.values())
        self._marked: dict[tuple[str, ...], frozenset[int]] = {(): self._plain}  # the forms of markup are few
        self.byte_of = _byte_pieces(tokenizer)
        plain = (i for i in sorted(self._plain) if i not in self.byte_of)
        readable = (i for i in plain if (text := self.text((i,))).strip() and UNFINISHED not in text)
        self._bytes: dict[int, bytes] = {}  # of ids that were asked for
        joins = isinstance(tokenizer.decoder, decoders.ByteLevel)  # are texts of whole characters simply joined?
        self.whole = _Whole(self.text if joins else lambda _: UNFINISHED)
        self.anchor = tuple(islice(readable, 1))  # a word to decode behind, where there is no context

    def visible(self, skip_special_tokens: bool, marks: tuple[str, ...] = ()) -> frozenset[int]:
        """The ids that have a text. `marks` are seen in any case: where they are special tokens, markup needs them."""
        if not skip_special_tokens:
            return self._all
        if marks not in self._marked:
            self._marked[marks] = self._plain | {self._specials[mark] for mark in marks if mark in self._specials}
        return self._marked[marks]

    def text(self, ids: Sequence[int]) -> str:
        """The text of visible ids."""
        return self._tokenizer.decode(ids, skip_special_tokens=False)

    def bytes_of(self, id: int) -> bytes:
        """What the id stands for by itself, as it reads behind other text; nothing for one beyond the vocabulary."""
        if id not in self._bytes:
            if len(self._bytes) >= MOST_KNOWN:
                self._bytes.clear()
            self._bytes[id] = self._read(id)
        return self._bytes[id]

    def name(self, id: int) -> str:
        """Its text; bytes that are no text by themselves are escaped, as OpenAI does."""
        data = self.bytes_of(id)
        return data.decode() if _is_text(data) else "".join(f"\\x{byte:02x}" for byte in data)

    def legacy_name(self, id: int) -> str:
        """As the older API for completions writes it."""
        return self.name(id) if _is_text(self.bytes_of(id)) else f"bytes:{self.name(id)}"

    def _read(self, id: int) -> bytes:
        if id in self.byte_of:
            return bytes((self.byte_of[id],))
        if id not in self._all:
            return b""
        text = self.text((*self.anchor, id))[len(self.text(self.anchor)) :]
        if UNFINISHED in text:  # bytes of a character
            letters = self._tokenizer.id_to_token(id) or ""
            if all(letter in BYTE_OF_LETTER for letter in letters):
                return bytes(BYTE_OF_LETTER[letter] for letter in letters)
        return text.encode()


class _Whole(dict[int, str | None]):
    """The text of a visible id behind any whole character; None if that is not known without looking at both."""

    def __init__(self, text: Callable[[Sequence[int]], str]) -> None:
        self._text = text

    def __missing__(self, id: int) -> str | None:
        if len(self) >= MOST_KNOWN:
            self.clear()
        text = self._text((id,))
        self[id] = found = None if UNFINISHED in text else text
        return found


class Decoder:
    """Decodes one output. `context` is what stands before it: the prompt's last ids, which are not shown again."""

    __slots__ = ("_held", "_run", "_sent", "_visible", "_vocabulary", "_window")

    def __init__(
        self,
        vocabulary: Vocabulary,
        context: Sequence[int] = (),
        skip_special_tokens: bool = True,
        marks: tuple[str, ...] = (),
    ) -> None:
        self._vocabulary = vocabulary
        self._visible = vocabulary.visible(skip_special_tokens, marks)
        self._window = [token for token in context if token in self._visible]
        shown = [token in vocabulary.byte_of for token in self._window]
        self._run = shown[::-1].index(False) if False in shown else len(shown)  # byte pieces at the window's end
        text = vocabulary.text(self._window)
        length = len(text)
        if text.endswith(UNFINISHED):  # the output may complete the prompt's last character: then it shows it
            text = vocabulary.text(self._window[: -self._run]) if self._run else text[:-1]
        self._sent = len(text)  # characters of the window's text
        self._held = length - self._sent  # those that are not shown yet

    def push(self, token: int) -> str:
        """What can be read after this token and could not before; may be empty."""
        if token not in self._visible:
            return ""
        if not self._held and (whole := self._vocabulary.whole[token]) is not None:
            self._window.clear()  # whatever follows begins a character
            self._sent = 0
            return whole
        self._window.append(token)
        if token in self._vocabulary.byte_of:
            self._run += 1
            return self._release_run() if self._run > LONGEST_RUN else ""
        self._run = 0
        text = self._vocabulary.text(self._window)
        end = len(text) - text.endswith(UNFINISHED)
        piece = text[self._sent : end]
        self._sent = max(self._sent, end)
        self._held = len(text) - self._sent
        if len(self._window) > LONGEST_WINDOW:
            del self._window[:-SHORTEST_WINDOW]
            self._sent = max(0, len(self._vocabulary.text(self._window)) - self._held)
        return piece

    def flush(self) -> str:
        """What was held back: nothing follows."""
        text = self._vocabulary.text(self._window)
        piece, self._sent = text[self._sent :], len(text)
        return piece

    def _release_run(self) -> str:
        """Show the complete characters of the run, and go on as if its rest were a new one."""
        data = bytes(self._vocabulary.byte_of[token] for token in self._window[-self._run :])
        keep = next((n for n in range(4) if _is_text(data[: len(data) - n])), 0)
        split = len(self._window) - keep
        piece = self._vocabulary.text(self._window[:split])[self._sent :]
        self._window = [*self._vocabulary.anchor, *self._window[split:]]
        self._sent = len(self._vocabulary.text(self._vocabulary.anchor))
        self._run = keep
        return piece


def _byte_pieces(tokenizer: Tokenizer) -> dict[int, int]:
    """id -> byte, of a tokenizer that falls back to bytes; empty for one that merely has such names."""
    found = {tokenizer.token_to_id(f"<0x{byte:02X}>"): byte for byte in range(256)}
    letter = tokenizer.token_to_id("<0x41>")
    if letter is None or tokenizer.decode([letter]) != "A":
        return {}
    return {token: byte for token, byte in found.items() if token is not None}


def _letters() -> dict[str, int]:
    """letter -> byte: byte-level tokenizers write each byte as a letter (GPT-2: Radford et al. 2019). Bytes that print
    stand for themselves, the others for the letters from U+0100 on."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(0x100 + n): byte for n, byte in enumerate(others)}


BYTE_OF_LETTER = _letters()


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
