"""Makes an API key: `python -m services.gateway.keys NAME [requests_per_minute=60 ...] >> FILE`.

The line for `--api-keys-file` goes to standard output; the key, which is kept nowhere, to standard error.
"""

import secrets
import sys
from collections.abc import Sequence

from services.gateway.keyring import NAME, PREFIX, SETTINGS, digest_of, quota_of
from services.gateway.rates import Quota
from shared.errors import ConfigError

USAGE = f"usage: python -m services.gateway.keys NAME [{'=N] ['.join(SETTINGS)}=N] >> FILE"
BITS = 256


def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0].startswith("-"):
        print(f"{USAGE}\nMakes a key: it is shown once, and a line that knows its digest is printed.", file=sys.stderr)
        return 0 if arguments and arguments[0] in ("-h", "--help") else 2
    name, *settings = arguments
    try:
        if not NAME.fullmatch(name):
            raise ConfigError("NAME must be 1 to 64 letters, digits, dots, dashes and underscores")
        quota_of(settings, Quota())
    except ConfigError as error:
        print(f"python -m services.gateway.keys: {error}", file=sys.stderr)
        return 2
    key = f"sk-{secrets.token_urlsafe(BITS // 8)}"
    print(f"the key of {name}, shown this once: {key}", file=sys.stderr)
    print(name, PREFIX + digest_of(key).hex(), *settings, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
