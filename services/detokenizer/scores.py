"""What logprobs are told of one output, and when: a token's with the first frame that shows text of it (pure).

So a client that resumes behind a frame is told each token once, and nothing of a token that a stop string cuts away.
Tokens that show no text are told with the next that does, or with the end; an id that ends the output is not told.
"""

from array import array

from shared.types import LEAST_LOGPROB, Score


class Scores:
    """`shown`, here, counts characters of the output that a client may see."""

    __slots__ = ("_all", "_told", "starts")

    def __init__(self) -> None:
        self._all: list[Score] = []
        self.starts = array("q")  # of each token: where its text begins, stop strings and all
        self._told = array("q", [0])  # how many scores can be told once so many tokens are accepted

    def __len__(self) -> int:
        return self._told[-1]

    def accept(self, score: Score, start: int, shown: int) -> None:
        """The next token's."""
        self._all.append(score)
        self.starts.append(start)
        told = self._told[-1]
        while told < len(self._all) and self.starts[told] < shown:
            told += 1
        self._told.append(told)

    def finish(self, shown: int, cut: bool, hidden: int) -> None:
        """Nothing follows. `cut`: a stop string has taken what begins at `shown` or behind; `hidden`: so many tokens at
        the end show nothing because they are the end."""
        end = len(self._all) - hidden
        while cut and end > self._told[-1] and self.starts[end - 1] >= shown:
            end -= 1
        self._told.append(max(end, self._told[-1]))

    def after(self, offset: int) -> range:
        """Which tokens can be told now and could not when `offset` had been accepted; the end apart."""
        accepted = len(self._all)
        return range(self._told[min(offset, accepted)], self._told[accepted])

    @property
    def last(self) -> range:
        """Those that the end lets go."""
        return range(self._told[len(self._all)], self._told[-1])

    def __getitem__(self, index: int) -> Score:
        return self._all[index]

    @property
    def all(self) -> tuple[Score, ...]:
        """For whoever goes on with these tokens."""
        return tuple(self._all)


UNKNOWN = Score(LEAST_LOGPROB, 0)  # an engine that has not said
