"""The value of the readiness check."""

from pydantic import BaseModel, ConfigDict


class Readiness(BaseModel):
    """Whether this process can serve, for a health endpoint.

    Attributes:
        ready: Whether the database answers and has every migration that this version needs to start.
        database: Whether the database answers.
        pending_migrations: Migrations that it lacks, those for after the deploy included; ``None`` where it does not
            answer.
        pool_size: Connections that are open.
        pool_in_use: Those of them that are lent.
        pool_max_size: Connections that may be open.
        problem: The type of what went wrong, as ``UnavailableError``; ``None`` where nothing did.
    """

    model_config = ConfigDict(frozen=True)

    ready: bool
    database: bool
    pending_migrations: tuple[str, ...] | None
    pool_size: int
    pool_in_use: int
    pool_max_size: int
    problem: str | None
