"""Repetition, frequency and presence penalties on the logits."""
