"""Purge and export: everything of one user, whatever the table."""

import asyncio
import json
from uuid import uuid4

import pytest

from tests.support.calls import new_stream, refusal
from tests.support.documents import new_control_set
from tests.support.servers import until
from tests.support.statements import recorded
from veupath_store.errors import NotFoundError, StoreClosedError, StoreError, UnavailableError
from veupath_store.models import ControlSet, ExperimentRow, GeneSetRow, Operation, Stream, StreamProjection, User
from veupath_store.repositories import AccountRepository, ExperimentRepository, StreamRepository, UserRepository
from veupath_store.repositories.accounts import OWNED_TABLES
from veupath_store.session import async_session_factory
from veupath_store.values import PurgeMode


async def execute(sql, *values):
    return await User._meta.db.execute_rows(sql, list(values))


async def furnish(user):
    """Rows of every table on two sites, half of the conversations with a WDK strategy."""
    for number, site in enumerate(("plasmodb", "toxodb") * 4):
        gene_set = await GeneSetRow.create(user_id=user.id, site_id=site, name=f"g{number}", gene_ids=["a"])
        linked = {"wdk_strategy_id": number, "plan": {"root": None}} if number % 4 < 2 else {}
        stream = await new_stream(user, site, f"c{number}", gene_set_id=gene_set.id, **linked)
        await Operation.create(user_id=user.id, stream_id=stream, type="chat")
        await ExperimentRow.create(user_id=user.id, site_id=site, data={"n": number})
        for is_public in (True, False):
            await new_control_set(f"s{number}", site_id=site, is_public=is_public, user_id=user.id)
    await Operation.create(user_id=user.id, type="experiment")
    await execute("INSERT INTO document_ids (user_id, kind, id) VALUES ($1, 'experiments', $2)", user.id, uuid4())
    await execute(
        "INSERT INTO stream_events (user_id, stream_id, key, operation_id, type, data) "
        "SELECT user_id, id, gen_random_uuid(), '', 'user_message', '{}' FROM streams WHERE user_id = $1",
        user.id,
    )


@pytest.fixture
async def furnished(user):
    await furnish(user)
    return user


async def counts(user):
    found = {"users": await User.filter(id=user.id).count()}
    for owned in OWNED_TABLES:
        [row] = await execute(f"SELECT count(*) AS n FROM {owned.table} WHERE user_id = $1", user.id)
        found[owned.table] = row["n"]
    return found


async def exported(user_id, repository=None, **given):
    return [json.loads(line) async for line in (repository or AccountRepository()).export(user_id, **given)]


PARTS = dict.fromkeys(("streams", "stream_projections", "stream_events", "gene_sets", "experiments"), 8)
FULL = {**PARTS, "users": 1, "operations": 9, "control_sets": 16, "document_ids": 1}


async def test_every_table_with_a_user_is_in_the_inventory(store):
    rows = await execute(
        "SELECT c.relname AS table, a.attname AS column FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND a.attname LIKE '%user_id%' "
        "UNION SELECT conrelid::regclass::text, a.attname FROM pg_constraint "
        "JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = ANY (conkey) "
        "WHERE contype = 'f' AND confrelid = 'users'::regclass"
    )
    assert {(row["table"], row["column"]) for row in rows} == {(owned.table, "user_id") for owned in OWNED_TABLES}


# The private control set of each conversation goes; a public one stays, ownerless.
ALL = {**FULL, "control_sets": 8}
HALF = {**dict.fromkeys(FULL, 4), "users": 0, "document_ids": 0}
ACCOUNT = {"users": 0, "document_ids": 0}
TWO, FOUR = [dict.fromkeys(("streams", "stream_projections"), count) for count in (2, 4)]
TOXODB, DISMISS, KEEP = {"site_id": "toxodb"}, {"mode": PurgeMode.DISMISS}, {"keep_account": True}


@pytest.mark.parametrize(
    ("given", "deleted", "dismissed"),
    [
        pytest.param({}, ALL, 0, id="all"),
        pytest.param(TOXODB, HALF, 0, id="of one site"),
        pytest.param(DISMISS, {**ALL, **ACCOUNT, **FOUR}, 4, id="dismissing"),
        pytest.param({**TOXODB, **DISMISS}, {**HALF, **TWO}, 2, id="dismissing of one site"),
        pytest.param(KEEP, {**ALL, **ACCOUNT}, 0, id="but the account"),
        pytest.param({**KEEP, **DISMISS}, {**ALL, **ACCOUNT, **FOUR}, 4, id="dismissing, but the account"),
    ],
)
async def test_a_purge_does_what_it_reports_and_a_dry_run_foretells_and_nothing_to_others(
    furnished, stranger, given, deleted, dismissed
):
    await furnish(stranger)
    site = {} if "site_id" not in given else TOXODB
    streams = await Stream.filter(user_id=furnished.id, **site).order_by("id").values_list("id", flat=True)
    loose = await Operation.filter(user_id=furnished.id, stream_id=None).values_list("id", flat=True)
    purge = AccountRepository().purge
    foreseen = await purge(furnished.id, **given, dry_run=True)
    assert foreseen.dry_run
    assert await counts(furnished) == FULL
    report = await purge(furnished.id, **given)
    assert foreseen.model_copy(update={"dry_run": False}) == report
    assert (report.deleted, report.released, report.dismissed) == (deleted, deleted["control_sets"], dismissed)
    assert sorted([*report.stream_ids, *report.kept_ids]) == streams
    assert (len(report.kept_ids), report.operation_ids) == (dismissed, () if site else tuple(loose))
    gone = {**deleted, "control_sets": deleted["control_sets"] + report.released}
    assert await counts(furnished) == {table: FULL[table] - gone[table] for table in FULL}
    assert await counts(stranger) == FULL
    assert await ControlSet.filter(user_id=None, is_public=True).count() == report.released


