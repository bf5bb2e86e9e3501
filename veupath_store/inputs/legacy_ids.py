"""Ids of the SQLAlchemy layer that were no UUIDs, and the UUIDs that stand for them since a database was adopted."""

import re
from typing import Final
from uuid import UUID, uuid5

ADOPTION_NAMESPACE: Final = UUID("7f0c1d0a-3d6b-5b7e-9a43-5d5f6c1e2b90")
"""The namespace of every derived id. It never changes: ids that were given out would find nothing."""

MAY_BE_ADOPTED: Final = "substr({id}::text, 15, 1) = '5'"
"""In SQL, whether an id is of version 5, and so may stand for an old one, under which there may be a log."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def adopted_id(legacy_id: str) -> UUID:
    """The id that a row of the SQLAlchemy layer has in the store. Pure; about two microseconds.

    Args:
        legacy_id: The id as that layer wrote it: ``exp_0123456789ab``, ``op_0123456789ab``, or a UUID.

    Returns:
        The UUID itself where the text is one in its usual form of 36 characters; else the UUID of version 5 that the
        text has in `ADOPTION_NAMESPACE` (RFC 9562, section 5.5).
    """
    return UUID(legacy_id) if _UUID.fullmatch(legacy_id) else uuid5(ADOPTION_NAMESPACE, legacy_id)
