"""The value of the readiness check."""

from veupath_store.values.value import Value


class Readiness(Value):
    """Whether this process can serve, for a health endpoint.

    An event log that is away leaves a process ready, because what only reads goes on; so does a backlog. Alert on both.

    Attributes:
        ready: Whether the database answers, takes writes and has every migration that this version needs to start.
        database: Whether the database answers.
        writable: Whether it takes writes, and is neither a standby nor read-only; ``None`` where it does not answer.
        pending_migrations: Migrations that it lacks, those for after the deploy included; ``None`` where it does not
            answer.
        pool_size: Connections that are open.
        pool_in_use: Those of them that are in use.
        pool_max_size: Connections that may be open.
        log: Whether the event log answers; ``None`` where there is none.
        behind: Conversations whose rows are behind their logs and wait for the projection worker; ``None`` where the
            log does not answer.
        behind_seconds: For how long the first of them has waited (0 without one): what tells that no worker runs.
        log_is_shared: Whether another database uses the same Redis and `log_prefix`, or did within the last day, as the
            one that this one was restored from; ``None`` where that is not known.
        problem: The type of what went wrong, as ``UnavailableError``, the database's first; ``None`` where nothing did.
    """

    ready: bool
    database: bool
    writable: bool | None
    pending_migrations: tuple[str, ...] | None
    pool_size: int
    pool_in_use: int
    pool_max_size: int
    log: bool | None
    behind: int | None
    behind_seconds: float | None
    log_is_shared: bool | None
    problem: str | None
