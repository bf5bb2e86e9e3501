"""Bringing a WDK server's list of strategies into the table, and the names that this gives.

`_KNOWN` reads what is there, without locks: mostly nothing has changed, and that is all. `_ADD` inserts a list of which
nothing is there. For all else there is `_SYNC`, one statement for 1 to 1,000 strategies: it reads again (locking in the
order of the key, so that two syncs at once cannot deadlock), updates what differs, and inserts what is new under a free
name. Only when another writer takes one of those names or ids in the same moment is it sent again, for what is left.

A name is taken over when it is another one than that which was seen before (`wdk_name`, of the strategy `wdk_name_of`).
So a name that was given here stays until the WDK's own changes again. Where none was seen, as after a claim, it is only
remembered; a blank name is none.

`_SYNC` alone would do; it takes twice as long as the other two where they suffice (`make bench`).
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, Final, TypeAlias
from uuid import UUID

from pydantic import ConfigDict, TypeAdapter, ValidationError

from veupath_store.engine.races import ATTEMPTS, NAME_KEY, once_unique
from veupath_store.engine.statements import Statements
from veupath_store.errors import ConflictError, InvalidInputError, PruneRefusedError
from veupath_store.inputs import limits
from veupath_store.inputs.validation import first_mistake
from veupath_store.models import StreamProjection
from veupath_store.models.unlogged import DECISION, WISH, new_tag, tagged
from veupath_store.repositories.base import client_of
from veupath_store.repositories.free_names import free_names, numbered_in_sql
from veupath_store.repositories.queries import Condition, Prepared, Sql
from veupath_store.session.unit_of_work import Session
from veupath_store.values import DismissReason, SyncOutcome, SyncReport, WdkStrategy
from veupath_store.values.streams import DEFAULT_NAME


def _taken(name: str) -> str:
    """Whether a name is taken; it must be qualified, or it would mean the table's own column."""
    return (
        "EXISTS (SELECT FROM stream_projections taken WHERE taken.user_id = $1 AND taken.site_id = $2 "
        f"AND taken.name = {name})"
    )


_UPDATED: Final = ("record_type", "is_saved", "result_count", "step_count")
"""The columns that a sync updates, the name aside."""

_KNOWN: Final = Prepared[Any](
    lambda user_id, site_id, ids: (
        StreamProjection.filter(Condition("wdk_strategy_id = ANY ({})", ids), user_id=user_id, site_id=site_id)
        .annotate(
            is_dismissed=Sql("dismissed_at IS NOT NULL"),
            seen=Sql("CASE WHEN wdk_name_of = wdk_strategy_id THEN wdk_name END"),
        )
        .values("stream_id", "wdk_strategy_id", *_UPDATED, "is_dismissed", "seen")
    )
)

_GIVEN: Final = """given AS (
    SELECT * FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::boolean[], $8::integer[], $9::integer[])
        WITH ORDINALITY AS g(wdk_strategy_id, name, wdk_name, record_type, is_saved, result_count, step_count, position)
)"""


def _insertion(rows: str) -> str:
    """Insert rows of the columns of ``given`` and a ``stream_id``, with their streams; the first is the newest."""
    return f"""projection AS (
    INSERT INTO stream_projections
        (stream_id, user_id, site_id, name, wdk_name, wdk_name_of, record_type, wdk_strategy_id, is_saved, result_count,
         step_count, updated_at)
    SELECT stream_id, $1, $2, name, wdk_name, wdk_strategy_id, record_type, wdk_strategy_id, is_saved, result_count,
           step_count, CURRENT_TIMESTAMP - position * interval '1 microsecond'
    FROM {rows} ORDER BY wdk_strategy_id
    ON CONFLICT DO NOTHING
    RETURNING stream_id, wdk_strategy_id
),
stream AS (
    INSERT INTO streams (id, user_id, site_id) SELECT stream_id, $1, $2 FROM projection
)
SELECT wdk_strategy_id, stream_id, 'inserted' AS outcome FROM projection"""


_ALL_FREE: Final = (
    "NOT EXISTS (SELECT FROM stream_projections WHERE user_id = $1 AND site_id = $2 AND name = ANY ($4::text[]))"
)

_ADD: Final = f"""
WITH {_GIVEN},
{_insertion(f"(SELECT gen_random_uuid() AS stream_id, given.* FROM given WHERE {_ALL_FREE}) AS named")}"""
"""Arguments and rows as those of `_SYNC`; the names differ from each other. Where one of them is taken, or all lost a
race, there is no row."""

