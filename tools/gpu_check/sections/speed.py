"""What each configuration of each kernel reaches: GB/s, TFLOP/s, and the share of what this card copies or multiplies.

Decode attention is measured once more at the figure to reach, batch 256 and a mean context of 1,100, as a share of what
the card reads: rows are from a tenth of the longest to the longest, so the longest has nearly 2,000.
"""

import importlib

from kernels._bench import Roofs, measure, used_on
from kernels._case import FULL, Case, Size
from tools.gpu_check.job import Job
from tools.gpu_check.sections.environment import roofs
from tools.gpu_check.settings import ops
from tools.gpu_check.verdict import READ_SHARE, decode_subject

STEADY = Size(256, 1984)  # whole blocks of every size, so that no more bytes are counted than are read
DRY = Size(2, 17)
DECODE = "decode_attention-"


def run(job: Job) -> None:
    found = roofs(job)
    copied = job.known("environment", "copy", "GB/s")
    by_copy = Roofs(copied * 1e9 if copied else found.read, found.product)
    dry, device = job.settings.dry, job.card.device
    decodes: list[Case] = []
    for op in ops(job.settings):
        cases = used_on(importlib.import_module(f"kernels.{op}.cases").CASES, device)
        decodes += [case for case in cases if case.name.startswith(DECODE)]
        for case in cases:
            if not dry or case.name.endswith("-small"):
                took = measure(case, device, by_copy, size=DRY if dry else FULL, runs=1 if dry else 15)
                told = {"us": took.microseconds, "GB/s": took.gbps, "TFLOP/s": took.tflops}
                job.row(case.name, told | {"share of roof": took.share_of_roof})
        job.say(f"{op}: {len(cases)} configurations")
    if dry:
        decodes = list(importlib.import_module("kernels.decode_attention.cases").CASES)
    for model in job.settings.models:
        _decode(job, model, decodes, by_copy, found.read)


def _decode(job: Job, model: str, cases: list[Case], by_copy: Roofs, read: float) -> None:
    """The figure to reach; a dry run takes the small configuration for its model."""
    name = f"{DECODE}{'small' if job.settings.dry else model}"
    case = next(case for case in cases if case.name == name)
    size, runs = (DRY, 1) if job.settings.dry else (STEADY, 30)
    took = measure(case, job.card.device, by_copy, size=size, runs=runs)
    share = took.gbps * 1e9 / read
    job.row(decode_subject(model), {"us": took.microseconds, "GB/s": took.gbps, READ_SHARE: share})
    job.say(f"decode attention, {model}: {took.gbps:.0f} GB/s, {share:.1%} of what the card reads")
