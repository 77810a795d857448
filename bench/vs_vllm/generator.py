"""A small load generator: `python -m bench.vs_vllm.generator URL MODEL IN OUT N CONC`.

It asks what `vllm bench serve --dataset-name random --ignore-eos` asks, and writes its figures in the same form. It
reads server-sent events as their standard has them, comments included.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import aiohttp
import numpy as np
import orjson
from tokenizers import Tokenizer

TRIES = 10
SPECIAL = 16  # first ids, of which no prompt is made


@dataclass(slots=True)
class Answer:
    tokens: int = 0  # as its usage says; 0 for an answer that has not come to its end
    ttft_s: float = 0.0
    gaps_s: list[float] = field(default_factory=list)


async def ask(session: aiohttp.ClientSession, url: str, body: dict[str, object]) -> Answer:
    answer, began = Answer(), time.perf_counter()
    last = began
    async with session.post(f"{url}/v1/completions", json=body) as response:
        response.raise_for_status()
        async for line in response.content:
            if not line.startswith(b"data: {"):
                continue
            event, now = orjson.loads(line.removeprefix(b"data: ")), time.perf_counter()
            if not event.get("choices"):
                answer.tokens = (event.get("usage") or {}).get("completion_tokens", 0)
                continue
            if last == began:
                answer.ttft_s = now - began
            else:
                answer.gaps_s.append(now - last)
            last = now
    return answer


async def asked(args: argparse.Namespace, prompts: Sequence[str], starts_s: Sequence[float]) -> list[Answer]:
    """All answers; those that failed have no tokens. A request is made when its start has come and a client is free."""
    free, began = asyncio.Semaphore(args.at_once), time.perf_counter()
    usual = {"model": args.model, "max_tokens": args.tokens_out, "temperature": args.temperature, "ignore_eos": True}
    usual |= {"stream": True, "stream_options": {"include_usage": True}}

    async def one(prompt: str, start_s: float) -> Answer:
        await asyncio.sleep(max(0.0, began + start_s - time.perf_counter()))
        async with free:
            try:
                return await ask(session, args.url, usual | {"prompt": prompt})
            except aiohttp.ClientError as error:
                print(f"{type(error).__name__}: {error}", flush=True)
                return Answer()

    connector, forever = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=forever) as session, asyncio.TaskGroup() as tasks:
        made = [tasks.create_task(one(*pair), name="ask") for pair in zip(prompts, starts_s, strict=True)]
    return [task.result() for task in made]


def summary(answers: Sequence[Answer], seconds: float) -> dict[str, object]:
    ended = [answer for answer in answers if answer.tokens]
    ttfts, gaps = [answer.ttft_s for answer in ended], [answer.gaps_s for answer in ended]
    tokens = sum(answer.tokens for answer in ended)
    tpots = [sum(answer.gaps_s) / (answer.tokens - 1) for answer in ended if answer.tokens > 1]
    figures: dict[str, object] = {"completed": len(ended), "total_output_tokens": tokens, "duration": seconds}
    figures |= {"output_throughput": tokens / seconds, "ttfts": ttfts, "itls": gaps}
    for name, values in (("ttft", ttfts), ("tpot", tpots), ("itl", [gap for of in gaps for gap in of])):
        middle, high = np.percentile(values or [0.0], (50, 99))
        figures |= {f"median_{name}_ms": 1000 * float(middle), f"p99_{name}_ms": 1000 * float(high)}
    return figures


def random_prompts(tokenizer: Tokenizer, requests: int, length: int, dice: random.Random) -> list[str]:
    """Of `length` tokens, or about so many: what random ids say is often read as others."""
    return [_prompt(tokenizer, length, dice) for _ in range(requests)]


def _prompt(tokenizer: Tokenizer, length: int, dice: random.Random) -> str:
    vocabulary, ids, text = range(SPECIAL, tokenizer.get_vocab_size()), list[int](), ""
    for _ in range(TRIES):
        ids += dice.choices(vocabulary, k=max(0, length - len(ids)))
        text = tokenizer.decode(ids[:length])
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        if len(ids) == length:
            break
    return text


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.vs_vllm.generator", description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("model", help="the directory of the model, which is also the name it is served by")
    for name in ("tokens_in", "tokens_out", "requests", "at_once"):
        parser.add_argument(name, type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument(
        "--request-rate", type=float, help="requests a second, a Poisson process; all at once if absent"
    )
    parser.add_argument("--result-dir", type=Path, default=Path("."))
    parser.add_argument("--result-filename", default="result.json")
    args = parser.parse_args()
    dice = random.Random(args.seed)
    tokenizer = Tokenizer.from_file(str(Path(args.model, "tokenizer.json")))
    prompts = random_prompts(tokenizer, args.requests, args.tokens_in, dice)
    rate = args.request_rate
    starts_s = list(accumulate(dice.expovariate(rate) if rate else 0.0 for _ in prompts))
    began = time.perf_counter()
    answers = asyncio.run(asked(args, prompts, starts_s))
    figures = summary(answers, time.perf_counter() - began)
    (args.result_dir / args.result_filename).write_bytes(orjson.dumps(figures))


if __name__ == "__main__":
    main()
