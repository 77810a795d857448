"""Token ids in, finished bytes out; the owner of its shard's requests."""
