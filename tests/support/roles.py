"""Roles of a test's own: they belong to the whole server, and are dropped with all that they have."""

from contextlib import asynccontextmanager
from uuid import uuid4

from tests.support.servers import running_server
from veupath_store.servers.database_url import parse_database_url

PASSWORD = "s3cr3t"


@asynccontextmanager
async def role(url: str, *grants: str, options: str = ""):
    """A role with a password, by the URL with which it connects to the same database.

    Args:
        url: The database, as its owner.
        grants: Statements about the role, which is ``{role}`` in them; run in that database.
        options: What else CREATE ROLE says.
    """
    server, database = running_server(url), parse_database_url(url).database
    name = f"veupath_store_test_{uuid4().hex[:12]}"
    await server.run(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}' {options}")
    try:
        await server.run(*(grant.format(role=name) for grant in grants), database=database)
        yield name, url_as(url, name)
    finally:
        await server.run(f"REASSIGN OWNED BY {name} TO CURRENT_USER", f"DROP OWNED BY {name}", database=database)
        await server.run(f"DROP ROLE {name}")


def url_as(url: str, name: str, password: str = PASSWORD) -> str:
    """The same database's URL for another role."""
    target = parse_database_url(url)
    host, port = target.hosts[0]
    if host.startswith("/"):
        return f"postgresql://{name}:{password}@/{target.database}?host={host}&port={port}"
    return f"postgresql://{name}:{password}@{host}:{port}/{target.database}"
