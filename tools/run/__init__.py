"""`make run`: everything on one machine, under one supervisor. Start reading in `__main__.py`."""
