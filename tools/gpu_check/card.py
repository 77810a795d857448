"""What a section needs of the device it runs on: its name, its memory, its clock. A GPU, or a CPU in its place."""

import os
import platform
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch.profiler import ProfilerActivity
from torch.profiler import profile as Profile

from tools.gpu_check.report import Value

WARM = 3
GIB = 1 << 30


class Kernel(NamedTuple):
    """What a profile says of one kernel."""

    name: str
    calls: int
    microseconds: float  # of all calls together


class Card(Protocol):
    kind: Literal["cuda", "cpu"]
    device: torch.device

    def describe(self) -> dict[str, Value]: ...

    def seconds(self, run: Callable[[], Any], runs: int) -> float:
        """Median of the time one run takes on the device, after a few that do not count."""
        ...

    def memory(self) -> float:
        """GiB in use on the device, everybody's."""
        ...

    def profile(self) -> Profile:
        """Of what the device computes from its `start` to its `stop`, whichever thread asked for it."""
        ...

    def kernels(self, seen: Profile) -> list[Kernel]:
        """The longest first."""
        ...


def open_card(*, dry: bool) -> Card:
    """Raises RuntimeError where there is no GPU and none was to be done without."""
    if dry:
        return HostCard()
    if not torch.cuda.is_available():
        raise RuntimeError("this machine or this build of torch has no CUDA device; --dry-run does without")
    return CudaCard()


class CudaCard:
    kind: Literal["cuda", "cpu"] = "cuda"

    def __init__(self) -> None:
        self.device = torch.device("cuda", 0)
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False

    def describe(self) -> dict[str, Value]:
        properties = torch.cuda.get_device_properties(self.device)
        return {
            "name": properties.name,
            "driver": _driver(),
            "compute capability": f"{properties.major}.{properties.minor}",
            "SMs": properties.multi_processor_count,
            "GiB": round(properties.total_memory / GIB, 1),
        }

    def seconds(self, run: Callable[[], Any], runs: int) -> float:
        taken = []
        for turn in range(WARM + runs):
            begin, end = (torch.Event(self.device, enable_timing=True) for _ in range(2))
            begin.record()
            run()
            end.record()
            end.synchronize()
            if turn >= WARM:
                taken.append(begin.elapsed_time(end) / 1e3)
        return statistics.median(taken)

    def memory(self) -> float:
        free, total = torch.cuda.mem_get_info(self.device)
        return (total - free) / GIB

    def profile(self) -> Profile:
        return Profile(activities=[ProfilerActivity.CUDA])

    def kernels(self, seen: Profile) -> list[Kernel]:
        return _longest(seen, "CUDA", "self_device_time_total")


class HostCard:
    """The same by the wall clock, so that every branch runs where there is no GPU."""

    kind: Literal["cuda", "cpu"] = "cpu"

    def __init__(self) -> None:
        self.device = torch.device("cpu")

    def describe(self) -> dict[str, Value]:
        return {
            "name": platform.processor() or platform.machine(),
            "driver": "none",
            "compute capability": "none",
            "SMs": os.cpu_count() or 1,
            "GiB": round(_host_pages("SC_PHYS_PAGES"), 1),
        }

    def seconds(self, run: Callable[[], Any], runs: int) -> float:
        taken = []
        for _ in range(runs):
            begin = time.perf_counter()
            run()
            taken.append(time.perf_counter() - begin)
        return statistics.median(taken)

    def memory(self) -> float:
        return _host_pages("SC_PHYS_PAGES") - _host_pages("SC_AVPHYS_PAGES")

    def profile(self) -> Profile:
        return Profile(activities=[ProfilerActivity.CPU])

    def kernels(self, seen: Profile) -> list[Kernel]:
        return _longest(seen, "CPU", "self_cpu_time_total")


def _longest(seen: Profile, kind: str, time_of: str) -> list[Kernel]:
    """What ran on this kind of device; `time_of` names the attribute of an average that holds microseconds."""
    averages = [each for each in seen.key_averages() if each.device_type.name == kind]
    found = [Kernel(each.key, each.count, float(getattr(each, time_of))) for each in averages]
    return sorted((one for one in found if one.microseconds > 0), key=lambda one: -one.microseconds)


def _driver() -> str:
    if (tool := shutil.which("nvidia-smi")) is None:
        return "unknown"
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.split()
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return said[0] if said else "unknown"


def _host_pages(name: str) -> float:
    """GiB."""
    return os.sysconf(name) * os.sysconf("SC_PAGE_SIZE") / GIB
