"""How long things are on their way, what died and what moved on."""

from tools.dashboards.panels import WINDOW, Dashboard, Panel, quantiles, rate

BUS = Dashboard(
    "bus",
    "Sluice: bus and survival",
    (
        (
            "How long things are on their way",
            (
                Panel(
                    "Requests: queued to taken",
                    "Includes the wait for room in an engine",
                    "s",
                    quantiles("sluice_engine_hop_seconds", where='hop="requests"'),
                ),
                Panel(
                    "Tokens: engine to detokenizer",
                    "Written by the engine to read by the owner",
                    "s",
                    quantiles("sluice_detokenizer_hop_seconds", where='hop="tokens"'),
                ),
                Panel(
                    "Frames: detokenizer to gateway",
                    "Written there to read here",
                    "s",
                    quantiles("sluice_gateway_hop_seconds", where='hop="frames"'),
                ),
                Panel(
                    "Detokenizer lag",
                    "Written by the engine to written to the gateways",
                    "s",
                    quantiles("sluice_detokenizer_lag_seconds"),
                ),
                Panel(
                    "Event loops",
                    "99th percentile of how late they wake up",
                    "s",
                    tuple(
                        (quantiles(f"sluice_{name}_event_loop_lag_seconds")[2][0], name)
                        for name in ("gateway", "engine", "detokenizer")
                    ),
                ),
                Panel(
                    "Tokens accepted",
                    "A second, by owner",
                    "short",
                    rate("sluice_detokenizer_tokens_total", "instance"),
                ),
            ),
        ),
        (
            "What died and what moved on",
            (
                Panel(
                    "Hand-overs",
                    "Requests that went on in another engine, by cause",
                    "short",
                    (
                        (
                            f"sum by (cause) (increase(sluice_detokenizer_handovers_total[{WINDOW}]))",
                            "{{cause}}",
                        ),
                    ),
                ),
                Panel(
                    "Fences",
                    "Engines that were ended, and engines that found themselves ended",
                    "short",
                    (
                        (f"sum(increase(sluice_detokenizer_fences_total[{WINDOW}]))", "by owners"),
                        (f"sum(increase(sluice_engine_fences_total[{WINDOW}]))", "seen by engines"),
                    ),
                ),
                Panel(
                    "Stalls and poison",
                    "Steps that did not end; requests that killed their engines",
                    "short",
                    (
                        (f"sum(increase(sluice_engine_stalls_total[{WINDOW}]))", "stalls"),
                        (f"sum(increase(sluice_detokenizer_poisoned_total[{WINDOW}]))", "poisoned"),
                    ),
                ),
                Panel(
                    "Settled",
                    "Requests that ended for good, a second, by reason",
                    "reqps",
                    rate("sluice_detokenizer_settled_total", "reason"),
                ),
                Panel("Memory", "Resident, by process", "bytes", (("process_resident_memory_bytes", "{{instance}}"),)),
                Panel(
                    "CPU",
                    "Cores in use, by process",
                    "short",
                    ((f"rate(process_cpu_seconds_total[{WINDOW}])", "{{job}} {{instance}}"),),
                ),
            ),
        ),
    ),
)
