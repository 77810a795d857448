"""A process's connection to the bus: every command may be late, lost, or done without its reply.

Commands run in the server's process, so a client that is frozen or dead holds nobody up. Fates:
- dropped: it never reaches the server. unheard: it runs, and the reply is lost. late: the client hears that it failed,
  and it runs some time afterwards (it sat in a buffer).
- The explorer may also do anything else before the command goes out and before its reply is heard.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Literal, Protocol, cast

from shared.bus import Bus, BusDown
from tests.model.loop import Process

Fate = Literal["", "dropped", "unheard", "late"]
UNCLEAR_S = 0.2  # until a client gives up
Command = partial[Awaitable[Any]]


class Net(Protocol):
    """What a wire needs of the world."""

    loop: Any
    redis: Process
    server: Any

    def before(self, process: Process, verb: str) -> Fate: ...

    def after(self, process: Process, verb: str) -> None: ...

    def delay(self) -> float: ...

    def lingers(self) -> bool: ...

    def note(self, *what: object) -> None: ...

    def wrong(self, error: BaseException) -> None: ...


class Wire:
    """Looks like a bus. Broken by `cut`, it fails every command that is under way."""

    def __init__(self, net: Net, process: Process) -> None:
        self._net = net
        self._process = process
        self._asked: dict[asyncio.Future[Any], asyncio.Task[None] | None] = {}

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        return partial(self._ask, verb)

    @property
    def bus(self) -> Bus:
        return cast(Bus, self)

    async def close(self) -> None:
        pass

    def cut(self) -> None:
        """The connection breaks: what waits at the server is dropped, what is on its way is lost."""
        for reply, command in list(self._asked.items()):
            if command is not None:
                command.cancel()
            if not reply.done():
                reply.set_exception(BusDown("the connection is cut"))
        self._asked.clear()

    async def _ask(self, verb: str, *args: Any, **named: Any) -> Any:
        net, loop = self._net, self._net.loop
        command = partial(getattr(net.server, verb), *args, **named)
        fate = net.before(self._process, verb)
        reply: asyncio.Future[Any] = loop.create_future()
        self._asked[reply] = None
        if fate == "dropped":
            loop.call_later(UNCLEAR_S, _fail, reply, context=self._process.context)
        elif fate == "late":
            loop.call_later(UNCLEAR_S, _fail, reply, context=self._process.context)
            loop.call_later(UNCLEAR_S + 10 * net.delay(), self._begin, command, None, context=net.redis.context)
        else:
            deaf = fate == "unheard"
            loop.call_later(net.delay(), self._begin, command, reply, deaf, context=net.redis.context)
        try:
            answer = await reply
        except asyncio.CancelledError:
            running = self._asked.get(reply)
            if running is not None and not net.lingers():
                running.cancel()  # the server hears that nobody waits any more
            raise
        finally:
            self._asked.pop(reply, None)
        net.after(self._process, verb)
        return answer

    def _begin(self, command: Command, reply: asyncio.Future[Any] | None, deaf: bool = False) -> None:
        """In the server."""
        if reply is not None and reply not in self._asked and not self._net.lingers():
            return  # the connection is gone, and the command with it
        running = self._net.loop.create_task(self._run(command, reply, deaf))
        if reply is not None and reply in self._asked:
            self._asked[reply] = running

    async def _run(self, command: Command, reply: asyncio.Future[Any] | None, deaf: bool) -> None:
        net, answer, error = self._net, None, None
        try:
            answer = await command()
        except Exception as raised:
            error = raised
        verb, words = command.func.__name__, (*command.args, *command.keywords.items())
        net.note(self._process.name, verb, *words, "->", error if error else answer, "(late)" if reply is None else "")
        if type(error).__name__ == "Violation":
            net.wrong(cast(Exception, error))
        if reply is None:
            return
        if deaf:
            net.loop.call_later(UNCLEAR_S, _fail, reply, context=self._process.context)
        else:
            net.loop.call_later(net.delay(), _tell, reply, answer, error, context=self._process.context)


def _fail(reply: asyncio.Future[Any]) -> None:
    if not reply.done():
        reply.set_exception(BusDown("no reply"))


def _tell(reply: asyncio.Future[Any], answer: Any, error: Exception | None) -> None:
    with suppress(asyncio.InvalidStateError):
        if error is not None:
            reply.set_exception(error)
        else:
            reply.set_result(answer)
