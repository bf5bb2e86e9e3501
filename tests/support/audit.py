"""A model of an application in another database: the app ``audit`` on the connection ``other``."""

from tortoise import fields
from tortoise.models import Model

from veupath_store.servers.database_url import parse_database_url

APPS = {"audit": {"models": ["tests.support.audit"], "default_connection": "other"}}


class Visit(Model):
    id = fields.IntField(primary_key=True)
    path = fields.TextField()

    class Meta:
        table = "visits"


def connections(url: str) -> dict[str, object]:
    """The connection, by Tortoise's own engine."""
    target = parse_database_url(url)
    (host, port), *_ = target.hosts
    credentials = {"host": host, "port": port, "user": target.user, "database": target.database}
    return {
        "other": {"engine": "tortoise.backends.asyncpg", "credentials": {**credentials, "password": target.password}}
    }
