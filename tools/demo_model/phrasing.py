"""How people ask: sentence forms around a name, and the small untidiness of typed questions.

Forms in `HELD_OUT_FORMS` are never trained on; they measure whether the model understands an unseen wording.
"""

import re
from random import Random

FORMS = (
    "What is {x}?",
    "What's {x}?",
    "What is {x} in Sluice?",
    "What is {x} in LLM serving?",
    "Explain {x}.",
    "Explain {x} to me.",
    "Explain {x} in simple words.",
    "Tell me about {x}.",
    "Tell me what {x} is.",
    "Describe {x}.",
    "Can you describe {x}?",
    "Can you explain {x}?",
    "Can you explain what {x} is?",
    "Could you tell me what {x} is?",
    "What does {x} mean?",
    "What is meant by {x}?",
    "What do you know about {x}?",
    "Do you know what {x} is?",
    "Please explain {x}.",
    "Define {x}.",
    "{x}?",
    "{x}",
    "Give me a short explanation of {x}.",
    "How would you explain {x}?",
    "How does {x} work?",
    "Why is {x} useful?",
    "What is {x} good for?",
    "What is {x} for?",
    "I do not understand {x}.",
    "I want to know about {x}.",
    "Help me understand {x}.",
    "What exactly is {x}?",
    "So what is {x}?",
    "In short, what is {x}?",
)
PLURAL_FORMS = (
    "What are {x}?",
    "Explain {x}.",
    "Explain {x} to me.",
    "Tell me about {x}.",
    "Tell me what {x} are.",
    "Describe {x}.",
    "Can you describe {x}?",
    "Can you explain {x}?",
    "Could you tell me what {x} are?",
    "What does {x} mean?",
    "What do you know about {x}?",
    "Do you know what {x} are?",
    "Please explain {x}.",
    "Define {x}.",
    "{x}?",
    "{x}",
    "How do {x} work?",
    "Why are {x} useful?",
    "What are {x} good for?",
    "What are {x} for?",
    "I do not understand {x}.",
    "I want to know about {x}.",
    "Help me understand {x}.",
    "What exactly are {x}?",
)
HELD_OUT_FORMS = (
    "Can you tell me something about {x}?",
    "I would like to learn about {x}.",
    "Could you please describe {x} for me?",
    "Give me a description of {x}.",
)
SMALL_WORDS = frozenset((
    "a", "an", "and", "are", "at", "be", "by", "can", "could", "do", "does", "for", "how", "i", "in", "is", "it", "me",
    "my", "of", "should", "so", "that", "the", "to", "what", "with", "you",
))  # fmt: skip
SYNONYMS = {
    "which": ("which", "what"),
    "when": ("when", "if"),
    "if": ("if", "when"),
    "do": ("do", "can", "should"),
    "can": ("can", "do", "could"),
    "explain": ("explain", "describe"),
    "describe": ("describe", "explain"),
}
PREFIXES = ("Please: ", "Hey, ", "Hi! ", "Hello. ", "Ok, ", "One question: ", "Quick question: ", "And ", "Sorry, ")
SUFFIXES = (" please", " Thanks!", " Thank you.", " :)", "!", " ??")


def questions_about(name: str, forms: tuple[str, ...]) -> list[str]:
    """Every form filled in with the name, its first letter in upper case."""
    return [sentence(form.format(x=name)) for form in forms]


def sentence(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def normal(text: str) -> str:
    """What is left of a question without case, punctuation and spacing; equal questions are equal here."""
    return " ".join(re.sub(r"[^\w+*/-]+", " ", text.lower()).split())


def untidy(question: str, dice: Random) -> str:
    """The question as somebody might type it: mostly as it is, at times in lower case, bare, polite or with a typo."""
    roll = dice.random
    if roll() < 0.12:
        question = dice.choice(PREFIXES) + (question if roll() < 0.5 else question[:1].lower() + question[1:])
    if roll() < 0.30:
        question = question.rstrip("?.!")
    if roll() < 0.33:
        question = question.lower()
    if roll() < 0.05:
        question += dice.choice(SUFFIXES)
    if roll() < 0.10 and len(question) > 12:
        question = _typo(question, dice)
    return question


def loosened(question: str, dice: Random) -> str:
    """The question in looser words: near-synonyms swapped, small words lost. For questions without numbers."""
    words = [dice.choice(SYNONYMS.get(word, (word,))) for word in question.rstrip("?.!").lower().split()]
    kept = [word for word in words if word not in SMALL_WORDS or dice.random() > 0.35]
    return " ".join(kept or words) + question[len(question.rstrip("?.!")) :]


def _typo(text: str, dice: Random) -> str:
    """One letter lost, doubled or swapped with the next; digits stay as they are, for they carry the meaning."""
    at = dice.randrange(1, len(text) - 2)
    if not (text[at].isalpha() and text[at + 1].isalpha()):
        return text
    swapped = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
    return dice.choice((text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:], swapped))
