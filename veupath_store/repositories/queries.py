"""Prepared querysets: a Tortoise queryset whose SQL is built once; and what SQL has and Tortoise has no word for.

    BY_LOGIN = Prepared[User](lambda login: User.filter(external_id=login).limit(1))

    user = await BY_LOGIN.first(client, login="ada@example.org")

Building the SQL of a queryset takes longer than PostgreSQL needs to answer it, and the SQL is the same each time but
for its values. So it is built twice, with two sets of sample values: where the two differ is a value's place, and where
anything else differs the queryset is refused, because its SQL depends on its values (``field__in`` does, on how many
there are). After that a call sends the text with its values, and makes instances of the rows (`instance`).

The queryset's own values, as ``"active"`` in ``filter(status="active")``, stand in the text as literals: bound, they
would lose a partial index in a generic plan (0.64 ms instead of 0.014).

It depends on nothing that changes: not on a connection, nor a session, nor the time. It is built at the first call,
because a model can make querysets only once Tortoise is initialised.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, Generic, TypeAlias, TypeVar
from uuid import UUID

from pypika_tortoise.context import SqlContext
from pypika_tortoise.terms import Criterion, ValueWrapper
from tortoise.expressions import Expression, Q, RawSQL, ResolveContext, ResolveResult
from tortoise.fields import JSONField, UUIDField
from tortoise.models import Model
from tortoise.query_utils import QueryModifier
from tortoise.queryset import QuerySet, UpdateQuery, ValuesQuery

from veupath_store.engine.statements import Statements

M = TypeVar("M", bound=Model)
T = TypeVar("T")

Convert: TypeAlias = Callable[[Any], Any]
Query: TypeAlias = QuerySet[Any] | ValuesQuery[Any] | UpdateQuery

_PLACE: Final = re.compile(r"\$\d+")


class Sql(Expression):
    """An expression, a constant of this package, for ``annotate``, ``update`` and the values of filters."""

    def __init__(self, sql: str) -> None:
        self._sql = sql

    def resolve(self, resolve_context: ResolveContext) -> ResolveResult:
        """The expression as a term."""
        del resolve_context
        return ResolveResult(term=RawSQL(self._sql))


CLOCK: Final = Sql("clock_timestamp()")
"""The server's time now, not that at which a transaction began."""


class Condition(Q):
    """A condition, a constant of this package, with ``{}`` in the place of each value."""

    def __init__(self, sql: str, *values: object) -> None:
        super().__init__()
        self._criterion = _Text(sql, values)

    def resolve(self, resolve_context: ResolveContext) -> QueryModifier:
        """The condition as a part of WHERE."""
        del resolve_context
        return QueryModifier(where_criterion=self._criterion)


class _Text(Criterion):
    def __init__(self, sql: str, values: Sequence[object]) -> None:
        super().__init__()
        self._sql, self._values = sql, [ValueWrapper(value) for value in values]

    def get_sql(self, ctx: SqlContext) -> str:
        return self._sql.format(*(value.get_sql(ctx) for value in self._values))


