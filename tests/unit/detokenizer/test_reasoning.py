"""What a model thinks, told from what it answers."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detokenizer.reasoning import Thinking

CASES: list[tuple[bool, str, tuple[str, str]]] = [  # opened in the prompt, text, (thought, answer)
    (False, "", ("", "")),
    (False, "Hello <think>x</think>", ("", "Hello <think>x</think>")),
    (False, "<think>a < b</think>So.", ("a < b", "So.")),
    (False, "\n<think>\n\na\n\nb\n\n</think>\n\n\nSo.\n", ("a\n\nb", "So.\n")),
    (False, "<think>\n\n</think>\n\nSo.", ("", "So.")),
    (False, "<think>a</think><think>b</think>", ("a", "<think>b</think>")),
    (False, "<think>never ends </thi", ("never ends </thi", "")),
    (False, "  <thi", ("", "  <thi")),
    (False, " so </think> it", ("", " so </think> it")),
    (True, "", ("", "")),
    (True, "\na\n</think>\n\nSo.", ("a", "So.")),
    (True, " a</think>So.", (" a", "So.")),
    (True, "<think>\na</think>So.", ("a", "So.")),
    (True, "all of it", ("all of it", "")),
    (True, "<thin", ("<thin", "")),
    (True, "</think>\n\n", ("", "")),
]


def split(opened: bool, pieces: Sequence[str]) -> tuple[str, str]:
    thinking = Thinking(opened)
    told = [*(thinking.push(piece) for piece in pieces), thinking.flush()]
    return "".join(thought for thought, _ in told), "".join(said for _, said in told)


@pytest.mark.parametrize(("opened", "text", "wanted"), CASES)
def test_a_block_of_thought_before_the_answer(opened: bool, text: str, wanted: tuple[str, str]) -> None:
    """In one piece, in two cut anywhere, and character by character."""
    assert split(opened, [text]) == wanted
    assert split(opened, list(text)) == wanted
    for cut in range(len(text)):
        assert split(opened, [text[:cut], text[cut:]]) == wanted


fragments = st.lists(st.sampled_from(["<think>", "</think>", "<", "thi", "\n", " ", "a", "</thin", "é"]), max_size=12)


@settings(max_examples=200, deadline=None)
@given(st.booleans(), fragments)
def test_no_cut_changes_it_and_nothing_but_marks_and_blanks_is_lost(opened: bool, pieces: list[str]) -> None:
    text = "".join(pieces)
    thought, said = split(opened, [text])
    assert split(opened, pieces) == split(opened, list(text)) == (thought, said)
    assert [char for char in thought + said if char in "a\u00e9"] == [char for char in text if char in "a\u00e9"]
    assert len("".join((thought + said).split())) >= len("".join(text.split())) - len("<think></think>")


def test_thought_is_told_as_it_comes_and_until_its_end_it_is_thought() -> None:
    thinking = Thinking()
    assert [thinking.push(piece) for piece in ("<th", "ink>", "\n", "a", "\n", "b", "</", "think>", "\n", "c")] == [
        ("", ""),
        ("", ""),
        ("", ""),
        ("a", ""),
        ("", ""),
        ("\nb", ""),
        ("", ""),
        ("", ""),
        ("", ""),
        ("", "c"),
    ]
    assert not thinking.active
