"""The modules that only compute, in the browser they are written for: Markdown and event streams."""

from typing import Any

import pytest

from tests.browser.playground import Playground

pytestmark = pytest.mark.asyncio(loop_scope="session")

# Markdown, and the elements that it becomes, without what does not matter here.
CASES = {
    "one\ntwo\n\nthree": "<p>one<br>two</p><p>three</p>",
    "# A *b*\nc": "<h3>A <em>b</em></h3><p>c</p>",
    "**a *b* c** d": "<p><strong>a <em>b</em> c</strong> d</p>",
    "2 * 3 * 4, a_b_c, **, *a": "<p>2 * 3 * 4, a_b_c, **, *a</p>",
    "\\*a\\* `*b*` ``c ` d``": "<p>*a* <code>*b*</code> <code>c ` d</code></p>",
    "- a\n- b\n  - c\n- d": "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>",
    "3. a\n4. b\n\nc": '<ol start="3"><li>a</li><li>b</li></ol><p>c</p>',
    "1. a\n\n   b\n\n2. c": "<ol><li>a<p>b</p></li><li>c</li></ol>",
    "- a\n1. b": "<ul><li>a</li></ul><ol><li>b</li></ol>",
    "> a\n> - b\n\nc": "<blockquote><p>a</p><ul><li>b</li></ul></blockquote><p>c</p>",
    "a\n***\nb": "<p>a</p><hr><p>b</p>",
    "| a | b |\n|---|:-:|\n| 1 | `x` \\| y |": "<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody>"
    "<tr><td>1</td><td><code>x</code> | y</td></tr></tbody></table>",
    "<b>&amp;</b>": "<p>&lt;b&gt;&amp;amp;&lt;/b&gt;</p>",
    "[a](javascript:x) [b](http://c.d/e)": '<p>[a](javascript:x) <a href="http://c.d/e">b</a></p>',
    "See https://a.b/c?d=1.": '<p>See <a href="https://a.b/c?d=1">https://a.b/c?d=1</a>.</p>',
    "```js\na **b**\n\n<c>\n```\nd": "<pre>js|a **b**\n\n&lt;c&gt;</pre><p>d</p>",
    "~~~\n```\n~~~": "<pre>|```</pre>",
    "- ```\n  a\n  ```": "<ul><li><pre>|a</pre></li></ul>",
    "": "",
}
RENDER = """async (texts) => {
  const { Rendering } = await import("/assets/rendering.js");
  const plain = (root) => {
    const copy = root.cloneNode(true);
    for (const code of copy.querySelectorAll(".code")) {
      const pre = document.createElement("pre");
      const [language, text] = [".code-head span", "code"].map((name) => code.querySelector(name).textContent);
      pre.textContent = `${language}|${text}`;
      code.replaceWith(pre);
    }
    for (const box of copy.querySelectorAll(".table")) box.replaceWith(...box.childNodes);
    for (const link of copy.querySelectorAll("a")) ["target", "rel"].forEach((name) => link.removeAttribute(name));
    return copy.innerHTML;
  };
  return texts.map((text) => {
    const whole = document.createElement("div");
    new Rendering(whole).show(text);
    const grown = document.createElement("div");
    const rendering = new Rendering(grown);
    for (let end = 0; end <= text.length; end++) rendering.show(text.slice(0, end));
    return [plain(whole), plain(grown)];
  });
}"""


async def test_markdown_becomes_elements(playground: Playground) -> None:
    """The same whether the text was there at once or came character by character."""
    drawn = await playground.page.evaluate(RENDER, list(CASES))
    assert dict(zip(CASES, drawn, strict=True)) == {text: [html, html] for text, html in CASES.items()}


async def test_a_growing_text_keeps_what_it_has(playground: Playground) -> None:
    """Blocks before the last keep their elements; so does a block of code that gets longer, scrolled as it is."""
    kept = await playground.page.evaluate("""async () => {
      const { Rendering } = await import("/assets/rendering.js");
      const root = document.createElement("div");
      const rendering = new Rendering(root);
      rendering.show("one\\n\\n```\\na");
      const [first, code] = root.children;
      rendering.show("one\\n\\n```\\nab\\n```\\n\\nthree");
      return [first === root.children[0], code === root.children[1], root.querySelector("code").textContent];
    }""")
    assert kept == [True, True, "ab"]


async def test_hostile_markdown_takes_no_time(playground: Playground) -> None:
    """Text made to be looked through again and again is drawn in a moment; nothing is nested without an end."""
    took_ms = await playground.page.evaluate("""async () => {
      const { Rendering } = await import("/assets/rendering.js");
      const texts = ["*a ", "**a ", "_a ", "`a", "[a](", "~~a ", "> ", "- ", "https://", "|-", "\\\\", "![a]("];
      const start = performance.now();
      for (const text of texts) new Rendering(document.createElement("div")).show(text.repeat(10_000));
      return performance.now() - start;
    }""")
    assert took_ms < 5000


async def test_an_event_stream_may_be_cut_anywhere(playground: Playground) -> None:
    """At each byte, in the middle of a character too: the same events and comments come out."""
    stream = (
        'retry: 1000\n\n: queued position=3 estimate=1.2s\n\nid: 1\ndata: {"a": "ä€😀"}\n\n'
        ":\r\ndata:x\r\ndata: y\r\n\r\nid: 2\n\n"
    )
    parse = """async (text) => {
      const { EventParser } = await import("/assets/events.js");
      const bytes = new TextEncoder().encode(text);
      const all = [];
      for (let cut = 0; cut <= bytes.length; cut++) {
        const parser = new EventParser();
        all.push([...parser.push(bytes.slice(0, cut)), ...parser.push(bytes.slice(cut))]);
      }
      return all;
    }"""
    wanted: list[Any] = [{"comment": "queued position=3 estimate=1.2s"}, {"id": "1", "data": '{"a": "ä€😀"}'}]
    wanted += [{"comment": ""}, {"id": "1", "data": "x\ny"}]
    assert await playground.page.evaluate(parse, stream) == [wanted] * (len(stream.encode()) + 1)
