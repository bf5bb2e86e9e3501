"""The command line, ``veupath-store``: its libraries are an extra, ``pip install 'veupath-store[cli]'``."""

import sys
from typing import Final

from veupath_store.errors import StoreError

EXIT_FAILED: Final = 1
"""The command could not do what it was asked; the reason is on standard error."""


def main() -> None:
    """Run the command line.

    Raises:
        SystemExit: 0 when all is well, 1 when the store refuses or fails, 2 for a wrong command line.
    """
    try:
        from veupath_store.commands import application  # noqa: PLC0415 - its libraries are an extra
    except ImportError as exc:
        sys.exit(f"veupath-store needs its command line libraries ({exc.name}): pip install 'veupath-store[cli]'")
    try:
        application()
    except StoreError as exc:
        sys.stderr.write(f"{exc}\n")
        sys.exit(EXIT_FAILED)
