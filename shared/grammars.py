"""What a grammar may cost, the same where it is checked (the gateway) and where it is used (the engine). Pure.

A grammar travels as llguidance reads it: `{"grammars": [{"json_schema": ...}]}`, or `lark_grammar` in that place.
The limits are llguidance's; at its own rates they bound the making of a mask to some 20 ms.
"""

from dataclasses import dataclass

MAX_GRAMMAR_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    max_items_in_row: int = 2000
    initial_lexer_fuel: int = 1_000_000
    step_lexer_fuel: int = 200_000
    step_max_items: int = 50_000
    max_lexer_states: int = 20_000  # 1 or 2 KB each
    max_grammar_size: int = 200_000


LIMITS = Limits()


def too_large(grammar: str) -> bool:
    return len(grammar) > MAX_GRAMMAR_BYTES or len(grammar.encode(errors="surrogatepass")) > MAX_GRAMMAR_BYTES


def first_line(error: str) -> str:
    """What the library says, for a client: short, and without its own marks."""
    lines = [line for line in error.splitlines() if line.strip() and not line.startswith("<")]
    return (lines[0] if lines else "it was refused")[:300]
