"""The whole look, in order, and what to do when a part of it cannot be done."""

from collections.abc import Awaitable, Callable
from typing import Final

from veupath_store.check.asking import Asked, asking, failure, well
from veupath_store.check.hosts import about_hosts
from veupath_store.check.log import about_log
from veupath_store.check.roles import about_roles
from veupath_store.check.schema import about_schema
from veupath_store.check.sessions import about_sessions
from veupath_store.config import StoreSettings
from veupath_store.errors import ConfigurationError, StoreError
from veupath_store.values.check import CheckReport, Finding, Level

_PARTS: Final[tuple[tuple[str, Callable[[Asked], Awaitable[list[Finding]]]], ...]] = (
    ("schema", about_schema),
    ("sessions", about_sessions),
    ("roles", about_roles),
)


async def check_deployment(settings: StoreSettings | None = None) -> CheckReport:
    """Look at the settings, the servers, the schema, the sessions and the roles of a deployment.

    Reads only, on one connection to each host and one more, as the application's role. Of a host that does not answer
    `connect_timeout` is waited for, of all hosts at once.

    Args:
        settings: Default: from the environment.

    Returns:
        What was found. It never raises for what a deployment may have wrong.
    """
    try:
        settings = settings or StoreSettings()
    except ConfigurationError as exc:
        about = failure("settings", "They cannot be used: mend the environment.", str(exc).splitlines())
        return CheckReport(complete=False, findings=(about,))
    findings = [well("settings", "They can be used.")]
    complete = await _look_at_database(settings, findings)
    log_complete, about_it = await about_log(settings)
    return CheckReport(complete=complete and log_complete, findings=(*findings, *about_it))


async def _look_at_database(settings: StoreSettings, findings: list[Finding]) -> bool:
    """Add what is found.

    Returns:
        Whether everything could be looked at.
    """
    try:
        hosts = await about_hosts(settings)
        findings += hosts
        if any(finding.name == "hosts" and finding.level is Level.FAILURE for finding in hosts):
            return False
        for name, look in _PARTS:
            # A connection each: a question that fails takes its transaction with it.
            async with asking(settings) as asked:
                try:
                    findings += await look(asked)
                except StoreError as exc:
                    findings.append(failure(name, f"It could not be looked at: {exc}"))
                    return False
    except StoreError as exc:
        findings.append(failure("database", f"It could not be looked at: {exc}"))
        return False
    return True
