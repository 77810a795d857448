"""Attention of one query for each row over the paged cache: what a step that decodes spends its time on."""
