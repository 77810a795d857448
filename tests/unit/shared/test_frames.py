"""The link between detokenizer and gateway."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.frames import Attach, Frame, decode_attach, decode_frames, encode_attach, encode_frames, written_ms

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.lists(st.builds(Frame, text, text, text, st.integers(200, 599), st.booleans()), max_size=5))
def test_frames_survive_the_link_in_one_line(frames: list[Frame]) -> None:
    """Whatever text is in them, a batch is one `data:` line and an empty one."""
    event = encode_frames(frames)
    line, empty, rest = event.split(b"\n")
    assert (empty, rest) == (b"", b"")
    assert decode_frames(line) == frames


def test_comments_hold_no_frames() -> None:
    assert decode_frames(b": keep-alive") == [] == decode_frames(b"")


@given(text, st.dictionaries(text, text, max_size=4))
def test_an_attach_survives_the_link(gateway: str, cursors: dict[str, str]) -> None:
    assert decode_attach(encode_attach(Attach(gateway, cursors))) == Attach(gateway, cursors)


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"gateway": 1, "cursors": {}}', b"x"])
def test_what_is_no_attach_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError):
        decode_attach(body)


def test_an_event_says_when_it_was_written_in_a_comment() -> None:
    """Who does not know of it reads the same frames."""
    frames = [Frame("p", "1", "x")]
    stamp, line, empty, rest = encode_frames(frames, 1700000000123.4567).split(b"\n")
    assert written_ms(stamp) == 1700000000123.457 and decode_frames(stamp) == []
    assert decode_frames(line) == frames and (empty, rest) == (b"", b"")
    assert written_ms(line) is None and written_ms(b": w=soon") is None and written_ms(b": alive") is None
