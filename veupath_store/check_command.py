"""``veupath-store check``: the command and what it shows."""

import asyncio
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from veupath_store.check import check_deployment
from veupath_store.output import console, print_json, printable
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
    findings = [finding.model_dump(mode="json") for finding in report.findings]
    print_json("check", well, {"complete": report.complete, "counts": report.counts, "findings": findings})


def _print_findings(report: CheckReport, *, quiet: bool) -> None:
    shown = [finding for finding in report.findings if not (quiet and finding.level is Level.OK)]
    width, out = max((len(finding.name) for finding in shown), default=0), console()
    for finding in shown:
        out.print(Text(f"{finding.level:<8}", style=_STYLES[finding.level]), end="")
        _print_line(out, f" {finding.name:<{width}}  {printable(finding.message)}")
        for line in _details(finding):
            _print_line(out, f"{'':<9}{'':<{width}}    {printable(line)}")
    if shown and not quiet:
        _print_line(out, ", ".join(f"{count} {level}" for level, count in report.counts.items()))


def _print_line(out: Console, line: str) -> None:
    out.print(line, markup=False, highlight=False, soft_wrap=True)


def _details(finding: Finding) -> tuple[str, ...]:
    """What is well needs no details, but for the servers."""
    return finding.details if finding.level is not Level.OK or finding.name == "hosts" else ()
