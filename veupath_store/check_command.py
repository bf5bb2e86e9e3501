"""``veupath-store check``: the command and what it shows."""

import asyncio
import json
import sys
from typing import Annotated, Final

import typer
from rich.console import Console

from veupath_store.check import check_deployment
from veupath_store.values import CheckReport, Finding, Level

EXIT_INCOMPLETE: Final = 1
"""Something could not be looked at."""

EXIT_FINDINGS: Final = 3
"""Everything was looked at, and something is to be mended."""

EXIT_CODES: Final = (
    "Exit codes: 0 all is well (warnings are, unless --strict); 1 something could not be looked at: a setting cannot "
    "be used, or a server does not serve; 2 the command line is wrong; 3 there are failures (with --strict, or "
    "warnings)."
)

_STYLES: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILURE: "bold red"}


def check_command(
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Let warnings fail, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document, and nothing else.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print warnings and failures only; nothing when all is well.")
    ] = False,
) -> None:
    """Look at the deployment: settings, servers, migrations, schema, timeouts, roles, connections, event log.

    Reads only, with the application's own settings and role. Each finding says what to do; none shows a password, a
    DSN or stored content. A server that does not answer costs VEUPATH_STORE_CONNECT_TIMEOUT (5 s), the log
    VEUPATH_STORE_LOG_TIMEOUT (5 s).

    --json prints {command, ok, complete, counts: {LEVEL: findings}, findings: [{name, level, message, details}]};
    a level is ok, warning or failure, details are lines of text, and complete tells whether everything could be looked
    at.
    """
    report = asyncio.run(check_deployment())
    well = report.is_well(strict=strict)
    if as_json:
        _print_json(report, well)
    else:
        _print_findings(report, quiet=quiet)
    if not report.complete:
        raise typer.Exit(EXIT_INCOMPLETE)
    if not well:
        raise typer.Exit(EXIT_FINDINGS)


def _print_json(report: CheckReport, well: bool) -> None:
    document = {
        "command": "check",
        "ok": well,
        "complete": report.complete,
        "counts": report.counts,
        "findings": [finding.model_dump(mode="json") for finding in report.findings],
    }
    # ASCII only, so that no encoding of the output can refuse it, and no terminal act on it.
    sys.stdout.write(json.dumps(document) + "\n")


def _print_findings(report: CheckReport, *, quiet: bool) -> None:
    shown = [finding for finding in report.findings if not (quiet and finding.level is Level.OK)]
    console = Console(soft_wrap=True, markup=False, highlight=False)
    width = max((len(finding.name) for finding in shown), default=0)
    for finding in shown:
        console.print(f"{finding.level:<8}", style=_STYLES[finding.level], end="")
        console.print(f" {finding.name:<{width}}  {_printable(finding.message)}")
        for line in _details(finding):
            console.print(f"{'':<9}{'':<{width}}    {_printable(line)}")
    if shown and not quiet:
        console.print(", ".join(f"{count} {level}" for level, count in report.counts.items()))


def _details(finding: Finding) -> tuple[str, ...]:
    """What is well needs no details, but for the servers."""
    return finding.details if finding.level is not Level.OK or finding.name == "hosts" else ()


def _printable(line: str) -> str:
    """Without line breaks and terminal codes, which the name of an object may hold."""
    return "".join(character if character.isprintable() else f"\\u{ord(character):04x}" for character in line)
