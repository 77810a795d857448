"""Incremental decoding: joined, the pieces are the whole; alone, none of them is ever taken back."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from services.detokenizer.decode import LONGEST_RUN, LONGEST_WINDOW, UNFINISHED, Decoder, Vocabulary
from tests.unit.detokenizer.tokenizers_for_tests import byte_fallback, byte_level, id_of, metaspace

TOKENIZERS = {"byte_level": byte_level(), "byte_fallback": byte_fallback(), "metaspace": metaspace()}
VOCABULARIES = {kind: Vocabulary(tokenizer) for kind, tokenizer in TOKENIZERS.items()}
kinds = pytest.mark.parametrize("kind", sorted(TOKENIZERS))


def pieces(kind: str, ids: Sequence[int], context: Sequence[int] = (), skip: bool = True) -> list[str]:
    """What each token makes readable, and what the end does."""
    decoder = Decoder(VOCABULARIES[kind], context, skip)
    return [*(decoder.push(token) for token in ids), decoder.flush()]


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False).ids)


def in_context(tokenizer: Tokenizer, context: Sequence[int], ids: Sequence[int], skip: bool) -> str:
    """The output's part of the text of both."""
    before = tokenizer.decode(context, skip_special_tokens=skip)
    return tokenizer.decode([*context, *ids], skip_special_tokens=skip)[len(before) :]


def any_ids(kind: str, most: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, TOKENIZERS[kind].get_vocab_size() - 1), max_size=most)


@kinds
@settings(max_examples=150, deadline=None)
@given(data=st.data(), skip=st.booleans())
def test_the_pieces_of_any_tokens_join_to_the_decoded_whole(kind: str, data: st.DataObject, skip: bool) -> None:
    """Whatever ids a model draws, valid text or not, the client has in the end what decoding everything gives."""
    ids = data.draw(any_ids(kind, most=80))
    assert "".join(pieces(kind, ids, skip=skip)) == TOKENIZERS[kind].decode(ids, skip_special_tokens=skip)


@kinds
@settings(max_examples=80, deadline=None)
@given(data=st.data(), skip=st.booleans())
def test_the_first_token_reads_as_it_does_behind_the_prompt(kind: str, data: st.DataObject, skip: bool) -> None:
    """Spaces at the border of prompt and answer are those of the text of both."""
    words = [i for i in range(3, TOKENIZERS[kind].get_vocab_size()) if i not in VOCABULARIES[kind].byte_of]
    context = data.draw(st.lists(st.sampled_from(words), min_size=1, max_size=8))
    if TOKENIZERS[kind].decode(context, skip_special_tokens=skip).endswith(UNFINISHED):
        context.append(VOCABULARIES[kind].anchor[0])
    ids = data.draw(any_ids(kind, most=30))
    assert "".join(pieces(kind, ids, context, skip)) == in_context(TOKENIZERS[kind], context, ids, skip)


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters=UNFINISHED), max_size=40))
def test_no_piece_of_real_text_holds_half_a_character(text: str) -> None:
    """For valid text U+FFFD is never sent, though its characters are spread over byte-level pieces."""
    sent = pieces("byte_level", ids_of(TOKENIZERS["byte_level"], text))
    assert "".join(sent) == text
    assert UNFINISHED not in "".join(sent)


@pytest.mark.parametrize(
    "text",
    ["\u65e5\u672c\u8a9e", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "a\u0301\U0001f1e9\U0001f1ea", "caf\u00e9"],
)
def test_each_character_comes_whole_with_its_last_byte(text: str) -> None:
    """Byte by byte, each character is sent by the token that completes it and not later."""
    tokenizer = TOKENIZERS["byte_level"]
    alphabet = [i for i in range(tokenizer.get_vocab_size()) if len(tokenizer.id_to_token(i) or "") == 1]
    by_byte = {tokenizer.id_to_token(i): i for i in alphabet}
    names = _byte_names()
    ids = [by_byte[names[byte]] for byte in text.encode()]
    decoder, expected = Decoder(VOCABULARIES["byte_level"]), []
    for character in text:
        expected += [""] * (len(character.encode()) - 1) + [character]
    assert [decoder.push(token) for token in ids] == expected


