"""The defects. Each text must be in the package exactly once: a test says so when it no longer is."""

from tests.defects import defect

_SAVE = '"WHERE id = $1 AND user_id = $2 AND version = $3 RETURNING version"'
_TARGET = """
WITH target AS (
    SELECT stream_id FROM stream_projections WHERE stream_id = $1 AND ($2::uuid IS NULL OR user_id = $2)
),
changed AS (
    UPDATE stream_projections p
    SET dismissed_at = CURRENT_TIMESTAMP"""

REPOSITORIES = (
    defect("a save writes over another user's document", (_SAVE, _SAVE.replace("user_id = $2", "$2::uuid = $2"))),
    defect("a save writes over a newer version", (_SAVE, _SAVE.replace("version = $3", "$3::integer > 0"))),
    defect(
        "a restricted dismiss hides another user's conversation", (_TARGET, _TARGET.replace(" OR user_id", " OR $2"))
    ),
    defect(
        "a page repeats the last row of the one before",
        ("{'<' if self.descending else '>'} (", "{'<=' if self.descending else '>='} ("),
    ),
    defect(
        "a list is in the wrong order",
        ('f"-{name}" if self.descending else name', 'name if self.descending else f"-{name}"'),
    ),
    defect(
        "a list of several branches shows one after the other",
        ('sql[sql.rindex(" ORDER BY ") :]', 'sql[sql.rindex(" LIMIT ") :]'),
    ),
    defect(
        "a lost race for a name is an error",
        ('return "name" in self._given or self._patch', "return self._patch"),
    ),
    defect(
        "a change leaves updated_at as it was",
        ('"updated_at = GREATEST(p.updated_at, CURRENT_TIMESTAMP)"', '"updated_at = p.updated_at"'),
    ),
    defect(
        "a new plan keeps the old step count", ('self._given & {"plan", "step_count"}', 'self._given & {"step_count"}')
    ),
    defect(
        "the latch of the automatic import can be taken back",
        ("patch.model_fields_set - (set() if patch.gene_set_auto_imported else {_LATCH})", "patch.model_fields_set"),
        ("= p.gene_set_auto_imported OR {self._bind(", "= {self._bind("),
    ),
    defect(
        "a synchronisation changes what was dismissed",
        ("if is_dismissed or (is_seen and", "if (is_seen and"),
        ("AND (k.changed OR k.unseen) AND NOT k.dismissed", "AND (k.changed OR k.unseen)"),
    ),
    defect(
        "a synchronisation takes a name over although it was seen before",
        ("p.wdk_name <> g.wdk_name\n", "p.name <> g.wdk_name\n"),
        ("not strategy.name or seen == strategy.name", "False"),
    ),
    defect(
        "what was seen of one WDK strategy is taken for another's",
        ("AND p.wdk_name_of = g.wdk_strategy_id AND", "AND"),
    ),
    defect("a fold that changes the plan leaves its version as it was", ("THEN 1 ELSE 0 END, ", "THEN 0 ELSE 0 END, ")),
    defect(
        "a lease is renewed and ended with any token",
        (
            "id = $2 AND lease_token = $3 AND status = 'active' AND",
            "id = $2 AND $3::uuid IS NOT NULL AND status = 'active' AND",
        ),
    ),
)
ENGINE = (
    defect(
        "what failed inside a savepoint is kept",
        ('f"ROLLBACK TO SAVEPOINT {name}; RELEASE SAVEPOINT {name}"', 'f"RELEASE SAVEPOINT {name}"'),
    ),
    defect(
        "a unit of work that failed is committed",
        ("if exc_type is None and not transaction._finalized:", "if not transaction._finalized:"),
    ),
    defect(
        "an error of COMMIT is the driver's own",
        (
            "            raise self.translated(exc, phase, connection, generation) from exc\n        return status",
            "            if phase is Phase.COMMIT:\n                raise\n"
            "            raise self.translated(exc, phase, connection, generation) from exc\n        return status",
        ),
    ),
    defect(
        "a lost write counts as not saved",
        ("if phase in (Phase.AUTOCOMMIT_WRITE, Phase.COMMIT):", "if phase is Phase.COMMIT:"),
    ),
    defect("a swallowed error passes for a commit", ('if status == "ROLLBACK":', 'if status == "NEVER":')),
    defect(
        "a connection goes back with what was set in it",
        ("if not leaves_nothing(query):", 'if "SET" in query and not leaves_nothing(query):'),
    ),
)
EVENTS = (
    defect("what a caller asked for gives way to what the log says", ("return tag.startswith(WISH)", "return False")),
    defect("an entry is folded whatever came before it", ("if entry.position <= last:", "if entry.position == last:")),
    defect(
        "rows are brought up to date without a lock",
        ("= ANY ($1::uuid[]) ORDER BY p.stream_id FOR UPDATE", "= ANY ($1::uuid[]) ORDER BY p.stream_id"),
    ),
)
# What the law's machines (tests/integration/test_law.py) find without any other test, most of them in a minute:
#     python -m tests.defects "the law" -- -x -q tests/integration/test_law.py
# They look at random, so that one try may miss what the next finds, the last one above all: LAW=big, which takes longer
# than a test may here, looks until it is found: … -- -x -q -o faulthandler_timeout=3000 tests/integration/test_law.py
LAW = (
    defect(
        "the law: a patch is appended where something that projects follows the row's position",
        ("appends = there and position ~= '' and found and last and not projects()", "appends = there and found"),
    ),
    defect(
        "the law: a patch is appended where the log has lost the row's position",
        ("found and last and not projects()", "last and not projects()"),
    ),
    defect(
        "the law: a row may stand anywhere when what was read is folded",
        ("is_same = row.state.last_event_id == part.row.state.last_event_id", "is_same = row.position is not None"),
    ),
    defect(
        "the law: what was changed since the row was read counts as logged",
        ("if patched.get(column) != tag}", "if column not in patched}"),
    ),
    defect(
        "the law: any patch that names a column logs it",
        (
            "one in changes and self._is_said(one, changes[one], tags.get(one))",
            "one in changes",
        ),
    ),
    defect("the law: two statements have one tag", ("return kind + os.urandom(8).hex()", "return kind")),
    defect(
        "the law: a loss leaves no mark",
        ("message_count=count, lost=lost)", "message_count=count)"),
    ),
    defect(
        "the law: after a loss the row is not logged anew",
        ("unlogged=unlogged, message_count=count", "message_count=count"),
    ),
    defect(
        "the law: an event of a unit of work is appended again by who comes after the death of another",
        ("if fields[i] == 'key' or fields[i] == 'type' and", "if fields[i] == 'type' and"),
    ),
    defect(
        "the law: events of units of work stay when they are in the log",
        ('e.key = d.key"""', 'e.key = d.key AND d.key IS NULL"""'),
    ),
    defect(
        "the law: a conversation that loses its WDK strategy to another does not log it",
        ("unlogged={**holder.state.unlogged, **tags})", "unlogged=holder.state.unlogged)"),
    ),
    defect(
        "the law: the number of a taken name is not logged",
        ('unlogged={**state.unlogged, "name": new_tag(DECISION)})', "unlogged=state.unlogged)"),
    ),
    defect(
        "the law: a claim that a later page gives up is committed",
        ("if not at_end and part.claims and part.size < _MOST_WAITING:", "if False:"),
    ),
    defect(
        "the law: a log that is begun anew has ids before the row's position",
        ("<= tonumber(string.match(bound, '^%d+')) then id = bound end", "< 0 then id = bound end"),
    ),
    defect(
        "the law: messages from before a restore are counted after a loss",
        (
            "LogKey.stream(row.stream_id), None if after is None else Position.parse(after)):",
            "LogKey.stream(row.stream_id), None if after is None else None):",
        ),
    ),
)
OTHERS = (
    defect(
        "a job goes on when its lease is lost",
        ("if self._job.cancel():", "if reason is not _Stop.LOST and self._job.cancel():"),
    ),
    defect("two migrators work at once", ("SELECT pg_try_advisory_lock($1)", "SELECT pg_try_advisory_lock_shared($1)")),
    defect(
        "the check does not see what is missing",
        ("for name in expected if name not in live]", "for name in expected if name == live]"),
    ),
)
DEFECTS = (*REPOSITORIES, *ENGINE, *EVENTS, *LAW, *OTHERS)