class Prepared(Generic[T]):
    """A queryset whose SQL is built once for each set of values that are given, and run with them.

    ``T`` is the model, or with ``values()`` whatever: a row is then the driver's record, in which JSON is text.

    Args:
        build: Makes the queryset from the values, which it takes by name: a ``UUID``, ``str``, ``int``, ``bool``,
            ``datetime`` or list of texts or ids. One that is ``None`` is not given, so that only an argument with a
            default may be. Of what a queryset can do it may use filters, ``select_related``, ``order_by``, ``limit``,
            ``values``, ``annotate`` together with ``values``, and ``update``. Several querysets are branches that
            exclude each other: each is read in the order of its own index and cut at the limit, then they are merged
            in the order of the first. With OR between them PostgreSQL would read and sort all rows.

    Raises:
        TypeError: At the first call: the SQL depends on the values, or a value does not reach the server as it is, or
            a value is missing, or the queryset uses something else.
    """

    def __init__(self, build: Callable[..., Query | Sequence[Query]]) -> None:
        self._build = build
        self._plans: dict[tuple[str, ...], _Plan] = {}

    async def first(self, client: Statements, **values: Any) -> T | None:  # noqa: ANN401
        """The first row, or ``None``. One statement, by a session's client or by the pool."""
        plan, given = self._planned(values)
        rows = await client.execute_rows(plan.sql, given)
        return plan.shown(rows)[0] if rows else None

    async def all(self, client: Statements, **values: Any) -> list[T]:  # noqa: ANN401
        """All rows, in the queryset's order. One statement."""
        plan, given = self._planned(values)
        return plan.shown(await client.execute_rows(plan.sql, given))

    async def count(self, client: Statements, **values: Any) -> int:  # noqa: ANN401
        """How many rows an ``update`` has changed. One statement."""
        plan, given = self._planned(values)
        return (await client.execute_query(plan.sql, given))[0]

    def _planned(self, values: dict[str, Any]) -> "tuple[_Plan, list[Any]]":
        given = {name: value for name, value in values.items() if value is not None}
        names = tuple(given)
        plan = self._plans.get(names)
        if plan is None:
            plan = self._plans[names] = self._made(given)
        return plan, list(given.values())

    def _made(self, given: dict[str, Any]) -> "_Plan":
        first, second = (_samples(given, turn) for turn in (0, 1))
        branches, others = (_branches(self._build(**samples)) for samples in (first, second))
        places = {(first[name], second[name]): f"${number}" for number, name in enumerate(given, start=1)}
        texts = [_text(branch, other, places) for branch, other in zip(branches, others, strict=True)]
        sql = texts[0]
        if len(texts) > 1:
            sql = " UNION ALL ".join(f"({text})" for text in texts) + sql[sql.rindex(" ORDER BY ") :]
        missing = [name for name, place in zip(given, places.values(), strict=True) if place not in _PLACE.findall(sql)]
        if missing:
            raise TypeError(f"the SQL of this queryset does not hold as it is: {', '.join(missing)}")
        return _Plan(sql, _parts(branches[0]) if isinstance(branches[0], QuerySet) else ())


def _branches(built: Query | Sequence[Query]) -> Sequence[Query]:
    return built if isinstance(built, Sequence) else [built]


def _samples(given: dict[str, Any], turn: int) -> dict[str, Any]:
    """A value of the same kind for each, that no queryset holds by itself."""
    return {name: _sample(value, turn * len(given) + at, turn) for at, (name, value) in enumerate(given.items())}


def _sample(value: object, number: int, turn: int) -> Any:  # noqa: ANN401 - of the same kind
    match value:
        case bool():
            return turn == 0
        case UUID():
            return UUID(int=0x7665_7570_6174_6800_0000_0000_0000_0000 + number)
        case int():
            return 1_900_000_000 + number
        case str():
            return f"veupath-store sample {number}"
        case datetime():
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=number)
        case list():
            return (f"veupath-store sample {number}",)
    raise TypeError(f"{type(value).__name__}: no queryset is prepared for such a value")


def _text(branch: Query, other: Query, places: dict[tuple[Any, Any], str]) -> str:
    """The SQL of a queryset, built with both samples, with the places of its values and its constants as literals."""
    (sql, values), (other_sql, others) = _sql(branch), _sql(other)
    if sql != other_sql:
        raise TypeError("the SQL of this queryset depends on its values")
    sent = {(_sent(first), _sent(second)): place for (first, second), place in places.items()}
    texts = []
    for pair in zip(map(_sent, values), map(_sent, others), strict=True):
        place = _literal(pair[0]) if pair[0] == pair[1] else sent.get(pair)
        if place is None:
            raise TypeError("the SQL of this queryset depends on its values, or does not hold them as they are")
        texts.append(place)
    return _PLACE.sub(lambda place: texts[int(place[0][1:]) - 1], sql)


def _sql(query: Query) -> tuple[str, list[Any]]:
    if isinstance(query, QuerySet) and (
        query._annotations or query._prefetch_map or query._fields_for_select or query._group_bys
    ):
        raise TypeError("of a list of rows, only filters, select_related, order_by and limit can be prepared")
    query._choose_db_if_not_chosen()
    query._make_query()
    sql, values = query.query.get_parameterized_sql()
    return sql, values


