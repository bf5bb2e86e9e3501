"""The users table."""

from tortoise import fields
from tortoise.models import Model

from veupath_store import limits
from veupath_store.models.fields import NOW


class User(Model):
    """Somebody who owns conversations, sets and experiments."""

    id = fields.UUIDField(primary_key=True)
    # The login by an identity provider, an e-mail address for instance; unique, or null for a guest.
    external_id = fields.CharField(max_length=limits.EXTERNAL_ID, unique=True, null=True)
    created_at = fields.DatetimeField(db_default=NOW)

    class Meta:
        table = "users"
