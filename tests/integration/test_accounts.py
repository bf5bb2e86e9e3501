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


async def counts(user):
    found = {"users": await User.filter(id=user.id).count()}
    for owned in OWNED_TABLES:
        [row] = await execute(f"SELECT count(*) AS n FROM {owned.table} WHERE user_id = $1", user.id)
        found[owned.table] = row["n"]
    return found


async def exported(user_id, **given):
    return [json.loads(line) async for line in AccountRepository().export(user_id, **given)]


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


@pytest.mark.without_log
async def test_a_purge_deletes_everything_of_one_user_and_nothing_of_others(user, stranger):
    await furnish(user)
    await furnish(stranger)
    before = await counts(stranger)
    assert await counts(user) == before == FULL
    streams = sorted(await Stream.filter(user_id=user.id).values_list("id", flat=True))
    loose = await Operation.filter(user_id=user.id, stream_id=None).values_list("id", flat=True)
    with recorded(exactly=4):
        report = await AccountRepository().purge(user.id)
    assert report.deleted == {**FULL, "control_sets": 8}
    assert (report.released, report.dismissed, report.dry_run) == (8, 0, False)
    assert report.stream_ids == tuple(streams)
    assert report.operation_ids == tuple(loose)
    assert set((await counts(user)).values()) == {0}
    assert await counts(stranger) == before
    assert await ControlSet.filter(user_id=None, is_public=True).count() == 8


async def test_a_purge_of_one_site_leaves_the_other_site(user):
    await furnish(user)
    report = await AccountRepository().purge(user.id, site_id="toxodb")
    # A private control set of each conversation goes; a public one stays, ownerless.
    assert report.deleted == {**dict.fromkeys(FULL, 4), "users": 0, "document_ids": 0}
    left = await counts(user)
    assert left == {**{table: n // 2 for table, n in FULL.items()}, "users": 1, "operations": 5, "document_ids": 1}
    assert {item.site_id for item in await StreamRepository().list_projections(user.id)} == {"plasmodb"}


async def test_a_purge_may_dismiss_what_is_linked_to_wdk(user):
    await furnish(user)
    report = await AccountRepository().purge(user.id, mode=PurgeMode.DISMISS)
    assert (report.deleted["streams"], report.deleted["users"], report.dismissed) == (4, 0, 4)
    kept = await StreamRepository().list_dismissed_projections(user.id)
    assert len(kept) == 4
    assert all(item.wdk_strategy_id is not None and item.dismissed_reason == "purge" for item in kept)
    assert all(item.gene_set_id is None for item in kept)
    assert await StreamRepository().list_projections(user.id) == []
    assert (await counts(user))["operations"] == 0, "what was done for a conversation goes with what was said"


@pytest.mark.parametrize("site", [None, "toxodb"])
@pytest.mark.parametrize("mode", PurgeMode)
async def test_a_dry_run_tells_what_a_purge_does_and_changes_nothing(user, site, mode):
    await furnish(user)
    foreseen = await AccountRepository().purge(user.id, site_id=site, mode=mode, dry_run=True)
    assert foreseen.dry_run
    assert await counts(user) == FULL
    done = await AccountRepository().purge(user.id, site_id=site, mode=mode)
    assert foreseen.model_copy(update={"dry_run": False}) == done


@pytest.mark.parametrize("mode", PurgeMode)
async def test_a_purge_may_keep_the_account_and_its_login(store, mode):
    user = await UserRepository().create("ada@example.org")
    await furnish(user)
    foreseen = await AccountRepository().purge(user.id, mode=mode, dry_run=True, keep_account=True)
    report = await AccountRepository().purge(user.id, mode=mode, keep_account=True)
    assert foreseen.model_copy(update={"dry_run": False}) == report
    assert report.deleted["users"] == report.deleted["document_ids"] == 0
    kept = await UserRepository().get_or_create_by_external_id("ada@example.org")
    assert (kept.id, kept.created_at) == (user.id, user.created_at)
    left = {table: count for table, count in (await counts(user)).items() if count}
    rows = {} if mode is PurgeMode.DELETE else {"streams": 4, "stream_projections": 4}
    assert left == {"users": 1, "document_ids": 1, **rows}
    await StreamRepository().create(user.id, "plasmodb", name="anew")


async def test_a_save_that_comes_late_brings_nothing_back_to_an_account_that_is_kept(user):
    save = {"user_id": user.id, "site_id": "plasmodb", "name": "e", "status": "done", "data": {"n": 1}}
    experiment_id = uuid4()
    await ExperimentRepository().save(experiment_id, **save)
    await AccountRepository().purge(user.id, keep_account=True)
    for version in (0, 1):
        await refusal(StoreError, ExperimentRepository().save(experiment_id, **save, version=version))
    assert await ExperimentRow.filter(user_id=user.id).count() == 0


async def test_a_purge_in_a_session_is_part_of_it(user):
    await furnish(user)
    with pytest.raises(RuntimeError):
        async with async_session_factory() as session:
            await AccountRepository(session).purge(user.id)
            raise RuntimeError
    assert await counts(user) == FULL


async def test_nobody_purges_or_exports_another_user(user, stranger):
    await furnish(user)
    theirs = AccountRepository().for_user(stranger.id)
    for repository, owner in ((theirs, user.id), (AccountRepository(), uuid4())):
        await refusal(NotFoundError, repository.purge(owner))
        with pytest.raises(NotFoundError):
            [line async for line in repository.export(owner)]
    assert await counts(user) == FULL
    assert (await AccountRepository().for_user(stranger.id).purge(stranger.id)).deleted["users"] == 1


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
async def test_an_export_has_every_row_of_the_user_and_none_of_others(user, stranger):
    await furnish(user)
    await furnish(stranger)
    lines = [json.loads(line) async for line in AccountRepository().for_user(user.id).export(user.id)]
    found = {table: [line["row"] for line in lines if line["table"] == table] for table in FULL}
    assert {table: len(rows) for table, rows in found.items()} == FULL
    assert len(lines) == sum(FULL.values())
    assert lines[0]["table"] == "users"
    assert all(row["user_id"] == str(user.id) for table, rows in found.items() if table != "users" for row in rows)
    for owned in OWNED_TABLES:
        rows = await execute(
            f"SELECT to_jsonb(t) AS row FROM {owned.table} t WHERE user_id = $1 ORDER BY {owned.key}", user.id
        )
        assert found[owned.table] == [json.loads(row["row"]) for row in rows]


async def test_an_export_of_one_site_has_only_that(user):
    await furnish(user)
    lines = await exported(user.id, site_id="toxodb")
    assert {line["row"]["site_id"] for line in lines if "site_id" in line["row"]} == {"toxodb"}
    assert sum(line["table"] == "operations" for line in lines) == 4
    assert sum(line["table"] == "document_ids" for line in lines) == 0


@pytest.mark.without_log
async def test_an_export_takes_a_number_of_statements_that_follows_its_chunks(user):
    await furnish(user)
    with recorded(exactly=1 + 2 * len(OWNED_TABLES)):
        assert len(await exported(user.id)) == sum(FULL.values())
