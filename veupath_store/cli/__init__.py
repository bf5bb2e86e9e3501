"""The command line, ``veupath-store``: its libraries are an extra, ``pip install 'veupath-store[cli]'``."""

import sys


def main() -> None:
    """Run the command line.

    Raises:
        SystemExit: Always, with one of the exit codes of `veupath_store.cli.console`.
    """
    try:
        from veupath_store.cli.main import run  # noqa: PLC0415 - its libraries are an extra
    except ImportError as exc:
        sys.exit(f"veupath-store needs its command line libraries ({exc.name}): pip install 'veupath-store[cli]'")
    run()
