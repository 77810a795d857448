"""Little stories from a grammar: a hero, a wish, a trouble, a friend and an end.

The dice are an argument, so the same dice tell the same story.
"""

from random import Random

HEROES = (
    "fox", "cat", "robot", "girl", "boy", "bear", "mouse", "duck", "dragon", "rabbit", "owl", "dog", "frog",
    "turtle", "horse",
)  # fmt: skip
NAMES = ("Mia", "Tom", "Luna", "Otto", "Pip", "Nora", "Max", "Ella", "Finn", "Ruby", "Leo", "Ida")
NATURES = ("small", "brave", "curious", "kind", "quiet", "clever", "shy", "cheerful")
PLACES = (
    "in a green forest", "by a wide river", "in a little town", "on a high hill", "near the sea",
    "in an old mill", "at the edge of a lake",
)  # fmt: skip
WISHES = (
    "to see the stars from close up", "to find a red balloon", "to build a boat", "to learn a song",
    "to bake a big cake", "to find a friend", "to cross the river", "to grow a tall sunflower",
)  # fmt: skip
TROUBLES = (
    "the wind was strong and it began to rain", "the way was long and dark", "the old gate was shut",
    "nobody knew how to do it", "the first try went wrong", "a big stone lay on the path",
)  # fmt: skip
FRIENDS = ("an old owl", "a friendly bee", "a patient snail", "a tall heron", "a little hedgehog", "a busy beaver")
ADVICE = (
    "Take one small step at a time", "Let us do it together",
    "Open the gate a little and let the water through", "Wait for the morning, then try again",
    "Ask for help when you need it",
)  # fmt: skip
ENDS = (
    "In the evening they sat together and laughed.", "From that day on they were good friends.",
    "It was the best day of the whole summer.", "That night {name} slept well and dreamed of new things.",
    "And everyone in the land heard about it.",
)  # fmt: skip

ASK = (
    "Tell me a story.", "Tell me a short story.", "Can you tell me a story?", "Write a little story.",
    "Please tell me a story.", "I want to hear a story.", "Make up a story.", "Do you know a story?",
)  # fmt: skip
ASK_ABOUT = (
    "Tell me a story about a {hero}.", "Can you tell me a story about a {hero}?",
    "Write a short story about a {hero}.", "Please tell me a little story about a {hero}.",
    "I want a story about a {hero}.", "A story about a {hero}, please.",
)  # fmt: skip


def story(dice: Random, hero: str) -> str:
    """A story of five or six sentences about the hero."""
    name, friend = dice.choice(NAMES), dice.choice(FRIENDS)
    return " ".join((
        f"Once upon a time there was a {dice.choice(NATURES)} {hero} named {name} who lived {dice.choice(PLACES)}.",
        f"More than anything, {name} wanted {dice.choice(WISHES)}.",
        f"But {dice.choice(TROUBLES)}, and {name} was sad.",
        f"Then {friend} came by and said: \"{dice.choice(ADVICE)}.\"",
        f"So {name} tried once more, and this time it worked.",
        dice.choice(ENDS).format(name=name),
    ))  # fmt: skip


def asked(dice: Random) -> tuple[str, str]:
    """A question for a story, and a story; the hero is the one asked for."""
    hero = dice.choice(HEROES)
    if dice.random() < 0.4:
        return dice.choice(ASK), story(dice, hero)
    return dice.choice(ASK_ABOUT).format(hero=hero), story(dice, hero)
