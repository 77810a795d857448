"""The tiny checkpoints, under the name by which tests ask for them."""

from tools.checkpoints import END, MAX_LENGTH, MODELS, ROOT, TEMPLATE, TURN_END, VOCABULARY, build

__all__ = ["END", "MAX_LENGTH", "MODELS", "ROOT", "TEMPLATE", "TURN_END", "VOCABULARY", "build"]