_NEW: Final = """(
        SELECT gen_random_uuid() AS stream_id, f.wdk_strategy_id, n.name, f.wdk_name, f.record_type, f.is_saved,
               f.result_count, f.step_count, f.position
        FROM fresh f JOIN named n ON n.wdk_strategy_id = f.wdk_strategy_id WHERE n.name IS NOT NULL
    ) AS free"""

_SYNC: Final = f"""
WITH RECURSIVE {_GIVEN},
known AS (
    SELECT p.stream_id, p.wdk_strategy_id, p.dismissed_at IS NOT NULL AS dismissed,
           (p.record_type, p.is_saved, p.result_count, p.step_count)
               IS DISTINCT FROM (g.record_type::varchar, g.is_saved, g.result_count, g.step_count) AS changed,
           g.wdk_name <> '' AND (p.wdk_name_of, p.wdk_name) IS DISTINCT FROM (g.wdk_strategy_id, g.wdk_name::varchar)
               AS unseen,
           g.wdk_name <> '' AND p.wdk_name_of = g.wdk_strategy_id AND p.wdk_name <> g.wdk_name
               AND p.name <> g.wdk_name AS renamed,
           g.position, g.wdk_name, g.record_type, g.is_saved, g.result_count, g.step_count
    FROM given g JOIN stream_projections p ON p.wdk_strategy_id = g.wdk_strategy_id
    WHERE p.user_id = $1 AND p.site_id = $2
    ORDER BY p.stream_id FOR UPDATE OF p
),
fresh AS (
    SELECT g.* FROM given g WHERE NOT EXISTS (SELECT FROM known k WHERE k.wdk_strategy_id = g.wdk_strategy_id)
),
-- A strategy takes its own name when that is free; the others of the same name are numbered.
unnamed AS (
    SELECT u.*, row_number() OVER (PARTITION BY u.name ORDER BY u.position) - 1 AS rank,
           count(*) OVER (PARTITION BY u.name) AS wanted
    FROM (
        SELECT wdk_strategy_id, name, position FROM fresh
        UNION ALL SELECT wdk_strategy_id, wdk_name, position FROM known WHERE renamed AND NOT dismissed
    ) u
),
base AS (
    SELECT name, max(wanted) AS wanted, {_taken("unnamed.name")} AS taken FROM unnamed GROUP BY name
),
-- Doubling finds a free number without reading the taken ones (see free_names.py); numbers below it may be free too,
-- but the ones from half of it on are enough to choose from.
gallop(name, number) AS (
    SELECT name, 1::bigint FROM base WHERE taken OR wanted > 1
    UNION ALL
    SELECT name, number * 2 FROM gallop
    WHERE number < 1000000000 AND {_taken(numbered_in_sql("gallop.name", "gallop.number"))}
),
candidate AS (
    SELECT base.name, c.number, row_number() OVER (PARTITION BY base.name ORDER BY c.number) - 1 AS rank
    FROM base
    CROSS JOIN LATERAL (
        SELECT greatest(max(number) / 2, 1) AS low, max(number) AS high FROM gallop WHERE gallop.name = base.name
    ) AS span
    CROSS JOIN LATERAL generate_series(span.low, span.high + 2 * base.wanted) AS c(number)
    WHERE NOT {_taken(numbered_in_sql("base.name", "c.number"))}
      AND NOT EXISTS (SELECT FROM base other WHERE other.name = {numbered_in_sql("base.name", "c.number")})
),
named AS (
    SELECT u.wdk_strategy_id,
           CASE WHEN u.rank = 0 AND NOT b.taken THEN u.name ELSE {numbered_in_sql("u.name", "c.number")} END AS name
    FROM unnamed u
    JOIN base b ON b.name = u.name
    LEFT JOIN candidate c ON c.name = u.name AND c.rank = u.rank - CASE WHEN b.taken THEN 0 ELSE 1 END
),
-- What is only seen changes nothing that anybody is shown, or that the log holds.
updated AS (
    UPDATE stream_projections p
    SET record_type = k.record_type, is_saved = k.is_saved, result_count = k.result_count, step_count = k.step_count,
        name = COALESCE(n.name, p.name),
        wdk_name = CASE WHEN k.unseen THEN k.wdk_name ELSE p.wdk_name END,
        wdk_name_of = CASE WHEN k.unseen THEN k.wdk_strategy_id ELSE p.wdk_name_of END,
        updated_at = CASE WHEN k.changed OR k.renamed
            THEN GREATEST(p.updated_at, CURRENT_TIMESTAMP) ELSE p.updated_at END,
        unlogged = p.unlogged || CASE WHEN k.changed THEN $10::jsonb ELSE '{{}}' END
            || CASE WHEN k.renamed THEN jsonb_build_object(
                   'name', CASE WHEN n.name = k.wdk_name THEN '{WISH}' ELSE '{DECISION}' END || $11::text)
               ELSE '{{}}' END
    FROM known k LEFT JOIN named n ON n.wdk_strategy_id = k.wdk_strategy_id
    WHERE p.stream_id = k.stream_id AND p.user_id = $1 AND (k.changed OR k.unseen) AND NOT k.dismissed
    RETURNING p.stream_id
),
{_insertion(_NEW)}
UNION ALL
SELECT wdk_strategy_id, stream_id,
       CASE WHEN dismissed THEN 'skipped' WHEN changed OR renamed THEN 'updated' ELSE 'unchanged' END
FROM known"""
"""``$1`` user, ``$2`` site, ``$3`` … ``$9`` arrays of the strategies' fields, each id once; ``$10`` tags for
`_UPDATED`, ``$11`` a tag without its kind for the name.
Returns one row for each strategy that is settled; those without a row lost a race and are to be sent again, as is all
of it when another writer takes a name that an update has chosen (`stream_projections_name_key`)."""

