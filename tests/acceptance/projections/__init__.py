"""`veupath-store projections`, as an operator and cron run it: other processes, on real servers."""

from tests.support.processes import BIN
from veupath_store import Event

COMMAND = (BIN / "veupath-store", "projections")
SECRET_NAME = "Unpublished kinases"
SECRET_PLAN = {"recordType": "transcript", "root": {"id": "a", "searchName": "GenesBySecretMotif", "parameters": {}}}


def said(count):
    """What a user says, so many times."""
    return [Event(type="user_message", data={"content": SECRET_NAME, "messageId": str(n)}) for n in range(count)]


async def set_column(watcher, stream_id, column, value):
    """Change a row past the store."""
    await watcher.execute(f"UPDATE stream_projections SET {column} = $2 WHERE stream_id = $1", stream_id, value)
