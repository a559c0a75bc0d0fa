"""The command line: `vicinal encode`, `search`, `similarity`, `info`, `pack`, `eval`, `tune`, `golden`, `train`,
`distil`, `augment`, `adapt`, `models`, `cache`, `index`.

Commands import what they need when they run, so that `vicinal --help` loads no numerics.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType


def main() -> None:
    """Run the command that `sys.argv` asks for, and exit with its code.

    0 is success, 1 a failure that one line on stderr explains, 2 a wrong call, 130 an interruption.
    """
    signal.signal(signal.SIGTERM, _stop)
    for stream in (sys.stdout, sys.stderr):  # a terminal without some character shows its number, and nothing breaks
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="backslashreplace")
    try:
        from vicinal.cli.app import app

        app(prog_name="vicinal")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


def _stop(signum: int, frame: FrameType | None) -> None:
    """End by way of every `finally`, so that a terminated run leaves no file behind."""
    sys.exit(128 + signum)
