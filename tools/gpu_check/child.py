"""One part of a section, in a process of its own: python -m tools.gpu_check.child SECTION PART SETTINGS KNOWN LIMIT FD.

Progress goes to stdout; what was found goes to the file descriptor FD, a JSON object in each line. The last one says
how it ended: {"end": ""}, or why it failed.
"""

import importlib
import json
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from tools.gpu_check.job import Failed, Job, to_line
from tools.gpu_check.settings import Settings


def main(section: str, part: str, settings: str, known: str, limit_s: str, descriptor: str) -> int:
    found = int(descriptor)

    def tell(message: dict[str, object]) -> None:
        os.write(found, to_line(message))

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that what was started is ended
    reason = ""
    try:
        from tools.gpu_check.card import open_card  # only now: a torch that cannot be imported is a reason too

        told = Settings.parse(settings)
        with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
            job = Job(told, part, open_card(dry=told.dry), Path(folder), json.loads(known), float(limit_s), tell)
            importlib.import_module(f"tools.gpu_check.sections.{section}").run(job)
    except Failed as error:
        reason = str(error)
    except Exception as error:
        traceback.print_exc()
        tell({"text": {"name": f"traceback of {section} {part}".strip(), "text": traceback.format_exc()}})
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    tell({"end": f"{part}: {reason}" if part and reason else reason})
    return 1 if reason else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
