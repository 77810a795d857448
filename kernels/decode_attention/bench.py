"""python -m kernels.decode_attention.bench: every case on the GPU at hand, as a share of its roofline.

With --tune: every case in a grid of tilings and numbers of programs, and which of them was best.
"""

import argparse
import sys

import torch

from kernels._bench import main, the_card, used_on
from kernels.decode_attention.cases import CASES
from kernels.decode_attention.tune import trials


def tune() -> int:
    found = the_card()
    if found is None:
        return 2
    device, roofs = found
    sms = torch.cuda.get_device_properties(device).multi_processor_count
    for case in used_on(CASES, device):
        done = []
        for trial in trials(case, device, roofs, sms):
            print(trial, flush=True)
            done.append((trial.measured.microseconds if trial.measured else float("inf"), str(trial)))
        print(f"best: {min(done)[1]}\n", flush=True)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m kernels.decode_attention.bench")
    parser.add_argument("--tune", action="store_true", help="try tilings and numbers of programs")
    sys.exit(tune() if parser.parse_args().tune else main(CASES))
