"""Attention of many queries of each row over the paged cache: prompts, their chunks, rows that decode among them."""
