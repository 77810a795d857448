"""Attention of many queries of each row over the paged cache: prompts, their chunks, and rows that decode among them."""
