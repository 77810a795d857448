"""Lines from chunks, wherever the chunks are cut."""

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.link import Lines


@given(st.lists(st.binary(max_size=20), max_size=20), st.lists(st.integers(0, 60), max_size=20))
def test_lines_do_not_depend_on_where_chunks_end(parts: list[bytes], cuts: list[int]) -> None:
    """What TCP delivers in one piece or in many gives the same lines; an unfinished one waits."""
    data = b"\n".join(parts)
    lines, chunked = Lines(), []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        chunked += lines.feed(data[start : max(start, end)])
    assert chunked == data.split(b"\n")[:-1]


def test_a_long_line_comes_whole() -> None:
    """Beyond every default of aiohttp's reader; an event holds the catch-up of all requests."""
    lines = Lines()
    chunk = b"x" * 65536
    assert all(lines.feed(chunk) == [] for _ in range(200))
    assert [len(line) for line in lines.feed(b"\nrest")] == [200 * 65536]
