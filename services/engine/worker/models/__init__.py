"""The models we run: one decoder (`decoder.py`, torch), told by a configuration (`config.py`, plain) what it is."""