def test_a_run_of_byte_pieces_is_sent_by_the_piece_that_ends_it() -> None:
    """Llama 2 decodes a run as a whole, so only the next ordinary piece tells what it is."""
    tokenizer = TOKENIZERS["byte_fallback"]
    run = [id_of(tokenizer, f"<0x{byte:02X}>") for byte in "\U0001f389".encode()]
    mill = id_of(tokenizer, "\u2581mill")
    assert pieces("byte_fallback", [mill, *run, mill]) == ["mill", "", "", "", "", "\U0001f389 mill", ""]
    assert "".join(pieces("byte_fallback", [mill, *run[:3], mill])) == f"mill{UNFINISHED * 3} mill"


def test_an_endless_run_of_byte_pieces_is_let_go_at_ends_of_characters() -> None:
    """A script that Llama 2 can only spell in bytes streams in bounded lumps, each of whole characters."""
    text = "\u1797\u17b6\u179f\u17b6\u1781\u17d2\u1798\u17c2\u179a" * 20
    tokenizer = TOKENIZERS["byte_fallback"]
    ids = [id_of(tokenizer, f"<0x{byte:02X}>") for byte in text.encode()]
    sent = pieces("byte_fallback", ids)
    assert "".join(sent) == text
    assert max(len(piece.encode()) for piece in sent) <= LONGEST_RUN + 1
    assert max(_gaps(sent)) <= LONGEST_RUN + 1


@kinds
def test_the_window_stays_short_whatever_comes(kind: str) -> None:
    """The cost of a token does not grow with the answer, not even for bytes that never become a character."""
    tokenizer = TOKENIZERS[kind]
    worst = tokenizer.token_to_id("<0x80>") or tokenizer.token_to_id("\u0122") or 4
    decoder = Decoder(VOCABULARIES[kind])
    total = ""
    for _ in range(1000):
        total += decoder.push(worst)
        assert len(decoder._window) <= LONGEST_WINDOW + LONGEST_RUN + 1
    assert total + decoder.flush() == tokenizer.decode([worst] * 1000)


@kinds
def test_ids_beyond_the_vocabulary_show_nothing(kind: str) -> None:
    """A model's logits are often wider than its vocabulary: such an id has no text and does no harm."""
    word = VOCABULARIES[kind].anchor[0]
    foreign = [TOKENIZERS[kind].get_vocab_size() + 5, 2**40, -1]
    assert "".join(pieces(kind, [word, *foreign, word])) == TOKENIZERS[kind].decode([word, word])


def test_a_character_begun_in_the_prompt_is_shown_with_its_end() -> None:
    """A prompt of token ids may end within a character; the answer that completes it shows it once, whole."""
    tokenizer = TOKENIZERS["byte_level"]
    by_name = {tokenizer.id_to_token(i): i for i in range(tokenizer.get_vocab_size())}
    names = _byte_names()
    ids = [by_name[names[byte]] for byte in "\u00df".encode()]
    assert pieces("byte_level", ids[1:], ids[:1]) == ["\u00df", ""]
    fallback = [id_of(TOKENIZERS["byte_fallback"], f"<0x{byte:02X}>") for byte in "\u00df".encode()]
    assert "".join(pieces("byte_fallback", fallback[1:], fallback[:1])) == "\u00df"


def _gaps(sent: Sequence[str]) -> list[int]:
    """Lengths of the runs of tokens that sent nothing."""
    marks = [i for i, piece in enumerate(sent) if piece]
    return [b - a for a, b in zip([0, *marks], marks, strict=False)]


def _byte_names() -> dict[int, str]:
    """Byte -> the character by which byte-level tokenizers write it (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = (byte for byte in range(256) if byte not in printable)
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
