"""The demo model: its corpus, tokenizer, training and evaluation, all from scratch and from this folder alone.

Nothing here is imported by a service. `python -m tools.demo_model --help` says how to train the model again.
"""
