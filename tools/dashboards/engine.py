"""Is the device busy, and with what?"""

from tools.dashboards.panels import WINDOW, Dashboard, Panel, quantiles, rate

ENGINE = Dashboard(
    "engine",
    "Sluice: engines",
    (
        (
            "Is the device busy?",
            (
                Panel(
                    "Device time",
                    "Share of the time: busy, and idle by cause. Idle for want of work is no fault",
                    "percentunit",
                    (
                        (f"avg(rate(sluice_engine_device_busy_seconds_total[{WINDOW}]))", "busy"),
                        (
                            f"avg by (cause) (rate(sluice_engine_device_idle_seconds_total[{WINDOW}]))",
                            "idle: {{cause}}",
                        ),
                    ),
                    width=12,
                    stacked=True,
                ),
                Panel(
                    "Phases of a step",
                    "95th percentile; all but the device's should hide behind it",
                    "s",
                    (quantiles("sluice_engine_step_seconds", "phase")[1],),
                    width=12,
                ),
                Panel("Steps", "A second, by kind", "ops", rate("sluice_engine_steps_total", "kind")),
                Panel("Tokens of a step", "Computed by one step", "short", quantiles("sluice_engine_step_tokens")),
                Panel(
                    "Bytes to the worker",
                    "Of one step, on average",
                    "bytes",
                    (
                        (
                            f"sum(rate(sluice_engine_worker_bytes_total[{WINDOW}]))"
                            f" / sum(rate(sluice_engine_steps_total[{WINDOW}]))",
                            "bytes a step",
                        ),
                    ),
                ),
            ),
        ),
        (
            "Work",
            (
                Panel(
                    "Tokens drawn",
                    "A second, by engine",
                    "short",
                    rate("sluice_engine_generation_tokens_total", "instance"),
                    stacked=True,
                ),
                Panel(
                    "Requests",
                    "In all engines",
                    "short",
                    (
                        ("sum(sluice_engine_requests_running)", "running"),
                        ("sum by (lane) (sluice_engine_requests_waiting)", "waiting: {{lane}}"),
                    ),
                ),
                Panel(
                    "Between two tokens",
                    "Of a row, from step to step",
                    "s",
                    quantiles("sluice_engine_token_seconds"),
                ),
                Panel(
                    "KV cache",
                    "Share of the blocks in use, by engine",
                    "percentunit",
                    (("sluice_engine_kv_cache_usage_ratio", "{{instance}}"),),
                ),
                Panel(
                    "Prefix cache",
                    "Share of the tokens looked up that were found",
                    "percentunit",
                    (
                        (
                            f"sum(rate(sluice_engine_prefix_cache_hits_total[{WINDOW}]))"
                            f" / sum(rate(sluice_engine_prefix_cache_queries_total[{WINDOW}]))",
                            "hits",
                        ),
                    ),
                ),
                Panel(
                    "Preemptions",
                    "Requests taken back for want of KV cache, a second",
                    "ops",
                    rate("sluice_engine_preemptions_total", "instance"),
                ),
            ),
        ),
    ),
)
