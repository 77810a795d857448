"""Norm and rotation of queries and keys, and the write of keys and values to the paged cache, in one pass."""
