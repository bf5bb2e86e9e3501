"""Models of an application beside the store's, in the store's database: the app ``notes``."""

from tortoise import fields
from tortoise.models import Model

from veupath_store.models import User

APPS = {"notes": {"models": ["tests.support.notes"]}}


class Note(Model):
    id = fields.IntField(primary_key=True)
    user: fields.ForeignKeyRelation[User] = fields.ForeignKeyField(
        "store.User", related_name="own_notes", on_delete=fields.CASCADE
    )
    text = fields.TextField()

    class Meta:
        table = "notes"


__models__ = [Note]