def _sent(value: Any) -> Any:  # noqa: ANN401 - of any kind
    """A value as Tortoise hands it over: a UUID as text. asyncpg takes both, and its own kind faster."""
    return str(value) if isinstance(value, UUID) else value


def _literal(value: object) -> str:
    match value:
        case bool() | int():
            return str(value).lower()
        case str():
            return "'" + value.replace("'", "''") + "'"
    raise TypeError(f"{type(value).__name__}: such a constant cannot stand in the text")


@dataclass(frozen=True, slots=True)
class _Part:
    """The columns of a row that are one model's."""

    model: type[Model]
    begin: int
    end: int
    path: tuple[str, ...]
    """The relations that lead to it; none for the queryset's own model."""


def _parts(queryset: QuerySet[Any]) -> tuple[_Part, ...]:
    parts, begin = [], 0
    for model, width, _, _, path in queryset._select_related_idx:
        parts.append(_Part(model, begin, begin + width, tuple(name for name in path if name is not None)))
        begin += width
    return tuple(parts)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was built."""

    sql: str
    parts: tuple[_Part, ...]
    """Of the models whose instances the rows become; none where they stay records."""

    def shown(self, rows: list[Any]) -> list[Any]:
        if not rows or not self.parts:
            return rows
        if len(self.parts) == 1:
            return instances(self.parts[0].model, rows)
        names = [name.rpartition(".")[2] for name in rows[0].keys()]  # noqa: SIM118 - of a record
        return [self._joined(names, row) for row in rows]

    def _joined(self, names: list[str], row: Any) -> Any:  # noqa: ANN401 - an asyncpg record
        """The instance of a row, with the related ones that the row holds, as Tortoise's own executor makes it."""
        made: dict[tuple[str, ...], Model | None] = {}
        for part in self.parts:
            values = row[part.begin : part.end]
            absent = part.path and not any(value is not None for value in values)  # the row of an outer join
            columns = zip(names[part.begin : part.end], values, strict=True)
            one = made[part.path] = None if absent else instance(part.model, columns)
            if part.path:
                owner = made[part.path[:-1]]
                if owner is not None:
                    object.__setattr__(owner, f"_{part.path[-1]}", one)
        return made[()]


# Tortoise's `Model._init_from_db` asks each field for each value, and sets each by `setattr`. Here it is settled once
# which columns need a conversion at all: documents, which are decoded, and times, which get Tortoise's time zone. The
# driver gives all others as the models have them. A hundred control sets take 0.15 ms instead of 0.45; tests compare
# the two, field by field.


def instances(model: type[M], rows: Sequence[Any]) -> list[M]:
    """An instance for each row: records that have all of the model's columns, and no others."""
    if not rows:
        return []
    names = tuple(rows[0].keys())
    return [instance(model, zip(names, row.values(), strict=True)) for row in rows]


def instance(model: type[M], columns: Iterable[tuple[str, Any]]) -> M:
    """An instance of the names and values of all of a model's columns, as the driver gives them."""
    made = model.__new__(model)
    state = made.__dict__
    state.update(columns)
    for name, convert in _conversions(model):
        value = state[name]
        if value is not None:
            state[name] = convert(value)
    state.update(_STATE)
    state["_await_when_save"] = {}
    return made


_STATE: Final = {"_partial": False, "_saved_in_db": True, "_custom_generated_pk": True}
"""What Tortoise notes in an instance that was read; that the store's keys are made by the client is the last."""


@cache
def _conversions(model: type[Model]) -> tuple[tuple[str, Convert], ...]:
    """The columns whose values the driver does not give as the model has them.

    Raises:
        TypeError: The model has what is not provided for here.
    """
    meta = model._meta
    if (
        meta.db_default_fields
        or meta.generated_db_fields
        or any(column != name for name, column in meta.fields_db_projection.items())
    ):
        raise TypeError(f"{model.__name__} has fields that Tortoise must read itself")
    return tuple(
        (name, field.decoder if isinstance(field, JSONField) else field.to_python_value)
        for _, name, field in meta.db_complex_fields
        if not isinstance(field, UUIDField)
    )
