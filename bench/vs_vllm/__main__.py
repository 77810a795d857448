"""Sluice and vLLM side by side: the same models, the same load from the same generator, in turns, on this machine.

python -m bench.vs_vllm --peer PATH                                 both models, 1, 16 and 64 clients
python -m bench.vs_vllm --peer PATH --models 6m --request-rate 12   the same number of requests a second for both

PATH (or SLUICE_PEER) is a program of yours that runs a vLLM. It is called in two ways:

    PATH serve MODEL_DIR PORT FLAGS...
        `vllm serve` with these flags, in the foreground, on 127.0.0.1; GET /health answers 200 when it is ready
    PATH bench URL MODEL_DIR IN OUT REQUESTS AT_ONCE FLAGS...
        `vllm bench serve --backend openai --ignore-eos` with these flags, which say where its JSON goes: REQUESTS
        random prompts of IN tokens for answers of OUT tokens, at most AT_ONCE of them open

One generator loads both systems and shares the machine with them: ours, or with `--generator peer` that of vLLM. Theirs
(0.32) takes frames that follow an SSE comment for a part of it. Sluice sends comments to whoever waits in its queue, so
where requests wait for a second or more, what their generator says of Sluice is too late and too few. A round counts
only if every request was answered with every token. Without a peer Sluice is measured alone.
"""

import argparse
import asyncio
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import orjson

from bench.vs_vllm.chart import draw
from bench.vs_vllm.load import Load
from bench.vs_vllm.models import SIZES, cached
from bench.vs_vllm.report import document, table
from bench.vs_vllm.rounds import Compared, Settings, compared, say


async def measured(models: Mapping[str, Path], folder: Path, settings: Settings) -> dict[str, Compared]:
    return {name: await compared(name, model, folder, settings) for name, model in models.items()}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.vs_vllm", description=__doc__.splitlines()[0])
    peer = os.environ.get("SLUICE_PEER") or None
    parser.add_argument(
        "--peer", default=peer, help="the program that runs a vLLM (or SLUICE_PEER); none: Sluice alone"
    )
    parser.add_argument(
        "--generator",
        choices=("ours", "peer"),
        default="ours",
        help="which load generator; the docstring says when not peer",
    )
    parser.add_argument("--models", nargs="+", choices=tuple(SIZES), default=list(SIZES))
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 16, 64], help="how many ask at once, a case each")
    parser.add_argument("--request-rate", type=float, help="requests a second for both, instead of --clients")
    parser.add_argument(
        "--same-rate",
        type=float,
        help="behind --clients, the same requests a second for both: this share of what the slower one could answer",
    )
    parser.add_argument("--rounds", type=int, default=3, help="of each system in each case, after one to warm up")
    parser.add_argument("--round-s", type=float, default=12.0, help="about how many seconds of load a round is")
    parser.add_argument("--tokens-in", type=int, default=128, help="of a prompt")
    parser.add_argument("--tokens-out", type=int, default=128, help="of an answer")
    parser.add_argument("--engine-args", default="", help="more flags for Sluice's engine, as one string")
    parser.add_argument("--peer-args", default="", help="more flags for the peer's serve, as one string")
    parser.add_argument(
        "--out", type=Path, default=Path(".run/vs-vllm.json"), help="all figures; a .png lies beside it"
    )
    args = parser.parse_args()
    for name, values in vars(args).items():
        for value in values if isinstance(values, list) else [values]:
            if isinstance(value, int | float) and value <= 0:
                parser.error(f"--{name.replace('_', '-')} must be above 0, not {value}")
    if args.peer and not (found := shutil.which(args.peer)):
        parser.error(f"--peer: {args.peer} is not a program that can be run")
    if args.generator == "peer" and not args.peer:
        parser.error("--generator: peer needs --peer (or SLUICE_PEER)")
    args.peer = Path(found).resolve() if args.peer and found else None
    return args


def settings_of(args: argparse.Namespace) -> Settings:
    size = (args.tokens_in, args.tokens_out)
    loads = [Load(max(4, clients), clients, *size) for clients in args.clients]
    return Settings(
        tool=args.peer,
        generator=args.peer if args.generator == "peer" else None,
        engine_args=args.engine_args,
        peer_args=shlex.split(args.peer_args),
        rounds=args.rounds,
        round_s=args.round_s,
        loads=[Load(0, 0, *size, args.request_rate)] if args.request_rate else loads,
        same_rate=0.0 if args.request_rate else args.same_rate or 0.0,
    )


def main() -> int:
    args = parsed()
    if args.peer is None:
        say("no --peer and no SLUICE_PEER: Sluice is measured alone")
    settings = settings_of(args)
    models = {name: cached(name) for name in args.models}
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        found = asyncio.run(measured(models, Path(folder), settings))
    told = document(found, settings)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")
    picture = args.out.with_suffix(".png")
    draw(found, told, picture)
    print("\n".join(table(found)))
    print(f"\n{args.out} and {picture} are written")
    rounds = [one for of in found.values() for case in of.cases for all in case.rounds.values() for one in all]
    return 1 if any(one.fault for one in rounds) else 0


if __name__ == "__main__":
    sys.exit(main())
