"""The supervisor asks /ready until it answers 200."""

from aiohttp import web

from shared import ops
from tools.run.ready import progress_line, wait_until_ready


async def test_what_the_gateway_waits_for_is_said_once_per_change_until_it_is_ready() -> None:
    """The same answer twice is one line; 200 ends the waiting."""
    answers = [(503, "loading weights", 0.5), (503, "loading weights", 0.5), (503, "no engine", None), (200, "", None)]

    async def ready(_: web.Request) -> web.Response:
        status, message, progress = answers.pop(0)
        return web.json_response({"ready": status == 200, "message": message, "progress": progress}, status=status)

    app = web.Application()
    app.router.add_get("/ready", ready)
    runner, port = await ops.serve(app, "127.0.0.1", 0)
    said: list[str] = []
    try:
        await wait_until_ready(f"http://127.0.0.1:{port}", said.append)
    finally:
        await runner.cleanup()
    assert said == ["waiting: loading weights (50 %)", "waiting: no engine"]
    assert answers == []


def test_an_answer_that_is_not_ours_says_nothing() -> None:
    """Whatever else listens there, its page is not printed."""
    assert [progress_line(body) for body in (b"", b"<html>", b"[1]", b'{"message": 3}')] == [""] * 4
