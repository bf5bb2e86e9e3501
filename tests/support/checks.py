"""What tests of `check_deployment` share."""

from tests.support.roles import PASSWORD
from veupath_store.check import check_deployment
from veupath_store.check.probe import probing
from veupath_store.config import StoreSettings
from veupath_store.values import CheckReport, Finding, Level

NOWHERE = f"postgresql://me:{PASSWORD}@127.0.0.1:1/db"
APPLICATION = (
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    "REVOKE INSERT, UPDATE, DELETE ON aerich FROM {role}",
)


async def check(url: str, **options) -> CheckReport:
    """The report; nothing in it shows the password."""
    report = await check_deployment(StoreSettings(database_url=url, **options))
    assert PASSWORD not in report.model_dump_json()
    return report


async def found(name: str, url: str, **options):
    """One finding's level, message and details."""
    return parts(by_name((await check(url, **options)).findings)[name])


async def assert_found(name: str, url: str, level: Level, said: str, **options) -> list[str]:
    """A finding has a level, and its message says something: all of it, if it ends with a full stop. Its details."""
    there, message, details = await found(name, url, **options)
    assert there is level
    assert said == message if said.endswith(".") else said in message
    return details


async def found_after(statements: str, look, settings: StoreSettings) -> dict[str, Finding]:
    """What a part of the check finds after some statements, which are rolled back."""
    async with probing(settings) as probe:
        await probe.connection.execute(statements)
        return by_name(await look(probe))


def by_name(findings) -> dict[str, Finding]:
    """Findings by their names, which are unique."""
    named = {finding.name: finding for finding in findings}
    assert len(named) == len(list(findings))
    return named


def parts(finding: Finding):
    """What there is to compare."""
    return finding.level, finding.message, list(finding.details)
