"""All of Sluice's performance figures in one table, and pictures of them.

python -m bench                          every part: about 25 minutes, up to 35 with a peer in SLUICE_PEER
python -m bench --quick                  fewer models, sizes and rounds: under 6 minutes without a peer
python -m bench --only growth planning   these parts

Parts run one after the other, each a process that tells on stderr how far it is. Their figures as JSON and their
pictures are in the folder of --out, the table is printed at the end. The exit status is 1 if a part failed; the others
run all the same.
"""

import argparse
import os
import sys
from pathlib import Path

from bench.parts import PARTS, Outcome, ran
from bench.table import table


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    names = [part.name for part in PARTS]
    parser.add_argument("--quick", action="store_true", help="fewer models, sizes and rounds: under 6 minutes")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="PART", help=", ".join(names))
    parser.add_argument("--out", type=Path, default=Path(".run/bench"), help="folder of the JSONs and the pictures")
    return parser.parse_args()


def minutes(value: float) -> str:
    return f"about {value:.0f} minutes" if value >= 1.5 else "about a minute" if value > 0.5 else "under a minute"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    args = parsed()
    out: Path = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    peer = bool(os.environ.get("SLUICE_PEER"))
    parts = [part for part in PARTS if part.name in args.only]
    times = [part.about(quick=args.quick, peer=peer) for part in parts]
    hint = "" if args.quick else "; --quick takes under 6"
    say(f"{len(parts)} part{'s' if len(parts) > 1 else ''}, {minutes(sum(times))}{hint}. All is written to {args.out}")
    outcomes: list[Outcome] = []
    for number, (part, time) in enumerate(zip(parts, times, strict=True), start=1):
        say(f"\n{number} of {len(parts)}: {part.name}, {minutes(time)}")
        outcomes.append(ran(part, out, quick=args.quick))
        if outcomes[-1].fault:
            say(f"{part.name} has FAILED: {outcomes[-1].fault}")
    say("")
    print("\n".join(table(outcomes)))
    return 1 if any(outcome.fault for outcome in outcomes) else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
