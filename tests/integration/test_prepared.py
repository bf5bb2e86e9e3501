"""Prepared querysets: what plain ones return, from SQL that is built once."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from tortoise.expressions import Q
from tortoise.functions import Count

from tests.support.statements import recorded
from veupath_store.integrations.testing import Factories
from veupath_store.models import ControlSet, ExperimentRow, GeneSetRow, Operation, Stream, StreamProjection, User
from veupath_store.repositories import OperationRepository, StreamRepository, UserRepository
from veupath_store.repositories.queries import CLOCK, Condition, Prepared, Sql, instances
from veupath_store.values import OperationType

DOCUMENTS = [{}, {"a": None}, {"text": "\u2028 é \U0001f600", "deep": [[1, 2.5, {"x": []}]]}, {"big": "x" * 5_000}]


async def filled(seed):
    """Rows of all kinds, with nulls, and what to look for."""
    chance, make = random.Random(seed), Factories()
    users = [await UserRepository().create(chance.choice([None, f"user {n}"])) for n in range(4)]
    for number in range(25):
        owner = chance.choice(users)
        stream = await make.stream(
            owner,
            chance.choice(["plasmodb", "toxodb"]),
            name=f"name {number % 7}",
            dismissed=chance.random() < 0.3,
            plan=chance.choice(DOCUMENTS),
            wdk_strategy_id=chance.choice([None, number]),
            wdk_strategy_id_set=True,
            record_type=chance.choice([None, "transcript"]),
            result_count=chance.randrange(5),
        )
        await make.experiment(owner, data=chance.choice(DOCUMENTS))
        chat = chance.random() < 0.5
        await OperationRepository().register(
            owner.id, OperationType.CHAT if chat else OperationType.BATCH, stream_id=stream.id if chat else None
        )
        await make.control_set(
            chance.choice([None, owner]),
            name=f"set {number}",
            positive_ids=[f"g{n}" for n in range(chance.randrange(4))],
            tags=chance.choice([None, ["a"], ["a", "b"]]),
            is_public=True,
        )
    await make.gene_set(users[0])
    return [user.id for user in users]


def shown(row):
    """All that an instance holds, and what of it is loaded besides."""
    if row is None:
        return None
    fields = row._meta.fields_db_projection
    held = {name: getattr(row, name) for name in fields}
    related = {name: shown(getattr(row, f"_{name}")) for name in row._meta.fk_fields | row._meta.o2o_fields
               if getattr(row, f"_{name}", None) is not None}  # fmt: skip
    flags = (row._saved_in_db, row._partial, row._custom_generated_pk)
    return type(row), {name: (type(value), value) for name, value in held.items()}, related, flags


EARLY = datetime(2020, 1, 1, tzinfo=UTC)
_OF_USER = {"user": UUID}
QUERIES = {
    "an id": (lambda user: User.filter(pk=user), _OF_USER),
    "a text": (lambda name: StreamProjection.filter(name=name).order_by("stream_id"), {"name": str}),
    "two of one kind": (
        lambda low, high: StreamProjection.filter(result_count__gte=low, result_count__lt=high).order_by("stream_id"),
        {"low": int, "high": int},
    ),
    "the same twice": (lambda user: Stream.filter(Q(user_id=user) | Q(id=user)).order_by("created_at", "id"), _OF_USER),
    "a time, and a constant": (
        lambda since: Operation.filter(created_at__gt=since, type="chat").order_by("-created_at", "id"),
        {"since": datetime},
    ),
    "a limit": (lambda most: ControlSet.all().order_by("name", "id").limit(most), {"most": int}),
    "a null in the condition": (
        lambda user: StreamProjection.filter(user_id=user, wdk_strategy_id__isnull=True).order_by("stream_id"),
        _OF_USER,
    ),
    "a join": (
        lambda user: StreamProjection.filter(user_id=user).select_related("stream").order_by("-updated_at", "name"),
        _OF_USER,
    ),
    "a join of a join": (
        lambda user: StreamProjection.filter(user_id=user).select_related("stream__user").order_by("stream_id"),
        _OF_USER,
    ),
    "an outer join": (
        lambda name: ControlSet.filter(name__gt=name).select_related("user").order_by("id"),
        {"name": str},
    ),
    "documents": (lambda user: ExperimentRow.filter(user_id=user).order_by("id"), _OF_USER),
    "a condition on what is joined": (
        lambda site, user: StreamProjection.filter(stream__site_id=site, stream__user__id=user).order_by("stream_id"),
        {"site": str, "user": UUID},
    ),
}


def values_of(kinds, users, chance):
    choices = {
        UUID: lambda: chance.choice([*users, uuid4()]),
        str: lambda: chance.choice(["name 3", "set 2", "plasmodb", "", "' OR 1=1 --", "$1"]),
        int: lambda: chance.randrange(1, 6),
        datetime: lambda: chance.choice([EARLY, datetime.now(UTC), datetime.now(UTC) - timedelta(milliseconds=50)]),
    }
    return {name: choices[kind]() for name, kind in kinds.items()}


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_prepared_and_plain_querysets_return_the_same(store, seed):
    users, chance = await filled(seed), random.Random(seed)
    client = await store.open()
    found = 0
    for name, (build, kinds) in QUERIES.items():
        prepared = Prepared(build)
        for _ in range(6):
            values = values_of(kinds, users, chance)
            plain = await build(**values)
            rows = await prepared.all(client, **values)
            assert [shown(row) for row in rows] == [shown(row) for row in plain], (name, values)
            first = await prepared.first(client, **values)
            assert shown(first) == shown(plain[0] if plain else None), (name, values)
            found += len(rows)
    assert found > 100


def state_of(row):
    """All that Tortoise keeps in an instance, with the types and time zones of the values."""
    return {name: (type(value), str(getattr(value, "tzinfo", "")), value) for name, value in vars(row).items()}


@pytest.mark.parametrize("model", [User, Stream, StreamProjection, ExperimentRow, ControlSet, Operation, GeneSetRow])
async def test_a_hydrated_instance_holds_what_tortoise_puts_into_one(store, model):
    await filled(4)
    client = await store.open()
    columns = ", ".join(model._meta.fields_db_projection.values())
    rows = await client.execute_rows(f"SELECT {columns} FROM {model._meta.db_table}")
    hydrated, plain = instances(model, rows), [model._init_from_db(**row) for row in rows]
    assert [state_of(row) for row in hydrated] == [state_of(row) for row in plain]
    assert rows
    assert hydrated[0]._await_when_save is not hydrated[-1]._await_when_save or len(rows) == 1
    await hydrated[0].save(update_fields=["created_at" if model is not StreamProjection else "updated_at"])


async def test_the_sql_is_built_once_and_sent_as_the_plain_querysets(store, user):
    built = []

    def build(user):
        built.append(user)
        return Stream.filter(user_id=user).order_by("id")

    prepared = Prepared(build)
    client = await store.open()
    with recorded() as sent:
        await build(user.id)
        for _ in range(3):
            await prepared.all(client, user=user.id)
    assert len(set(sent.statements)) == 1
    assert len(built) == 3  # the plain one, and twice with samples


@pytest.mark.parametrize(
    ("build", "given"),
    [
        (lambda user: User.filter(pk__in=[user] * (1 + user.int % 2)), {"user": uuid4()}),
        (lambda some: User.filter(external_id=None if some else ""), {"some": 1}),
        (lambda even: User.all().limit(5 + even % 2), {"even": 1}),
        (lambda name: User.filter(external_id__contains=name), {"name": "a"}),
        (lambda user: User.all(), {"user": uuid4()}),
        (lambda user: User.filter(pk=user).annotate(n=Count("streams")), {"user": uuid4()}),
        (lambda user: User.filter(pk=user).only("id"), {"user": uuid4()}),
        (lambda user: User.filter(pk=user).prefetch_related("streams"), {"user": uuid4()}),
        (lambda user: User.filter(pk=user, created_at__gt=EARLY), {"user": uuid4()}),
        (lambda one: StreamProjection.filter(Condition("step_count > {}", one)), {"one": 1.5}),
    ],
)
async def test_what_depends_on_its_values_or_is_more_than_a_list_of_rows_is_refused(store, build, given):
    with pytest.raises(TypeError):
        await Prepared(build).all(await store.open(), **given)


@pytest.mark.parametrize("values", [{}, {"user": None}, {"user": uuid4(), "more": 1}, {"other": uuid4()}])
async def test_values_that_are_missing_or_none_or_too_many_are_refused_before_anything_is_sent(store, values):
    by_id = Prepared(lambda user: User.filter(pk=user))
    client = await store.open()
    with recorded() as sent, pytest.raises(TypeError, match="argument"):
        await by_id.all(client, **values)
    assert sent.statements == []


async def test_constants_stand_in_the_text_as_they_are_and_values_do_not(store):
    odd = "it's \\ $1 \" {}"
    users = [await UserRepository().create(login) for login in (odd, "$1", "plain")]
    prepared = Prepared(
        lambda since: User.filter(external_id=odd, created_at__gt=since).exclude(external_id="x").limit(2)
    )
    with recorded() as sent:
        found = await prepared.all(await store.open(), since=EARLY)
    assert [row.id for row in found] == [users[0].id]
    assert "'it''s" in sent.statements[0]
    assert "LIMIT 2" in sent.statements[0]
    assert "$1" in sent.statements[0].replace(odd.replace("'", "''"), "")
    assert "$2" not in sent.statements[0]


async def test_rows_of_values_are_the_drivers_with_expressions_of_ours_in_them(store, user):
    await StreamRepository().create(user.id, "plasmodb", name="first")
    named = Prepared(
        lambda user: (
            StreamProjection.filter(user_id=user)
            .annotate(shouted=Sql("upper(name)"), when=CLOCK)
            .values("name", "shouted", "when")
        )
    )
    [row] = await named.all(await store.open(), user=user.id)
    assert list(row.keys()) == ["name", "shouted", "when"]
    assert (row["name"], row["shouted"]) == ("first", "FIRST")
    assert row["when"] > EARLY


async def test_an_array_is_one_value_however_long_it_is(store):
    users = [(await UserRepository().create(f"user {number}")).id for number in range(5)]
    by_ids = Prepared(lambda ids: User.filter(Condition("id = ANY ({})", ids)).order_by("external_id"))
    by_logins = Prepared(lambda names: User.filter(Condition("external_id = ANY ({})", names)))
    client = await store.open()
    with recorded() as sent:
        for wanted in ([], users[:1], users[1:4], [*users, uuid4()]):
            assert [row.id for row in await by_ids.all(client, ids=wanted)] == [one for one in users if one in wanted]
    assert len(set(sent.statements)) == 1
    assert [row.id for row in await by_logins.all(client, names=["user 2", "nobody"])] == [users[2]]
