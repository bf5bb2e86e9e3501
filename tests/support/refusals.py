"""How PostgreSQL refuses the store, and that everybody says the same of it."""

import os
import subprocess
import sys

import pytest

from tests.support.tls import PASSPHRASE, PASSWORD
from veupath_store import StoreSettings, close_db, init_db
from veupath_store.check import check_deployment
from veupath_store.engine.connect import connect, connect_arguments
from veupath_store.errors import ConfigurationError, StoreError, UnavailableError
from veupath_store.schema.migrations import migrate

STRANGER = 54_321
"""The number of a user that no machine knows."""


async def used(url: str, query: str = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"):
    """The answer to a query, over a connection of the store's."""
    settings = StoreSettings(database_url=url)
    connection = await connect(settings.target, 5, connect_arguments(settings, settings.target))
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def refused(url: str, **options: float) -> StoreError:
    """How `init_db` refuses; `migrate` and the check say the same, and nobody the password."""
    settings = StoreSettings(database_url=url, **options)
    with pytest.raises((ConfigurationError, UnavailableError)) as caught:
        await init_db(settings=settings)
    await close_db()
    with pytest.raises(type(caught.value)) as migrating:
        await migrate(settings)
    report = await check_deployment(settings)
    assert not report.complete
    [hosts] = [finding for finding in report.findings if finding.name == "hosts"]
    for said in (str(caught.value), str(migrating.value), report.model_dump_json()):
        assert PASSWORD not in said
        assert PASSPHRASE not in said
    if "no answer" not in str(caught.value):  # which names the seconds
        assert str(migrating.value) == str(caught.value)
        assert hosts.details == (str(caught.value),)
    return caught.value


async def assert_permanent(url: str, *parts: str) -> None:
    error = await refused(url)
    assert type(error) is ConfigurationError, error
    assert not [part for part in parts if part not in str(error)], error


async def assert_passing(url: str, *parts: str, **options: float) -> None:
    error = await refused(url, **options)
    assert isinstance(error, UnavailableError), error
    assert not [part for part in parts if part not in str(error)], error


def as_stranger(url: str, **environment: str) -> str:
    """What `init_db` says in a process of a user that the machine does not know."""
    if os.getuid() != 0:
        pytest.skip("only root can be another user")
    # Everything is imported before: Python may stand where that user may not look.
    program = f"""
import asyncio, concurrent.futures.thread, encodings.idna, getpass, os, pwd, ssl
from veupath_store import StoreSettings, close_db, init_db
from veupath_store.engine.connect import connect, connect_arguments

async def main(url):
    settings = StoreSettings(database_url=url)
    try:
        connection = await connect(settings.target, 5, connect_arguments(settings, settings.target))
        print(await connection.fetchval("SELECT 'connected as ' || current_user"))
    except Exception as exc:
        print(type(exc).__name__, exc)

os.setgroups([])
os.setgid({STRANGER})
os.setuid({STRANGER})
asyncio.run(main(os.environ.pop("URL")))
"""
    clean = {name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME", "LNAME")}
    finished = subprocess.run(
        [sys.executable, "-c", program],
        env={**clean, "URL": url, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert not finished.stderr, finished.stderr
    return finished.stdout.strip()
