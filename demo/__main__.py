"""``python -m demo [--data DIR]``: exits with 0 when the proof holds, 1 when it does not or the day breaks off."""

import argparse
import asyncio
import sys
from pathlib import Path

from demo.place import find_place
from demo.play import play
from demo.show import Show
from veupath_store import StoreError


def main() -> int:
    """Play the day.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m demo", description="A working day on the store.")
    parser.add_argument("--data", type=Path, metavar="DIR", help="data directory of the embedded server")
    arguments = parser.parse_args()
    show = Show()
    try:
        return 0 if asyncio.run(play(find_place(arguments.data), show)) else 1
    except StoreError as exc:
        show.say(f"The day broke off: {type(exc).__name__}: {exc}", style="bold red")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