# No queryset updates what it counts, or returns a row. Locked in the order of their key, so that two prunings at once
# cannot deadlock.
_PRUNE: Final = f"""
WITH linked AS (
    SELECT stream_id, wdk_strategy_id FROM stream_projections
    WHERE user_id = $1 AND site_id = $2
      AND wdk_strategy_id IS NOT NULL AND dismissed_at IS NULL
    ORDER BY stream_id FOR UPDATE
),
orphaned AS (
    SELECT stream_id FROM linked
    WHERE NOT EXISTS (SELECT FROM unnest($3::bigint[]) AS live(id) WHERE live.id = linked.wdk_strategy_id)
),
counts AS (
    SELECT (SELECT count(*) FROM linked) AS linked, (SELECT count(*) FROM orphaned) AS orphaned
),
changed AS (
    UPDATE stream_projections p
    SET dismissed_at = CURRENT_TIMESTAMP, dismissed_reason = '{DismissReason.WDK_ORPHAN.value}',
        updated_at = GREATEST(p.updated_at, CURRENT_TIMESTAMP), unlogged = p.unlogged || $5::jsonb
    FROM orphaned, counts
    WHERE p.stream_id = orphaned.stream_id AND counts.orphaned <= counts.linked * $4::float8
    RETURNING p.stream_id
)
SELECT counts.linked, counts.orphaned, (SELECT array_agg(stream_id ORDER BY stream_id) FROM changed) AS dismissed
FROM counts"""

_Wanted: TypeAlias = dict[int, tuple[int, WdkStrategy]]
"""Strategies that are still to be settled, with their places in the list, by their WDK ids; in the list's order."""

_Settled: TypeAlias = dict[str, Any]
"""A `SyncedStrategy` by its fields: a report of 1,000 that is made at once takes half the time."""

_LIST: Final = TypeAdapter(list[WdkStrategy], config=ConfigDict(defer_build=True))


async def sync(
    session: Session | None, user_id: UUID, site_id: str, strategies: Sequence[WdkStrategy | Mapping[str, Any]]
) -> SyncReport:
    """Bring a list into the table: see `StreamRepository.sync_wdk`."""
    wanted, settled = _accepted(strategies)
    client = await client_of(session)
    if wanted:
        found = await _KNOWN.all(client, user_id=user_id, site_id=site_id, ids=list(wanted))
        settled += _unaffected(found, wanted)
    if wanted:
        are_new = wanted.keys().isdisjoint(row["wdk_strategy_id"] for row in found)
        settled += await _written(session, client, [user_id, site_id], wanted, are_new=are_new)
    return SyncReport.model_validate({"strategies": sorted(settled, key=itemgetter("position"))})


async def _written(
    session: Session | None, client: Statements, where: list[Any], wanted: _Wanted, *, are_new: bool
) -> list[_Settled]:
    """Write the strategies until each is settled."""
    settled: list[_Settled] = []
    savepoint = session.savepoint if session else nullcontext
    for statement in chain([_ADD] if are_new else [], repeat(_SYNC, ATTEMPTS)):
        rest = [strategy for _, strategy in wanted.values()]
        arguments = [*where, *_columns(rest, numbered=statement is _ADD)]
        if statement is _SYNC:
            arguments += [tagged(_UPDATED), new_tag("")]
            write = partial(client.execute_rows, _SYNC, arguments)
            rows = await once_unique(write, frozenset({NAME_KEY}), savepoint)
        else:
            rows = await client.execute_rows(_ADD, arguments)
        settled += [_settled(wanted, *row) for row in rows]
        if not wanted:
            return settled
    raise ConflictError("Other writers took every name that was tried.", constraint=NAME_KEY)


