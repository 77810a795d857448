"""Which resident block holds which piece of which text.

A full block is named by a digest over the digest of the block before it, its own token ids and, at the root of the
chain, the request's salt. So equal names mean equal text from the first token on, in the same salt: what attention
wrote there is the same too (vLLM's automatic prefix caching). The digest is cryptographic: nobody can make two texts
share a block.
"""

from array import array
from hashlib import blake2b


class Chain:
    """The digests of one request's full blocks, each computed once, when somebody asks for it."""

    __slots__ = ("_block_size", "_digests")

    def __init__(self, salt: str, block_size: int) -> None:
        self._block_size = block_size
        self._digests = [blake2b(salt.encode("utf-8", "surrogatepass"), digest_size=32).digest()]

    def digest(self, index: int, tokens: list[int]) -> bytes:
        """The name of block `index`; it covers the salt and tokens[: (index + 1) * block_size]."""
        digests, size = self._digests, self._block_size
        while len(digests) <= index + 1:  # digests[0] is the root
            start = (len(digests) - 1) * size
            piece = array("i", tokens[start : start + size])
            assert len(piece) == size, "only full blocks have a name"
            digests.append(blake2b(digests[-1] + piece.tobytes(), digest_size=32).digest())
        return digests[index + 1]


class PrefixIndex:
    """Digest to block and back. Two blocks may hold the same text; only the first is known here."""

    __slots__ = ("_blocks", "_digests")

    def __init__(self) -> None:
        self._blocks: dict[bytes, int] = {}
        self._digests: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._blocks)

    def __contains__(self, block: int) -> bool:
        return block in self._digests

    def find(self, chain: Chain, tokens: list[int], most: int) -> list[int]:
        """The blocks of the longest resident chain over `tokens`, at most `most`."""
        found: list[int] = []
        for index in range(most):
            block = self._blocks.get(chain.digest(index, tokens))
            if block is None:
                break
            found.append(block)
        return found

    def insert(self, digest: bytes, block: int) -> None:
        """`block` holds this text, computed and final."""
        if self._blocks.setdefault(digest, block) == block:
            self._digests[block] = digest

    def forget(self, block: int) -> None:
        """`block` is about to be written anew."""
        del self._blocks[self._digests.pop(block)]

    def check(self) -> None:
        assert {block: digest for digest, block in self._blocks.items()} == self._digests, "the index has two opinions"
