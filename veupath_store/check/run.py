"""The whole look, in order, and what to do when a part of it cannot be done."""

from collections.abc import Awaitable, Callable
from typing import Final

from veupath_store.check.hosts import about_hosts
from veupath_store.check.log import about_holder, about_log, about_losses
from veupath_store.check.probe import Probe, failure, probing, verdict
from veupath_store.check.roles import about_roles
from veupath_store.check.schema import about_schema
from veupath_store.check.sessions import about_sessions
from veupath_store.config import StoreSettings, unknown_variables
from veupath_store.errors import ConfigurationError, StoreError
from veupath_store.values.check import CheckReport, Finding, Level

_PARTS: Final[tuple[tuple[str, Callable[[Probe], Awaitable[list[Finding]]]], ...]] = (
    ("schema", about_schema),
    ("sessions", about_sessions),
    ("roles", about_roles),
    ("log losses", about_losses),
    ("log prefix", about_holder),
)


async def check_deployment(settings: StoreSettings | None = None) -> CheckReport:
    """Look at the settings, the servers, the schema, the sessions and the roles of a deployment.

    Reads only, on one connection to each host and one more, as the application's role. Of a host that does not answer
    `connect_timeout` is waited for, of all hosts at once.

    Returns:
        What was found. It never raises for what a deployment may have wrong.
    """
    try:
        settings = settings or StoreSettings()
    except ConfigurationError as exc:
        about = failure("settings", "They cannot be used: correct the environment.", str(exc).splitlines())
        return CheckReport(complete=False, findings=(about,))
    findings = [_about_settings()]
    complete = await _look_at_database(settings, findings)
    log_complete, about_it = await about_log(settings)
    return CheckReport(complete=complete and log_complete, findings=(*findings, *about_it))


def _about_settings() -> Finding:
    message = "This version ignores some variables; remove them, or upgrade."
    return verdict("settings", unknown_variables(), message, "They can be used.", Level.WARNING)


async def _look_at_database(settings: StoreSettings, findings: list[Finding]) -> bool:
    """Add what is found; whether everything could be looked at."""
    complete = True
    try:
        hosts = await about_hosts(settings)
        findings += hosts
        if any(finding.name == "hosts" and finding.level is Level.FAILURE for finding in hosts):
            return False
        for name, look in _PARTS:
            # A connection each: a question that fails takes its transaction with it.
            async with probing(settings) as probe:
                try:
                    findings += await look(probe)
                except ConfigurationError as exc:
                    # A privilege is missing; a later part says which, and which else.
                    complete = False
                    findings.append(failure(name, f"It could not be looked at: {exc}"))
                except StoreError as exc:
                    findings.append(failure(name, f"It could not be looked at: {exc}"))
                    return False
    except StoreError as exc:
        findings.append(failure("database", f"It could not be looked at: {exc}"))
        return False
    return complete
