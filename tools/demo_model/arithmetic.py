"""Small sums: addition and subtraction of numbers up to 20, times tables up to 12; the rest is honestly refused."""

from random import Random

LIMIT = 20
TABLE = 12

ADD = (
    "What is {a} + {b}?", "{a}+{b}", "{a} + {b} =", "What is {a} plus {b}?", "How much is {a} plus {b}?",
    "Add {a} and {b}.", "What is the sum of {a} and {b}?", "Calculate {a} + {b}.", "How much is {a} + {b}?",
    "{a} plus {b}?",
)  # fmt: skip
SUBTRACT = (
    "What is {a} - {b}?", "{a}-{b}", "{a} - {b} =", "What is {a} minus {b}?", "How much is {a} minus {b}?",
    "Subtract {b} from {a}.", "Calculate {a} - {b}.", "How much is {a} - {b}?", "{a} minus {b}?",
    "Take {b} from {a}.",
)  # fmt: skip
MULTIPLY = (
    "What is {a} * {b}?", "{a}*{b}", "{a} x {b} =", "What is {a} times {b}?", "How much is {a} times {b}?",
    "Multiply {a} by {b}.", "Calculate {a} * {b}.", "What is {a} x {b}?", "{a} times {b}?",
    "What is the product of {a} and {b}?",
)  # fmt: skip
TOO_LARGE = (
    "I do not know. I am a small demo model: I can add and subtract numbers up to 20 and multiply numbers up to 12."
)


def sums() -> list[tuple[str, str]]:
    """Every (question, answer) within the limits, in every wording."""
    numbers = range(LIMIT + 1)
    found = [(form.format(a=a, b=b), f"{a} + {b} = {a + b}.") for a in numbers for b in numbers for form in ADD]
    found += [(form.format(a=a, b=b), f"{a} - {b} = {a - b}.") for a in numbers for b in numbers for form in SUBTRACT]
    table = range(TABLE + 1)
    found += [(form.format(a=a, b=b), f"{a} * {b} = {a * b}.") for a in table for b in table for form in MULTIPLY]
    return found


def too_large(dice: Random) -> tuple[str, str]:
    """A sum with at least one number past the limits, and the honest answer to it."""
    forms, limit = dice.choice(((ADD, LIMIT), (SUBTRACT, LIMIT), (MULTIPLY, TABLE)))
    large = dice.randrange(limit + 1, 10 ** dice.randrange(2, 6))
    other = dice.randrange(2, 10 ** dice.randrange(1, 5))
    a, b = (large, other) if dice.random() < 0.5 else (other, large)
    return dice.choice(forms).format(a=a, b=b), TOO_LARGE
