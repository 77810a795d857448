"""The figures to reach on one H200, and whether a run reached them. No torch here."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tools.gpu_check.report import Value, Verdict, shown

Known = Mapping[str, Mapping[str, Mapping[str, Value]]]  # section -> subject -> figure -> value


@dataclass(frozen=True, slots=True)
class Goal:
    """`figure` of `subject` in `section` is at least, or with `below` less than, `bound`."""

    text: str
    section: str
    subject: str
    figure: str
    bound: float
    below: bool = False

    def judge(self, known: Known) -> Verdict:
        value = known.get(self.section, {}).get(self.subject, {}).get(self.figure)
        if value is None or isinstance(value, str):
            return Verdict(self.text, "", "not measured")
        good = value < self.bound if self.below else value >= self.bound
        return Verdict(self.text, shown(self.figure, value), "reached" if good else "MISSED")


READ_SHARE, IDLE_SHARE = "share of read", "GPU idle share"
CEILING_SHARE, OFFLINE_SHARE, TIMES = "share of ceiling", "share of offline", "offline is times as fast"
PLAN_MS, BYTES = "plan+submit ms", "bytes"


def decode_subject(model: str) -> str:
    return f"decode_attention-{model}, batch 256, mean context 1100"


def goals(models: Sequence[str]) -> Iterator[Goal]:
    """For each model, in the order in which a reader asks for them."""
    for model in models:
        decode = f"{model}: decode attention at batch 256, context 1100 >= 85 % of the read bandwidth"
        yield Goal(decode, "speed", decode_subject(model), READ_SHARE, 0.85)
    for model in models:
        idle = f"{model}: GPU idle < 2 % in steady decode"
        yield Goal(idle, "offline", model, IDLE_SHARE, 0.02, below=True)
        yield Goal(f"{model}: offline > 75 % of its ceiling", "offline", model, CEILING_SHARE, 0.75)
        yield Goal(f"{model}: plan and submit < 1 ms at the median", "offline", model, PLAN_MS, 1.0, below=True)
        yield Goal(f"{model}: a step's difference < 8 KiB", "offline", model, BYTES, 8192, below=True)
        yield Goal(f"{model}: service set > 90 % of offline", "service", model, OFFLINE_SHARE, 0.90)
    yield Goal("at least 3 times transformers' continuous batching", "peer", models[0], TIMES, 3.0)


def verdicts(known: Known, models: Sequence[str]) -> list[Verdict]:
    return [goal.judge(known) for goal in goals(models)]
