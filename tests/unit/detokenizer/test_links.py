"""Gateways' connections: each reads its parents from where it stands, and a slow one costs no memory."""

from dataclasses import replace

import pytest

from services.detokenizer.links import EVENT_CHARACTERS, Link, Links
from shared.errors import NotFound, Overloaded
from shared.frames import Attach, Frame
from shared.messages import GenerateRequest
from tests.unit.detokenizer.cases import request


class Texts:
    """Parents whose text grows; a cursor is a length."""

    def __init__(self, **texts: str) -> None:
        self.texts = texts
        self.ended: set[str] = set()

    def render(self, parent: str, cursor: str) -> Frame | None:
        text, told = self.texts.get(parent, ""), int(cursor or 0)
        last = parent in self.ended
        if len(text) <= told and not last:
            return None
        return Frame(parent, str(len(text)), text[told:], last=last, after=cursor)


def taken(links: Links, link: Link) -> list[tuple[str, str]]:
    return [(frame.parent, frame.data) for frames in links.take_nowait(link) for frame in frames]


def test_a_gateway_gets_what_lies_behind_its_cursors_and_goes_on_live() -> None:
    """One catch-up frame for each parent it names, and after that only what is new."""
    texts = Texts(a="alpha", b="beta")
    links = Links(texts.render, 10)
    link = links.open(Attach("g", {"a": "2", "b": ""}))
    assert taken(links, link) == [("a", "pha"), ("b", "beta")]
    assert taken(links, link) == []
    texts.texts["a"] += "bet"
    links.touch(["a", "unread"])
    assert taken(links, link) == [("a", "bet")]


def test_a_new_parent_is_attached_to_the_gateway_that_waits_for_it() -> None:
    """From its beginning; unless that gateway has said already where it stands, or is not connected here."""
    texts = Texts(a="alpha", b="beta")
    links = Links(texts.render, 10)
    links.begin("a", "g")
    assert links.wanted() == frozenset()
    link = links.open(Attach("g", {"b": "3"}))
    for parent in "ab":
        links.begin(parent, "g")
    assert taken(links, link) == [("b", "a"), ("a", "alpha")]


def test_a_slow_gateway_gets_one_merged_frame() -> None:
    """What comes while it is busy waits as text, not as frames."""
    texts = Texts(a="1")
    links = Links(texts.render, 10)
    link = links.open(Attach("g", {"a": ""}))
    for more in "23456":
        texts.texts["a"] += more
        links.touch(["a"])
    assert taken(links, link) == [("a", "123456")]


def test_a_new_connection_of_a_gateway_replaces_the_old_one() -> None:
    """The old one is closed, reads nothing any more, and its late end does not touch the new one."""
    texts = Texts(a="alpha")
    links = Links(texts.render, 10)
    old = links.open(Attach("g", {"a": ""}))
    new = links.open(Attach("g", {"a": ""}))
    links.close(old)
    assert old.closed
    assert not new.closed
    assert taken(links, old) == []
    assert taken(links, new) == [("a", "alpha")]
    assert links.statistics()["gateways"] == 1


def test_attaching_again_moves_the_cursor() -> None:
    """A gateway that dropped frames for a slow client asks for all behind the last one it relayed."""
    texts = Texts(a="alpha")
    links = Links(texts.render, 10)
    link = links.open(Attach("g", {"a": ""}))
    assert taken(links, link) == [("a", "alpha")]
    links.attach(Attach("g", {"a": "1"}))
    assert taken(links, link) == [("a", "lpha")]


def test_the_last_frame_ends_the_reading() -> None:
    """A finished parent leaves nothing behind."""
    texts = Texts(a="alpha")
    texts.ended.add("a")
    links = Links(texts.render, 10)
    link = links.open(Attach("g", {"a": ""}))
    assert taken(links, link) == [("a", "alpha")]
    assert links.wanted() == frozenset()
    assert links.statistics()["attached"] == 0


def test_readers_of_one_parent_stand_each_where_it_stands() -> None:
    """Two at one gateway and one at another; each gets its own frames, and the end goes to all of them."""
    texts = Texts(a="alpha")
    links = Links(texts.render, 10)
    one, two = links.open(Attach("g", {"a": "1", "a~7": "4"})), links.open(Attach("h", {"a~1": ""}))
    got = [(frame.parent, frame.reader, frame.data) for frames in links.take_nowait(one) for frame in frames]
    assert got == [("a", "", "lpha"), ("a", "a~7", "a")]
    assert taken(links, two) == [("a", "alpha")]
    texts.texts["a"] += "!"
    texts.ended.add("a")
    links.touch(["a"])
    assert taken(links, one) == [("a", "!"), ("a", "!")]
    assert links.wanted() == {"a"}
    assert taken(links, two) == [("a", "!")]
    assert links.wanted() == frozenset()


