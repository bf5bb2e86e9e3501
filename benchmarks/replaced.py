"""The replaced layer, where SQLAlchemy is installed (``make bench`` installs it): its models and its two helpers.

Elsewhere this module is empty but for `INSTALLED`, and nobody calls the rest.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

INSTALLED: Final = find_spec("sqlalchemy") is not None

if TYPE_CHECKING or INSTALLED:
    import sqlalchemy as sa
    from sqlalchemy import orm

    from benchmarks.replaced_models import (
        ControlSet,
        ExperimentRow,
        GeneSetRow,
        Operation,
        Stream,
        StreamProjection,
        User,
    )

__all__ = [
    "INSTALLED",
    "ControlSet",
    "ExperimentRow",
    "GeneSetRow",
    "Operation",
    "Stream",
    "StreamProjection",
    "User",
    "free_name",
    "orm",
    "sa",
]


async def free_name(session: Any, user_id: UUID, site_id: str, wanted: str) -> str:  # noqa: ANN401 - an AsyncSession
    """A name that is free within a user and a site.

    Slow on purpose: the replaced layer read all names, by the thousand, to find a free one.
    """
    found = await session.scalars(
        sa.select(StreamProjection.name).where(StreamProjection.user_id == user_id, StreamProjection.site_id == site_id)
    )
    taken, name, number = set(found), wanted, 0
    while name in taken:
        number += 1
        name = f"{wanted} ({number})"
    return name
