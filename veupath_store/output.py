"""How commands print: for people on a console, for programs as one JSON document."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console


def print_json(command: str, well: bool, report: Mapping[str, Any]) -> None:
    """Print one document.

    Args:
        command: Whose it is.
        well: Whether all is well.
        report: What else it holds.
    """
    # ASCII only, so that no encoding of the output can refuse it, and no terminal act on it.
    sys.stdout.write(json.dumps({"command": command, "ok": well, **report}) + "\n")


def console() -> Console:
    """Standard output, which takes every character."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")  # a locale without the characters of a name
    return Console()


def printable(line: str) -> str:
    """Without line breaks and terminal codes, which an event's type or the name of an object may hold."""
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in line)
