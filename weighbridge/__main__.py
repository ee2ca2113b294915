"""`python -m weighbridge` and the console script: the command line of `weighbridge.cli`."""

import os
import signal
import sys

from weighbridge import cli
from weighbridge.commands.plain_text import make_output_legible


def main() -> None:
    """Runs the command that the arguments name and ends the process. A reader that has seen enough ends it quietly."""
    make_output_legible()
    sys.argv[1:] = map(_as_utf8, sys.argv[1:])
    try:
        cli.main()
    except BrokenPipeError:
        _nobody_reads()
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            _nobody_reads()


def _as_utf8(argument: str) -> str:
    """What a terminal sent in UTF-8 to a process whose locale is another."""
    try:
        return os.fsencode(argument).decode() if "\udc80" <= max(argument, default="") <= "\udcff" else argument
    except UnicodeError:
        return argument


def _nobody_reads() -> None:
    """What `head` does to every program: no complaint, and the status that shells know."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter flushes again, and complains
    sys.exit(128 + signal.SIGPIPE)


if __name__ == "__main__":
    main()
