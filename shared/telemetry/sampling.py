"""Which requests are traced: OpenTelemetry's own words, `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.

The gateway decides when a request comes, and the decision travels in `traceparent`; a client's own sampled flag is
obeyed. What was not chosen is still kept when it was slow: each service looks at the age of the request when its part
ends (`Recorder.finish`), so all of them come to the same answer without asking.
"""

from collections.abc import Callable, Mapping

from shared.errors import ConfigError
from shared.telemetry.spans import Context

Sampler = Callable[[str, Context | None], bool]  # of a trace id, and the client's context if it sent one


def sampler(environ: Mapping[str, str]) -> Sampler:
    """Raises ConfigError naming the variable. The default is the standard's: parentbased_always_on."""
    name = environ.get("OTEL_TRACES_SAMPLER", "").strip() or "parentbased_always_on"
    base = name.removeprefix("parentbased_")
    if base == "always_on":
        ratio = 1.0
    elif base == "always_off":
        ratio = 0.0
    elif base == "traceidratio":
        ratio = _ratio(environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or "1")
    else:
        known = "always_on, always_off, traceidratio, or one of them behind parentbased_"
        raise ConfigError(f"OTEL_TRACES_SAMPLER must be {known}, not {name!r}")
    bound = round(ratio * (1 << 64))
    obeys = name.startswith("parentbased_")

    def sample(trace: str, parent: Context | None) -> bool:
        if parent is not None and obeys:
            return parent.sampled
        return int(trace[16:], 16) < bound  # as the SDK's TraceIdRatioBased: the same traces in every service

    return sample


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ConfigError(f"OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, not {text!r}")
    return ratio
