"""Reads one call, `{"name": "f", "arguments": {...}}`, as it comes: a state machine over characters (pure).

Only its head decides whether it is a call: known keys, a name, arguments that are an object. From the first brace of
the arguments on it is one whatever follows, and they are told as the model writes them, up to the brace that closes the
first: whether they are good JSON is for the client to see, as with OpenAI. Between two characters nothing is kept but
the place in the call and the depth of its brackets, so the work is linear in the text and needs no memory of it.
"""

from collections.abc import Callable

from services.detokenizer.seek import BLANKS

NAME, ARGUMENTS = "name", ("arguments", "parameters")  # Hermes and Llama 3 differ in the second
KEYS = frozenset((NAME, *ARGUMENTS, "id", "type"))
LONGEST_KEY = max(map(len, KEYS))
LONGEST_NAME = 64  # OpenAI's
FORBIDDEN = frozenset('\\"' + BLANKS)  # in names


class CallReader:
    """`over`: nothing more belongs to it; `complete`, if its last brace was closed."""

    __slots__ = (
        "_begun",
        "_depth",
        "_escaped",
        "_fresh",
        "_key",
        "_quoted",
        "_seen",
        "_take",
        "_word",
        "complete",
        "name",
        "over",
    )

    def __init__(self) -> None:
        self.name = ""
        self.over = False
        self.complete = False
        self._key = ""  # whose value comes
        self._seen: set[str] = set()
        self._word: list[str] = []  # of a key or a name, so far
        self._begun = False  # the arguments
        self._fresh: list[str] = []  # arguments that nobody has taken yet
        self._depth = 0  # of brackets in the arguments; 0 outside of them
        self._quoted = self._escaped = False
        self._take: Callable[[CallReader, str], bool] = CallReader._open  # the state

    @property
    def begun(self) -> bool:
        """It is a call for certain."""
        return self._begun and bool(self.name)

    def push(self, text: str) -> int:
        """Read on; how many characters were the call's. All of them, unless it is over."""
        at = 0
        while at < len(text) and not self.over:
            if self._depth:
                at = self._read_arguments(text, at)
            elif self._take(self, text[at]):
                at += 1
            else:
                self.over = True
        return at

    def arguments(self) -> str:
        """What is new of them."""
        fresh, self._fresh = "".join(self._fresh), []
        return fresh

    def _read_arguments(self, text: str, start: int) -> int:
        """As many characters as belong to them. `<` outside of a string is of no JSON: there begins the mark that ends
        a call whose braces were forgotten."""
        at = start
        while at < len(text) and self._depth:
            char = text[at]
            if self._quoted:
                self._pass_quoted(char)
            elif char == "<":
                self.over = True
                break
            elif char == '"':
                self._quoted = True
            else:
                self._depth += (char in "{[") - (char in "}]")
            at += 1
        self._fresh.append(text[start:at])
        return at

    def _pass_quoted(self, char: str) -> None:
        """A character of a string, whose end is a quote that no backslash stands before."""
        if self._escaped:
            self._escaped = False
        else:
            self._escaped, self._quoted = char == "\\", char != '"'

    # ---- states: what the next character is for; False if it does not belong here
    def _open(self, char: str) -> bool:
        if char == "{":
            self._take = CallReader._before_key
        return char == "{" or char in BLANKS

    def _before_key(self, char: str) -> bool:
        if char == '"':
            self._word, self._take = [], CallReader._in_key
            return True
        return char in BLANKS or self._close(char)

    def _in_key(self, char: str) -> bool:
        if char != '"':
            self._word.append(char)
            return len(self._word) <= LONGEST_KEY
        self._key, self._take = "".join(self._word), CallReader._behind_key
        if self._key not in KEYS:
            return False
        kind = ARGUMENTS[0] if self._key in ARGUMENTS else self._key
        fresh = kind not in self._seen
        self._seen.add(kind)
        return fresh

    def _behind_key(self, char: str) -> bool:
        if char == ":":
            self._take = CallReader._before_value
        return char == ":" or char in BLANKS

    def _before_value(self, char: str) -> bool:
        if char in BLANKS:
            return True
        if self._key in ARGUMENTS:
            if char == "{":
                self._begun, self._depth, self._take = True, 1, CallReader._behind_value
                self._fresh.append(char)
            return char == "{"
        self._word, self._quoted = [], True
        self._take = CallReader._in_name if self._key == NAME else CallReader._in_other
        return char == '"'

    def _in_name(self, char: str) -> bool:
        if char != '"':
            self._word.append(char)
            return char not in FORBIDDEN and len(self._word) <= LONGEST_NAME
        self.name, self._quoted, self._take = "".join(self._word), False, CallReader._behind_value
        return bool(self.name)

    def _in_other(self, char: str) -> bool:
        """A text that is passed over."""
        self._pass_quoted(char)
        if not self._quoted:
            self._take = CallReader._behind_value
        return True

    def _behind_value(self, char: str) -> bool:
        if char == ",":
            self._take = CallReader._before_key
        return char == "," or char in BLANKS or self._close(char)

    def _close(self, char: str) -> bool:
        self.over = self.complete = char == "}" and bool(self.name)
        return self.complete
