"""The embedded PostgreSQL server, for development."""

from dataclasses import replace

from veupath_store.servers.database_url import DEFAULT_PORT, DatabaseTarget


def start_embedded(target: DatabaseTarget) -> DatabaseTarget:
    """As `EmbeddedServer.join`; it takes about a second when the directory is new.

    Returns:
        The same target with the running server's socket directory as its host; that of a running server as it is.
    """
    if target.embedded is None:
        return target
    from veupath_store.servers.postgres import EmbeddedPostgres  # noqa: PLC0415 - for development only, and for Unix

    reached = EmbeddedPostgres(target.embedded).join()
    return replace(target, hosts=((str(reached), DEFAULT_PORT),), embedded=None)
