"""One database for many tests, as new before each: emptied, and made anew when a test has changed more than rows.

A copy of the template takes 190 ms on the embedded server and 16 on a running one; emptying takes 3 to 6. TRUNCATE
takes 50 and 30: it makes new files. A transaction that is rolled back would save two more milliseconds, and is not
offered: each unit of work has a connection and a transaction of its own, so that within one of the test's they would
see nothing of each other, could not wait for each other's locks, and would not commit; and ``CURRENT_TIMESTAMP``
would stand still.
"""

from typing import Any, Final

from veupath_store.integrations.testing.server import DatabaseServer

# Those whom an earlier test left behind: what they would still write is not wanted any more.
_END_OTHERS: Final = """
SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""

# Every change of a definition writes its row in a catalog anew, and so changes its xmin; VACUUM and ANALYZE do not.
_FIRST_OF_USERS: Final = 16_384
_CATALOGS: Final = {
    "pg_attribute": "attrelid",
    "pg_attrdef": "oid",
    "pg_class": "oid",
    "pg_constraint": "oid",
    "pg_extension": "oid",
    "pg_policy": "oid",
    "pg_proc": "oid",
    "pg_rewrite": "oid",
    "pg_trigger": "oid",
    "pg_type": "oid",
}
_ROWS: Final = " UNION ALL ".join(
    f"SELECT '{catalog} ' || {oid} || ' ' || xmin AS one FROM {catalog} WHERE {oid} >= {_FIRST_OF_USERS}"
    for catalog, oid in _CATALOGS.items()
)
_FINGERPRINT: Final = f"""
SELECT md5(string_agg(one, ',' ORDER BY one COLLATE "C")) FROM (
    {_ROWS}
    UNION ALL SELECT 'pg_namespace ' || oid || ' ' || xmin FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'
    UNION ALL SELECT 'setting ' || setrole || setconfig::text FROM pg_db_role_setting s JOIN pg_database d
        ON d.oid = s.setdatabase WHERE d.datname = current_database()
    UNION ALL SELECT 'migration ' || id || content::text FROM aerich
) rows"""

# Whoever may, switches the foreign keys off meanwhile; others need TRUNCATE. The values of sequences are set back,
# except for that of the table that lists the migrations, which keeps its rows.
_EMPTY: Final = """
DO $$
DECLARE
    tables text[] := ARRAY(
        SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.oid <> 'aerich'::regclass
          AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%');
    name text;
BEGIN
    IF current_setting('is_superuser')::boolean THEN
        SET LOCAL session_replication_role = replica;
        FOREACH name IN ARRAY tables LOOP EXECUTE 'DELETE FROM ' || name; END LOOP;
    ELSE
        EXECUTE 'TRUNCATE ' || array_to_string(tables, ', ') || ' CASCADE';
    END IF;
    PERFORM setval(seqrelid::regclass, seqstart, false) FROM pg_sequence
    WHERE seqrelid <> pg_get_serial_sequence('aerich', 'id')::regclass;
END $$"""


class SharedDatabase:
    """The database that the tests of one process have one after the other, a copy of the template."""

    def __init__(self, server: DatabaseServer, template: str) -> None:
        self._server = server
        self._template = template
        self._name: str | None = None
        self._fingerprint = ""

    def cleaned(self) -> str:
        """Make it as new, and return its name; another one when the schema was changed."""
        if self._name is None or not self._server.run(self._emptied):
            self.drop()
            self._name = self._server.create(self._template)
            self._server.run(self._look)
        return self._name

    async def _emptied(self) -> bool:
        """Whether it could be; after a change of the schema it is given up."""
        connection = await self._connection()
        await connection.execute(_END_OTHERS)
        if await connection.fetchval(_FINGERPRINT) != self._fingerprint:
            return False
        await connection.execute(_EMPTY)
        if not await connection.fetchval("SELECT current_setting('is_superuser')::boolean"):
            await self._look()  # TRUNCATE looks like a change
        return True

    async def _look(self) -> None:
        self._fingerprint = await (await self._connection()).fetchval(_FINGERPRINT)

    async def _connection(self) -> Any:  # noqa: ANN401 - an asyncpg connection
        return await self._server.connection(self._name)

    def drop(self) -> None:
        """Drop it, if there is one."""
        name, self._name = self._name, None
        if name is not None:
            self._server.drop(name)
