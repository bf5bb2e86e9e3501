"""Deleting conversations and users: in one statement their ids are remembered, for good, and the rows go.

`StreamRepository` and `UserRepository` send these, and so do the models' own ``delete``.
"""

from typing import Final

from veupath_store.inputs.legacy_ids import MAY_BE_ADOPTED

REMEMBER: Final = "ON CONFLICT (kind, id) DO UPDATE SET log_removed_at = NULL"
"""How an INSERT into ``deleted_ids`` ends: a log that shows up again is removed again."""

DELETE_STREAM: Final = f"""
WITH gone AS (
    DELETE FROM streams WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2) RETURNING user_id, id
),
remembered AS (
    INSERT INTO deleted_ids (kind, id)
    SELECT 'stream', id FROM gone
    UNION ALL SELECT 'operation', o.id FROM operations o JOIN gone ON o.user_id = gone.user_id AND o.stream_id = gone.id
              WHERE {MAY_BE_ADOPTED.format(id="o.id")}
    {REMEMBER}
)
SELECT id FROM gone"""
"""``$1`` the conversation, ``$2`` its owner or null. Its operations that may have logs are remembered, too."""

DELETE_USER: Final = f"""
WITH remembered AS (
    INSERT INTO deleted_ids (kind, id)
    SELECT 'stream', s.id FROM streams s WHERE s.user_id = $1
    UNION ALL SELECT 'operation', o.id FROM operations o
              WHERE o.user_id = $1 AND (o.stream_id IS NULL OR {MAY_BE_ADOPTED.format(id="o.id")})
    {REMEMBER}
)
DELETE FROM users WHERE id = $1"""
"""``$1`` the user, whose row should be locked by a statement before: what is made meanwhile is then seen."""
