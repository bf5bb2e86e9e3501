"""What is compared before COMMIT: every row and its plain columns in SQL, some documents one by one."""

import json
from decimal import Decimal
from typing import Any, Final

from veupath_store.adoption.documents import DOCUMENTS, Document
from veupath_store.adoption.legacy import COLUMNS
from veupath_store.adoption.work import Work
from veupath_store.errors import InternalError

SAMPLE: Final = 200
"""Documents of each column that are compared one by one, at most."""

_MOST: Final = 1_000_000
"""Characters of a document that is compared."""

_KEYS: Final = {"stream_projections": "stream_id"}

_COUNTS: Final = ("message_count", "step_count", "result_count")

# Of the plain columns that are no ids, those that may not be the same in both, where the old one has a value.
_CHANGED: Final = {
    "gene_sets": {"source"},
    "stream_projections": {"name", "site_id", "wdk_strategy_id", "last_event_id", "root_step_id"},
    "operations": {"type", "status"},
}

_ROWS: Final = """
SELECT (SELECT count(*) FROM adopting_{table} WHERE place IS NOT NULL) AS staged,
       (SELECT count(*) FROM {table}) - (SELECT count(*) FROM adopting_{table}) AS surplus,
       count(*) FILTER (WHERE n.{key} IS NULL) AS lost,
       count(*) FILTER (WHERE {different}) AS different
FROM old_{table} o LEFT JOIN adopting_{table} a ON a.place = o.place LEFT JOIN {table} n ON n.{key} = a.id"""

_LARGEST: Final = f"octet_length(o.{{field}}::text) < {_MOST}"
_PAIRS: Final = f"""
SELECT o.{{field}}::text AS old, n.{{field}}::text AS new FROM (
    SELECT o.* FROM old_{{table}} o LEFT JOIN adopting_documents d
        ON d.entity = '{{table}}' AND d.field = '{{field}}' AND d.key = o.id
    WHERE d.key IS NULL AND json_typeof(o.{{field}}) = '{{type}}' AND {_LARGEST} LIMIT {SAMPLE}
) o JOIN adopting_{{table}} a ON a.place = o.place JOIN {{table}} n ON n.{{key}} = a.id"""


async def verify(work: Work) -> None:
    """Compare the new tables with the old ones.

    Raises:
        InternalError: A row is lost, is too many, or differs; the transaction must not commit.
    """
    for number, table in enumerate(COLUMNS):
        work.tell("comparing", number, len(COLUMNS))
        await _compare_rows(work, table)
    for document in DOCUMENTS:
        await _compare_documents(work, document)
    work.tell("comparing", len(COLUMNS), len(COLUMNS))


async def _compare_rows(work: Work, table: str) -> None:
    different = " OR ".join(
        f"(o.{name} {kept} AND n.{name} IS DISTINCT FROM o.{name})"
        for name, column in COLUMNS[table].items()
        if column.type not in ("id", "json") and name not in _CHANGED.get(table, ())
        for kept in (">= 0" if table == "stream_projections" and name in _COUNTS else "IS NOT NULL",)
    )
    key = _KEYS.get(table, "id")
    found = await work.connection.fetchrow(_ROWS.format(table=table, key=key, different=different))
    made = await work.connection.fetchval("SELECT count(*) FROM users WHERE id NOT IN (SELECT id FROM adopting_users)")
    surplus = found["surplus"] - (made if table == "users" else 0)
    if surplus or found["lost"] or found["different"] or found["staged"] != work.rows[table]:
        raise InternalError(
            f"The adopted table {table} is not what it should be: {surplus} rows too many, {found['lost']} lost, "
            f"{found['different']} different, {found['staged']} of {work.rows[table]} matched. Nothing was changed."
        )


async def _compare_documents(work: Work, document: Document) -> None:
    query = _PAIRS.format(
        table=document.table,
        field=document.field,
        key=_KEYS.get(document.table, "id"),
        type=document.type or "object",
    )
    async for rows in work.batches(query, SAMPLE):
        if any(_value(row["old"]) != _value(row["new"]) for row in rows):
            raise InternalError(
                f"A document of {document.table}.{document.field} is not what it was. Nothing was changed."
            )


def _value(text: str) -> Any:  # noqa: ANN401 - a JSON value
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)
