"""The users table."""

from datetime import datetime
from uuid import UUID

from tortoise import BaseDBAsyncClient, fields
from tortoise.models import Model

from veupath_store.inputs import limits
from veupath_store.models.deletions import DELETE_USER
from veupath_store.models.fields import NO_COMMENTS, NOW


class User(Model):
    """Somebody who owns conversations, sets and experiments."""

    id: fields.Field[UUID] = fields.UUIDField(primary_key=True)
    # The login by an identity provider, an e-mail address for instance; unique, or null for a guest.
    external_id: fields.Field[str | None] = fields.CharField(max_length=limits.EXTERNAL_ID, unique=True, null=True)
    created_at: fields.Field[datetime] = fields.DatetimeField(db_default=NOW)

    _no_comments = NO_COMMENTS

    class Meta:
        table = "users"

    async def delete(self, using_db: BaseDBAsyncClient | None = None) -> None:
        """Delete the user, and remember the ids of what goes with them, as `UserRepository.delete` does.

        That one also waits for what is made at the same time.
        """
        await (using_db or self._choose_db(for_write=True)).execute_query(DELETE_USER, [self.pk])
