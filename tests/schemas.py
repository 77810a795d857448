"""JSON Schemas by dice, of every kind that is promised, none of which allows an endless text."""

from random import Random
from typing import Any

Schema = dict[str, Any]
# Some blanks between tokens, but not as many as a model without sense would write.
FEW_BLANKS = {"whitespace_pattern": "[ \\n]{1,2}"}
PATTERNS = (r"^[a-z]{2,4}$", r"^\d{3}-\d{2}$", r"^(ab|cd){1,3}x?$", r"^[A-F0-9]{1,6}$", r"^a.{0,3}b$")


def schema(seed: int) -> Schema:
    """An object, a list, or something smaller; some of its parts are named and referred to."""
    dice = Random(seed)
    defs = {name: _value(dice, 1, ()) for name in ("one", "two")}
    whole = _value(dice, 3, tuple(defs))
    return {"x-guidance": FEW_BLANKS, "$defs": defs, **whole}


def _value(dice: Random, depth: int, names: tuple[str, ...]) -> Schema:
    small = (_text, _pattern, _integer, _number, _enum, _const, _simple)
    large = (_object, _object, _object, _array, _any_of)
    if names and dice.random() < 0.2:
        return {"$ref": f"#/$defs/{dice.choice(names)}"}
    kind = dice.choice(large) if depth > 1 or (depth and dice.random() < 0.5) else dice.choice(small)
    return kind(dice, depth - 1, names)


def _text(dice: Random, depth: int, names: tuple[str, ...]) -> Schema:
    least = dice.randrange(3)
    return {"type": "string", "minLength": least, "maxLength": least + dice.randrange(6)}


def _pattern(dice: Random, depth: int, names: tuple[str, ...]) -> Schema:
    return {"type": "string", "pattern": dice.choice(PATTERNS)}


def _integer(dice: Random, depth: int, names: tuple[str, ...]) -> Schema:
    least = dice.randrange(-1000, 1000)
    low, high = ("exclusiveMinimum", "maximum") if dice.random() < 0.3 else ("minimum", "maximum")
    return {"type": "integer", low: least, high: least + 1 + dice.randrange(500)}


def _number(dice: Random, depth: int, names: tuple[str, ...]) -> Schema:
    least = dice.randrange(-50, 50)
    return {"type": "number", "minimum": least, "maximum": least + dice.randrange(1, 20), "multipleOf": 0.25}


def _enum(dice: Random, depth: int, names: tuple[str, ...]) -> Schema:
    return {
        "enum": dice.sample(["red", "grün", 'a "b"', 7, -1.5, None, True, ["x", 1], {"k": "v"}], dice.randint(1, 5))
    }


def _const(dice: Random, depth: int, names: tuple[str, ...]) -> Schema:
    return {"const": dice.choice(["only", 42, {"a": [1, 2]}, None])}


def _simple(dice: Random, depth: int, names: tuple[str, ...]) -> Schema:
    return {"type": dice.choice(["boolean", "null", ["boolean", "null"]])}


def _array(dice: Random, depth: int, names: tuple[str, ...]) -> Schema:
    least = dice.randrange(3)
    items = _value(dice, depth, names)
    return {"type": "array", "items": items, "minItems": least, "maxItems": least + dice.randrange(1, 3)}


def _object(dice: Random, depth: int, names: tuple[str, ...]) -> Schema:
    properties = {
        name: _value(dice, depth, names) for name in dice.sample(["a", "b", "name", "ä ö"], dice.randint(1, 4))
    }
    required = [name for name in properties if dice.random() < 0.6]
    whole = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    if dice.random() < 0.2:  # others beside them, by a pattern; without a pattern their names would have no bound
        others = {"patternProperties": {"^x[0-9]{1,2}$": {"type": "boolean"}}, "maxProperties": len(properties) + 2}
        whole |= others | {"required": list(properties)}
    elif dice.random() < 0.2:  # what is required and has no schema is of the kind of all others
        others = {"additionalProperties": {"enum": [0, "x"]}, "maxProperties": len(properties) + 1}
        whole |= others | {"required": [*properties, "more"]}
    return whole


def _any_of(dice: Random, depth: int, names: tuple[str, ...]) -> Schema:
    return {"anyOf": [_value(dice, depth, names) for _ in range(dice.randint(2, 3))]}