def test_a_reader_that_has_left_gets_nothing_and_the_others_go_on() -> None:
    texts = Texts(a="alpha")
    links = Links(texts.render, 10)
    link = links.open(Attach("g", {"a": "", "a~1": ""}))
    links.attach(Attach("g", left=("a", "a", "never~seen")))
    got = [frame.reader for frames in links.take_nowait(link) for frame in frames]
    assert got == ["a~1"]
    links.begin("a", "g")  # it starts, perhaps again: its client has gone all the same
    assert taken(links, link) == []
    links.attach(Attach("g", {"a": "3"}))
    assert taken(links, link) == [("a", "ha")]


def live(parent: str, unread_s: float | None, gateway: str = "g") -> GenerateRequest:
    return replace(request(), id=f"{parent}.0", parent_id=parent, unread_s=unread_s, gateway=gateway)


def test_what_nobody_reads_is_overdue_after_its_own_time() -> None:
    """Counted from when the last reader left, or its gateway died, or from the first look at it."""
    now = [100.0]
    links = Links(Texts(a="x", b="x", c="x").render, 10, lambda: now[0])
    all_live = [live("a", 5.0), live("b", 2.0), live("c", None), live("d", 0.0, "nowhere"), live("e", 3.0, "nowhere")]
    link = links.open(Attach("g", {"a~1": ""}))
    assert links.unread(all_live) == ["d"]
    assert links.wanted() == {"a", "b", "c"}  # their gateway is here and waits, though they are queued
    now[0] = 110.0
    assert links.unread(all_live) == ["d", "e"]
    links.attach(Attach("g", left=("b",)))
    links.close(link)
    now[0] = 112.0
    assert links.unread(all_live) == ["b", "d", "e"]
    links.open(Attach("h", {"a~1": ""}))
    now[0] = 120.0
    assert links.unread(all_live) == ["b", "d", "e"]


def test_who_comes_and_goes_between_two_looks_starts_the_time_anew() -> None:
    now = [0.0]
    links = Links(Texts(a="x").render, 10, lambda: now[0])
    assert links.unread([live("a", 10.0)]) == []
    now[0] = 9.0
    link = links.open(Attach("h", {"a~1": ""}))
    links.close(link)
    now[0] = 18.9
    assert links.unread([live("a", 10.0)]) == []
    now[0] = 19.1
    assert links.unread([live("a", 10.0)]) == ["a"]


def test_another_readers_leaving_does_not_keep_the_client_from_its_request() -> None:
    """Who is in the queue is known to its gateway only, until the first look."""
    links = Links(Texts(a="x").render, 10)
    link = links.open(Attach("g", {"a~1": ""}))
    links.attach(Attach("g", left=("a~1",)))
    assert links.unread([live("a", 0.0)]) == []
    assert taken(links, link) == [("a", "x")]


def test_a_refusal_reaches_all_who_wait_and_nobody_else() -> None:
    """For a parent that does not exist."""
    links = Links(Texts().render, 10)
    one, two, other = (links.open(Attach(name, {parent: ""})) for name, parent in [("g", "x"), ("h", "x"), ("i", "y")])
    links.refuse(Frame("x", "", "no", status=404, last=True))
    assert [taken(links, link) for link in (one, two, other)] == [[("x", "no")], [("x", "no")], []]
    assert links.wanted() == {"y"}


def test_many_frames_are_spread_over_events_of_bounded_size() -> None:
    """A gateway that comes back to much does not get it in one line."""
    parents = {f"p{i}": "x" * (EVENT_CHARACTERS // 2) for i in range(5)}
    links = Links(Texts(**parents).render, 10)
    link = links.open(Attach("g", dict.fromkeys(parents, "")))
    assert [len(frames) for frames in links.take_nowait(link)] == [2, 2, 1]


def test_attaching_is_bounded_and_needs_a_connection() -> None:
    """Too many parents are refused, and so is a gateway that is not connected."""
    links = Links(Texts().render, 2)
    with pytest.raises(NotFound):
        links.attach(Attach("g", {"a": ""}))
    links.open(Attach("g", {"a": "", "b": ""}))
    with pytest.raises(Overloaded):
        links.attach(Attach("g", {"c": ""}))
    with pytest.raises(Overloaded):
        links.open(Attach("h", {"a": "", "b": "", "c": ""}))


async def test_a_link_wakes_for_news_and_for_its_end() -> None:
    """Its writer waits for either."""
    texts = Texts()
    links = Links(texts.render, 10)
    link = links.open(Attach("g", {"a": ""}))
    assert taken(links, link) == []
    texts.texts["a"] = "x"
    links.touch(["a"])
    await link.wait()
    assert taken(links, link) == [("a", "x")]
    links.close(link)
    await link.wait()
    assert link.closed
