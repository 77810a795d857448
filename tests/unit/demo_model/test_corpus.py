"""The demo model's corpus, its tokenizer and the committed checkpoint: what they promise, read from the files."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from math import prod
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import PreTrainedTokenizerFast

from tools.demo_model import arithmetic, corpus, facts, phrasing, tokenizer, train, unknown
from tools.demo_model.document import END_OF_TEXT, TURN_END, chat

ROOT = Path(__file__).parents[3]
DEMO = ROOT / "models" / "demo"
QUESTIONS = ROOT / "tests" / "e2e" / "demo_questions.json"
MAX_PARAMETERS = 6_000_000
MAX_BYTES = 12_000_000


@pytest.fixture(scope="module")
def committed() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(DEMO)


def test_the_same_seed_writes_the_same_documents() -> None:
    """The corpus depends on its seed alone; another seed writes other documents."""
    first, again, other = (list(islice(corpus.documents(seed), 300)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_every_question_is_asked_once() -> None:
    """No two questions are equal but for case and punctuation, so no question has two answers."""
    counts = Counter(phrasing.normal(question.text) for question in corpus.questions())
    assert [text for text, count in counts.items() if count > 1] == []


def test_every_document_ends_with_an_end_token() -> None:
    """The model learns to end its turn: a chat ends with the end of a turn, a plain text with the end of text."""
    for document in islice(corpus.documents(1), 2_000):
        end = END_OF_TEXT if document.turns[-1].role == "text" else TURN_END
        assert document.text().endswith(end)
        assert document.pieces()[-1][1]


def test_held_out_questions_are_in_no_document() -> None:
    """What measures generalisation is never trained on, in no spelling."""
    held_out = {phrasing.normal(question.text) for question in corpus.questions() if question.split != "train"}
    held_out |= {phrasing.normal(question) for question in unknown.load().held_out}
    streams = (corpus.documents(phase.seed, phase.mix) for phase in train.Recipe().phases)
    written = (document for stream in streams for document in islice(stream, 10_000))
    asked = {phrasing.normal(text) for document in written for text in document.questions()}
    assert len(held_out) > 1_000
    assert asked & held_out == set()


def test_sums_are_right() -> None:
    """Every sum in the corpus holds."""
    operations = {"+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b}
    for _, answer in arithmetic.sums():
        a, operation, b, _, result = answer.rstrip(".").split(" ")
        assert operations[operation](int(a), int(b)) == int(result), answer


@pytest.mark.parametrize("text", ["= a name without an answer", "> an answer without a question", "= x\n* y\n> z"])
def test_a_malformed_fact_is_refused_with_its_file_name(text: str) -> None:
    """A fact without an answer or a question, or with a line of unknown kind, names the file it is in."""
    with pytest.raises(ValueError, match=r"some\.txt"):
        facts.parse(text, "some.txt")


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_training_is_deterministic(committed: PreTrainedTokenizerFast) -> None:
    """Two trainings by one recipe give the same weights, bit by bit; with several threads sums have no fixed order."""
    phases = tuple(replace(phase, steps=1) for phase in train.Recipe().phases)
    recipe = train.Recipe(batch_tokens=512, phases=phases)
    one, two = (train.train(committed.backend_tokenizer, recipe, lambda line: None).model for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "naïve 😀👩‍👩‍👧 日本語 한국어 العربية",
        "  two  spaces\n\n\ttab ",
        "17 + 25 = 42",
        "\x00\x7f\u00ad\ufeff",
        "x" * 500,
        "",
    ],
    ids=["scripts", "spaces", "digits", "controls", "long", "empty"],
)
def test_any_text_comes_back_from_the_tokenizer(committed: PreTrainedTokenizerFast, text: str) -> None:
    """Encoding and decoding changes nothing: every byte is in the vocabulary."""
    assert committed.decode(committed.encode(text)) == text


def test_the_chat_template_writes_what_was_trained(committed: PreTrainedTokenizerFast) -> None:
    """A rendered chat is the training document, token by token; only a line break follows its last turn."""
    document = chat(("Hi 👋", "Hello!"), ("What is 3 + 4?", "3 + 4 = 7."), system="Be short.")
    messages = [{"role": turn.role, "content": turn.text} for turn in document.turns]
    rendered = committed.apply_chat_template(messages, tokenize=False)
    assert rendered == document.text() + "\n"
    ids, learned = tokenizer.encode(committed.backend_tokenizer, document)
    assert ids == committed.encode(document.text())
    assert committed.decode([token for token, learn in zip(ids, learned, strict=True) if learn]) == (
        f"Hello!{TURN_END}3 + 4 = 7.{TURN_END}"
    )


def test_the_checkpoint_keeps_its_limits() -> None:
    """At most 6 M parameters, counted in the file, and 12 MB for the folder; bfloat16, tied embeddings."""
    with safe_open(DEMO / "model.safetensors", "pt") as weights:
        slices = {name: weights.get_slice(name) for name in weights.keys()}  # noqa: SIM118
        assert sum(prod(part.get_shape()) for part in slices.values()) <= MAX_PARAMETERS
        assert {part.get_dtype() for part in slices.values()} == {"BF16"}
        assert "lm_head.weight" not in slices
    assert sum(path.stat().st_size for path in DEMO.iterdir()) <= MAX_BYTES


def test_the_ten_questions_are_of_the_kinds_they_claim() -> None:
    """Ten questions for the end-to-end test; the at least four that claim a new wording are not trained on."""
    entries = json.loads(QUESTIONS.read_text("utf-8"))
    trained = {phrasing.normal(question.text) for question in corpus.questions() if question.split == "train"}
    new = {phrasing.normal(entry["question"]) for entry in entries if entry["new_wording"]}
    assert len(entries) == 10
    assert len(new) >= 4
    assert new & trained == set()
