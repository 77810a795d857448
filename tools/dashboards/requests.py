"""What clients see, and the queue they wait in."""

from tools.dashboards.panels import WINDOW, Dashboard, Panel, quantiles, rate

REQUESTS = Dashboard(
    "requests",
    "Sluice: requests",
    (
        (
            "What clients see",
            (
                Panel(
                    "Answers",
                    "Per second, by status",
                    "reqps",
                    rate("sluice_gateway_requests_total", "status"),
                ),
                Panel(
                    "Time to first token",
                    "From the request's arrival at the gateway",
                    "s",
                    quantiles("gen_ai_server_time_to_first_token_seconds"),
                ),
                Panel(
                    "Time per output token",
                    "After the first, as the client has it",
                    "s",
                    quantiles("gen_ai_server_time_per_output_token_seconds"),
                ),
                Panel("Duration", "Of whole requests", "s", quantiles("gen_ai_server_request_duration_seconds")),
                Panel(
                    "Where a request's time goes, in the gateway",
                    "95th percentile of each phase",
                    "s",
                    (quantiles("sluice_gateway_phase_seconds", "phase")[1],),
                ),
                Panel(
                    "Clients that do not read",
                    "Writes that had to wait for the client",
                    "s",
                    quantiles("sluice_gateway_write_stall_seconds"),
                ),
            ),
        ),
        (
            "The queue",
            (
                Panel(
                    "Waiting",
                    "Requests on the bus that no engine runs, as each gateway sees them",
                    "short",
                    (("max(sluice_gateway_queue_requests)", "waiting"), ("max(sluice_gateway_queue_tokens)", "tokens")),
                ),
                Panel(
                    "Queue wait by lane", "95th percentile", "s", (quantiles("sluice_engine_queue_seconds", "lane")[1],)
                ),
                Panel(
                    "Drain rate",
                    "Requests that leave the queue, a second: what Retry-After is made from",
                    "reqps",
                    (("max(sluice_gateway_queue_drain_rate)", "drain rate"),),
                ),
                Panel(
                    "Refused",
                    "Because the queue or the gateway was full",
                    "reqps",
                    (
                        (f"sum(rate(sluice_gateway_queue_refused[{WINDOW}]))", "queue"),
                        (f"sum(rate(sluice_gateway_requests_refused[{WINDOW}]))", "gateway"),
                    ),
                ),
                Panel(
                    "Ends",
                    "Requests that ended in an engine, by reason",
                    "reqps",
                    rate("sluice_engine_requests_total", "reason"),
                ),
                Panel(
                    "Prompt tokens",
                    "A second, computed or found in the prefix cache",
                    "short",
                    rate("sluice_engine_prompt_tokens_total", "source"),
                    stacked=True,
                ),
            ),
        ),
    ),
)
