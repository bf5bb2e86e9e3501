"""``veupath-store check``: the command and what it shows."""

import asyncio
from typing import Annotated, Final

import typer
from rich.text import Text

from veupath_store.check import check_deployment
from veupath_store.cli.console import EXIT_FAILED, EXIT_FINDINGS, Json, Quiet, console, print_json, print_line
from veupath_store.values import CheckReport, Level

_STYLES: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILURE: "bold red"}


def check_command(
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Let warnings fail, too.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look at the deployment: settings, servers, migrations, schema, timeouts, roles, connections, event log.

    Reads only, with the application's own settings and role. Each finding says what to do; none shows a password, a
    DSN or stored content. A server that does not answer costs VEUPATH_STORE_CONNECT_TIMEOUT (5 s), the log
    VEUPATH_STORE_LOG_TIMEOUT (5 s).

    Exits with 3 where there are failures, with --strict also where there are warnings; with 1 where something could not
    be looked at: a setting cannot be used, or a server does not serve.

    --json prints {command, ok, complete, counts: {LEVEL: findings}, findings: [{name, level, message, details}]};
    a level is ok, warning or failure, details are lines of text, and complete tells whether everything could be looked
    at.
    """
    report = asyncio.run(check_deployment())
    ok = report.is_well(strict=strict)
    if as_json:
        findings = [finding.model_dump(mode="json") for finding in report.findings]
        print_json("check", ok, {"complete": report.complete, "counts": report.counts, "findings": findings})
    else:
        _print_findings(report, quiet=quiet)
    if not report.complete:
        raise typer.Exit(EXIT_FAILED)
    if not ok:
        raise typer.Exit(EXIT_FINDINGS)


def _print_findings(report: CheckReport, *, quiet: bool) -> None:
    shown = [finding for finding in report.findings if not (quiet and finding.level is Level.OK)]
    width = max((len(finding.name) for finding in shown), default=0)
    for finding in shown:
        console().print(Text(f"{finding.level:<8}", style=_STYLES[finding.level]), end="")
        print_line(f" {finding.name:<{width}}  {finding.message}")
        # What is well needs no details, but for the servers.
        for line in finding.details if finding.level is not Level.OK or finding.name == "hosts" else ():
            print_line(f"{'':<9}{'':<{width}}    {line}")
    if shown and not quiet:
        print_line(", ".join(f"{count} {level}" for level, count in report.counts.items()))
