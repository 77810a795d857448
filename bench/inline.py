"""The detokenizer as old engines have it: text is made in the step loop, before it may go on."""

from bench.probes import Probe
from services.detokenizer.decode import Vocabulary
from services.detokenizer.sessions import News, Sessions
from services.engine.ledger import Ledger
from services.engine.loop import StepOutput
from shared.bus import Executor, Step, StreamId
from shared.channel import Channel
from shared.types import ParentId

KEEP = 1


class InlineDetokenizer(Channel[StepOutput]):
    """Takes the place of the loop's outputs; `send` returns when the text is rendered, and nothing is left to read."""

    def __init__(self, vocabulary: Vocabulary, ledger: Ledger, probe: Probe) -> None:
        super().__init__(KEEP)
        self._sessions = Sessions(vocabulary)
        self._ledger = ledger
        self._probe = probe
        self._executor = Executor("inline", 1)
        self._step = 0
        self._cursors: dict[ParentId, str] = {}
        self.ended = 0  # answers whose last frame was rendered
        self.characters = 0  # of all frames

    async def send(self, item: StepOutput) -> None:
        with self._probe.span("detokenize"):
            self._take(item)

    def _take(self, output: StepOutput) -> None:
        told = [record for request in output.began for _, record in self._ledger.start(request)]
        told += [record for delta in output.deltas for _, record in self._ledger.tell(delta)]
        self._step += 1
        news = News()
        step = Step(str(self._executor), StreamId(self._executor.boot, self._step), tuple(told))
        self._sessions.consume(step, news)
        for parent in news.changed:
            frame = self._sessions.frame(parent, self._cursors.get(parent, ""))
            if frame is not None:
                self._cursors[parent] = frame.cursor
                self.characters += len(frame.data)
                self.ended += frame.last