async def test_a_purge_may_dismiss_what_is_linked_to_wdk(furnished):
    await AccountRepository().purge(furnished.id, mode=PurgeMode.DISMISS)
    kept = await StreamRepository().list_dismissed_projections(furnished.id)
    assert len(kept) == 4
    assert all(item.wdk_strategy_id is not None and item.dismissed_reason == "purge" for item in kept)
    assert all(item.gene_set_id is None for item in kept)
    assert await StreamRepository().list_projections(furnished.id) == []


async def test_a_purge_may_keep_the_account_and_its_login(store):
    user = await UserRepository().create("ada@example.org")
    await furnish(user)
    await AccountRepository().purge(user.id, keep_account=True)
    kept = await UserRepository().get_or_create_by_external_id("ada@example.org")
    assert (kept.id, kept.created_at) == (user.id, user.created_at)
    await StreamRepository().create(user.id, "plasmodb", name="anew")


async def test_a_save_that_comes_late_brings_nothing_back_to_an_account_that_is_kept(user):
    save = {"user_id": user.id, "site_id": "plasmodb", "name": "e", "status": "done", "data": {"n": 1}}
    experiment_id = uuid4()
    await ExperimentRepository().save(experiment_id, **save)
    await AccountRepository().purge(user.id, keep_account=True)
    for version in (0, 1):
        await refusal(StoreError, ExperimentRepository().save(experiment_id, **save, version=version))
    assert await ExperimentRow.filter(user_id=user.id).count() == 0


async def test_a_purge_in_a_session_is_part_of_it(furnished):
    with pytest.raises(RuntimeError):
        async with async_session_factory() as session:
            await AccountRepository(session).purge(furnished.id)
            raise RuntimeError
    assert await counts(furnished) == FULL


async def test_nobody_purges_or_exports_another_user(furnished, stranger):
    theirs = AccountRepository().for_user(stranger.id)
    for repository, owner in ((theirs, furnished.id), (AccountRepository(), uuid4())):
        await refusal(NotFoundError, repository.purge(owner))
        with pytest.raises(NotFoundError):
            [line async for line in repository.export(owner)]
    assert await counts(furnished) == FULL
    assert (await theirs.purge(stranger.id)).deleted["users"] == 1


async def test_a_purge_against_fifty_writers_leaves_nothing_and_reports_every_conversation(store):
    for round_ in range(3):
        user = await UserRepository().create()
        acknowledged = []

        async def write(number, user=user, acknowledged=acknowledged):
            while True:
                try:
                    stream = await StreamRepository().create(user.id, "plasmodb", name=f"w{number}")
                    acknowledged.append(stream.id)
                    await StreamRepository().update_projection(stream.id, name="renamed", wdk_strategy_id=number)
                except StoreClosedError as exc:  # the test has failed, and nobody would stop this any more
                    return exc
                except UnavailableError:
                    continue
                except StoreError as exc:
                    return exc

        writers = [asyncio.create_task(write(number)) for number in range(50)]

        async def are_busy(acknowledged=acknowledged, least=50 * (1 + round_)):
            return len(acknowledged) >= least

        await until(are_busy, within=10, what="all are writing")
        report = await AccountRepository().purge(user.id)
        errors = await asyncio.gather(*writers)
        assert all(isinstance(error, NotFoundError) for error in errors)
        assert set(acknowledged) <= set(report.stream_ids)
        assert set((await counts(user)).values()) == {0}
    assert await StreamProjection.all().count() == 0


@pytest.mark.without_log
async def test_an_export_has_every_row_of_the_user_and_none_of_others_in_a_few_statements(furnished, stranger):
    await furnish(stranger)
    mine = AccountRepository().for_user(furnished.id)
    with recorded(exactly=1 + 2 * len(OWNED_TABLES)):
        lines = await exported(furnished.id, mine)
    assert lines[0]["table"] == "users"
    assert {line["table"] for line in lines} == set(FULL)
    for table, key in [("users", "id"), *((owned.table, owned.key) for owned in OWNED_TABLES)]:
        owner = "id" if table == "users" else "user_id"
        sql = f"SELECT to_jsonb(t) AS row FROM {table} t WHERE {owner} = $1 ORDER BY {key}"
        rows = [json.loads(row["row"]) for row in await execute(sql, furnished.id)]
        assert len(rows) == FULL[table]
        assert [line["row"] for line in lines if line["table"] == table] == rows
    with recorded(exactly=4):
        await AccountRepository().purge(furnished.id)


async def test_an_export_of_one_site_has_only_that(furnished):
    lines = await exported(furnished.id, site_id="toxodb")
    assert {line["row"]["site_id"] for line in lines if "site_id" in line["row"]} == {"toxodb"}
    tables = [line["table"] for line in lines]
    assert (tables.count("operations"), tables.count("document_ids")) == (4, 0)
