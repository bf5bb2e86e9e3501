"""What aerich has recorded of the store's migrations, and what tables are there without a record.

Most often Tortoise's ``generate_schemas`` made those: bare tables, without the indexes, checks and triggers of the
migrations.
"""

from dataclasses import dataclass
from typing import Final

from veupath_store.engine import StoreClient
from veupath_store.errors import SchemaError
from veupath_store.schema.catalog import Fetch, expected_tables, read_catalog
from veupath_store.schema.names import APP

_NO_RECORD: Final = "aerich has no record of a migration of the store"

# What a generator makes of the models; an id that is no uuid is another application's, or an earlier layer's.
_GENERATED: Final = {"column users.id": "uuid NOT NULL", "column streams.user_id": "uuid NOT NULL"}

_AERICH: Final = """
SELECT to_regclass('aerich') IS NOT NULL AS there,
       ARRAY(SELECT name FROM unnest(ARRAY['app', 'version']) AS name
             EXCEPT SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('aerich') AND NOT attisdropped
             ORDER BY 1) AS lacking
"""

# Needs no privilege; a table that was emptied may count as one with rows until VACUUM.
_WRITTEN: Final = """
SELECT EXISTS (SELECT FROM pg_class WHERE relnamespace = $1::regnamespace AND relname = ANY ($2::text[])
               AND pg_relation_size(oid) > 0) AS written
"""

_DOCUMENT_IDS: Final = (
    "INSERT INTO {schema}.document_ids (user_id, kind, id) SELECT user_id, 'experiments', id FROM {schema}.experiments"
    " UNION ALL SELECT user_id, 'gene_sets', id FROM {schema}.gene_sets;"
)


def fetching(client: StoreClient) -> Fetch:
    """To read with a client; its errors are the store's."""
    return lambda query, *values: client.execute_rows(query, values)


async def recorded_migrations(fetch: Fetch) -> set[str]:
    """The store's migrations that aerich has recorded, also those that this version does not know. One or two reads.

    Raises:
        SchemaError: The table ``aerich`` is not aerich's.
    """
    [aerich] = await fetch(_AERICH)
    if not aerich["there"]:
        return set()
    if aerich["lacking"]:
        raise SchemaError(
            f"The table aerich is not one that aerich made: it lacks {' and '.join(aerich['lacking'])}. Rename it, or "
            "give the store a separate schema."
        )
    return {row["version"] for row in await fetch("SELECT version FROM aerich WHERE app = $1", APP)}


@dataclass(frozen=True)
class Unrecorded:
    """Tables that no migration made, or of which the record is lost: what to do, and what to type, in order."""

    message: str
    steps: list[str]


async def unrecorded_tables(fetch: Fetch, schema: str) -> Unrecorded | None:
    """What tables of the store's names are in a schema, quoted, where no migration is recorded. Two reads.

    ``None`` where there are none, and the migrations can begin.
    """
    live, every = await read_catalog(fetch, schema), expected_tables()
    tables = [name for name in every if f"table {name}" in live and name != "aerich"]
    if not tables:
        return None
    if len(tables) >= len(every) - 1:
        return Unrecorded(
            f"The tables are there, but {_NO_RECORD}: restore the rows of the table aerich from the same backup.", []
        )
    if not _GENERATED.items() <= live.items():
        return Unrecorded(
            f"Other tables have names that the store needs, and {_NO_RECORD}. Tables of the SQLAlchemy layer are taken "
            "over by 'veupath-store adopt'; beside any others, give the store a separate database or schema.",
            tables,
        )
    [row] = await fetch(_WRITTEN, schema, tables)
    return Unrecorded(
        "Tortoise's generate_schemas made the tables, without the migrations' indexes, checks and triggers. Leave "
        "generate_schemas out, stop the application, and as the tables' owner:",
        _way_out(schema, tables, written=row["written"]),
    )


def _way_out(schema: str, tables: list[str], *, written: bool) -> list[str]:
    named = [f"{schema}.{table}" for table in tables]
    again = [f"DROP TABLE {', '.join(named)};", "veupath-store migrate"]
    if not written:
        return again
    chosen = " ".join(f"--table='{name}'" for name in named)
    return [
        f'pg_dump --data-only --format=custom --file=rows.dump {chosen} "$DATABASE_URL"',
        *again,
        'pg_restore --data-only --single-transaction --dbname="$DATABASE_URL" rows.dump',
        _DOCUMENT_IDS.format(schema=schema),
    ]


async def refuse_unrecorded_tables(client: StoreClient, applied: set[str]) -> None:
    """Refuse to begin with the migrations where their tables are already.

    Raises:
        SchemaError: They are; it says what to do.
    """
    if applied:
        return
    [row] = await client.execute_rows("SELECT quote_ident(coalesce(current_schema(), 'public')) AS schema")
    found = await unrecorded_tables(fetching(client), row["schema"])
    if found is not None:
        raise SchemaError("\n".join([found.message, *found.steps]))