async def dismiss_orphans(
    client: Statements, user_id: UUID, site_id: str, live: Sequence[int], max_share: float
) -> list[UUID]:
    """Dismiss the conversations whose strategy is gone: see `StreamRepository.dismiss_wdk_orphans`."""
    tags = tagged(("dismissed_at", "dismissed_reason"))
    [row] = await client.execute_rows(_PRUNE, [user_id, site_id, live, max_share, tags])
    dismissed = list(row["dismissed"] or [])
    if row["orphaned"] and not dismissed:
        raise PruneRefusedError(linked=row["linked"], orphaned=row["orphaned"])
    return dismissed


def _accepted(strategies: Sequence[WdkStrategy | Mapping[str, Any]]) -> tuple[_Wanted, list[_Settled]]:
    """The strategies that can be kept, and the refusals."""
    if isinstance(strategies, str | bytes | bytearray | memoryview) or not isinstance(strategies, Sequence):
        raise InvalidInputError("strategies", "a list is needed")
    if len(strategies) > limits.SYNC:
        raise InvalidInputError("strategies", f"it must not have more than {limits.SYNC} items")
    wanted: _Wanted = {}
    refused: list[_Settled] = []
    for place, strategy in enumerate(_checked(list(strategies))):
        if isinstance(strategy, str):
            refused.append(_refused(place, None, strategy))
        elif strategy.wdk_strategy_id in wanted:
            refused.append(_refused(place, strategy.wdk_strategy_id, "wdk_strategy_id: it is in the list twice"))
        else:
            wanted[strategy.wdk_strategy_id] = place, strategy
    return wanted, refused


def _checked(items: list[object]) -> Sequence[WdkStrategy | str]:
    """The strategies; in the place of what is none, why it is none."""
    try:
        return _LIST.validate_python(items)
    except ValidationError:
        return [_checked_alone(item) for item in items]


def _checked_alone(item: object) -> WdkStrategy | str:
    try:
        return WdkStrategy.model_validate(item)
    except ValidationError as exc:
        return str(first_mistake(exc))


def _unaffected(found: Iterable[Any], wanted: _Wanted) -> list[_Settled]:
    """Settle what is dismissed, and what the table has (rows of `_KNOWN`) as the list has it: no longer wanted."""
    settled = []
    for stream_id, wdk_strategy_id, record_type, is_saved, result_count, step_count, is_dismissed, seen in found:
        _, strategy = wanted[wdk_strategy_id]
        is_kept = (
            strategy.result_count == result_count
            and strategy.step_count == step_count
            and strategy.is_saved == is_saved
            and strategy.record_type == record_type
        )
        is_seen = not strategy.name or seen == strategy.name
        if is_dismissed or (is_seen and is_kept):
            outcome = SyncOutcome.SKIPPED if is_dismissed else SyncOutcome.UNCHANGED
            settled.append(_settled(wanted, wdk_strategy_id, stream_id, outcome))
    return settled


def _settled(wanted: _Wanted, key: int, stream_id: UUID, outcome: str) -> _Settled:
    """What became of a strategy, which is no longer wanted then."""
    place, _ = wanted.pop(key)
    return {"position": place, "wdk_strategy_id": key, "outcome": outcome, "stream_id": stream_id}


def _refused(place: int, key: int | None, reason: str) -> _Settled:
    return {"position": place, "wdk_strategy_id": key, "outcome": SyncOutcome.REFUSED, "reason": reason}


def _columns(rows: Sequence[WdkStrategy], *, numbered: bool) -> list[list[Any]]:
    """The strategies' fields as one array a column, in the given order; their names made different if `numbered`."""
    names = [row.name or DEFAULT_NAME for row in rows]
    if numbered and len(set(names)) < len(names):
        renamed = dict(free_names(enumerate(names)))
        names = [renamed.get(place, name) for place, name in enumerate(names)]
    return [
        [row.wdk_strategy_id for row in rows],
        names,
        [row.name for row in rows],
        [row.record_type for row in rows],
        [row.is_saved for row in rows],
        [row.result_count for row in rows],
        [row.step_count for row in rows],
    ]
