"""Stop strings: the first complete one cuts the text, however the text is cut into pieces."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detokenizer.stops import StopFinder

texts = st.text(alphabet="abc", max_size=24)
stop_lists = st.lists(st.text(alphabet="abc", min_size=1, max_size=4), min_size=1, max_size=4)


def feed(stops: Sequence[str], pieces: Sequence[str], armed_from: int = 0) -> tuple[list[str], bool]:
    """What is shown after each piece, and at the end; and whether a stop was found."""
    finder, shown = StopFinder(stops), []
    for index, piece in enumerate(pieces):
        text, found = finder.push(piece, index >= armed_from)
        shown.append(text)
        if found:
            return shown, True
    return [*shown, finder.flush()], False


def reference(stops: Sequence[str], text: str) -> tuple[str, bool]:
    """Read character by character: the first time the text ends with a stop, cut the longest such one off."""
    for end in range(1, len(text) + 1):
        if hits := [stop for stop in stops if text[:end].endswith(stop)]:
            return text[: end - max(map(len, hits))], True
    return text, False


@settings(max_examples=300, deadline=None)
@given(stop_lists, texts, st.lists(st.integers(0, 24), max_size=6))
def test_the_borders_of_pieces_do_not_matter(stops: list[str], text: str, cuts: list[int]) -> None:
    """Any split of a text shows the same and ends the same as reading it one character at a time."""
    borders = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    pieces = [text[a:b] for a, b in pairwise(borders)]
    shown, found = feed(stops, pieces)
    assert ("".join(shown), found) == reference(stops, text)


@settings(max_examples=150, deadline=None)
@given(stop_lists, texts)
def test_nothing_that_could_begin_a_stop_is_shown_early_and_nothing_else_is_held(stops: list[str], text: str) -> None:
    """After each character exactly the longest end of the text that some stop begins with is held back."""
    finder, shown = StopFinder(stops), ""
    for end, character in enumerate(text, 1):
        piece, found = finder.push(character)
        shown += piece
        if found:
            return
        begins = {stop[:length] for stop in stops for length in range(1, len(stop))}
        held = max((length for length in range(end + 1) if text[end - length : end] in begins), default=0)
        assert shown == text[: end - held]


@pytest.mark.parametrize(
    ("stops", "pieces", "shown"),
    [
        (["END"], ["one E", "N", "D two"], ["one ", "", ""]),
        (["END"], ["one E", "N", "d"], ["one ", "", "ENd", ""]),
        (["\n\n"], ["a\n", "\nb"], ["a", ""]),
        (["bc", "abcd"], ["ab", "cd"], ["", "a"]),  # "bc" is complete before "abcd"
        (["b", "ab"], ["a", "b"], ["", ""]),  # complete at once: the longer one
        (["\U0001f389"], ["x", "\U0001f389"], ["x", ""]),
        ([""], ["a"], ["a", ""]),  # an empty stop stops nothing
    ],
)
def test_a_stop_string_over_pieces(stops: list[str], pieces: list[str], shown: list[str]) -> None:
    """Text in front of a stop is shown, the stop and what follows never."""
    assert feed(stops, pieces)[0] == shown


def test_a_stop_that_is_complete_before_min_tokens_is_text() -> None:
    """Until min_tokens stops do not count; one that is completed afterwards does, wherever it began."""
    assert feed(["b"], ["ab", "ab"], armed_from=1) == (["ab", "a"], True)
    assert feed(["bc"], ["ab", "c"], armed_from=1) == (["a", ""], True)
    assert feed(["b", "abc"], ["ab", "x"], armed_from=1) == (["", "abx", ""], False)


def test_a_stop_that_is_to_be_shown_ends_the_text_and_nothing_behind_it_is() -> None:
    """vLLM's `include_stop_str_in_output`."""
    finder = StopFinder(["END"], shown=True)
    assert [finder.push(piece) for piece in ("one E", "ND two")] == [("one ", False), ("END", True)]
    assert not finder.flush()
