"""Every parameter of every public method meets every hostile value.

Each value is refused by a typed error that names the parameter, before any SQL; or it is taken, and what was stored
reads back unchanged. The matrix is found by looking at the repositories: a new method or parameter without an entry
in `tests.support.hostile_tables` and `hostile_readers` fails. What is right comes from `tests.support.cases`.
"""

from contextlib import suppress
from uuid import UUID, uuid4

import pytest
import tortoise.context

from tests.support.calls import refusal
from tests.support.hostile import Spiteful, only_a_plan, refused_documents
from tests.support.hostile_matrix import arguments_of, bound, call, kind_of, names, right_arguments, shown, trials
from tests.support.hostile_readers import LOOKING, STORING
from tests.support.hostile_tables import GENE_IDS, STRATEGY_FIELDS
from tests.support.public import owned_repositories, public_methods, repositories
from tests.support.statements import recorded
from tests.support.world import make_world
from veupath_store import (
    ControlSetRepository,
    ExperimentRepository,
    GeneSetRepository,
    InvalidInputError,
    StreamRepository,
    UnavailableError,
    UserRepository,
    async_session_factory,
    close_db,
    session,
)
from veupath_store.engine import StoreClient
from veupath_store.engine.announcing import Announcer
from veupath_store.errors import PruneRefusedError
from veupath_store.inputs import limits
from veupath_store.repositories.stream_sql import ProjectionUpdate
from veupath_store.values import ControlSetPatch, ProjectionPatch, SyncOutcome, WdkStrategy
from veupath_store.values.streams import DEFAULT_NAME

GIVEN = {"user_id": UUID(int=1), "site_id": "plasmodb", "name": "n"}
SAVES = {
    "plan": lambda it: StreamRepository().update_projection(uuid4(), plan=it),
    "data": lambda it: ExperimentRepository().save(uuid4(), status="pending", data=it, **GIVEN),
    "parameters": lambda it: GeneSetRepository().save(uuid4(), gene_ids=[], parameters=it, **GIVEN),
    "data.f": lambda it: ExperimentRepository().patch_field(uuid4(), "f", it),
}
REFUSED = [pytest.param(*it, id=str(number)) for number, it in enumerate(refused_documents())]


@pytest.fixture
def smaller(monkeypatch):
    monkeypatch.setattr(limits, "GENE_IDS", GENE_IDS)


@pytest.fixture
def statements(monkeypatch):
    """What was asked of the server: statements, and connections that were acquired.

    Workers elsewhere are not told of work, which would be asked by itself a moment later.
    """
    monkeypatch.setattr(Announcer, "hear", lambda self, topic: None)
    acquire = StoreClient.acquire
    with recorded() as sent:

        async def counted(client):
            sent.statements.append("a connection")
            return await acquire(client)

        monkeypatch.setattr(StoreClient, "acquire", counted)
        yield sent.statements


@pytest.fixture
async def no_server(monkeypatch):
    """A store that cannot send anything: whatever comes as far as SQL is `UnavailableError`."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/nothing")
    monkeypatch.setattr(session, "_process", session._Process())
    await refusal(UnavailableError, UserRepository().get_by_id(uuid4()))
    yield
    await close_db()


@pytest.mark.parametrize("repository", repositories())
async def test_every_hostile_value_is_refused_by_name_before_any_sql_or_kept(repository, store, smaller, statements):
    wrong = []
    async for trial in trials(repository):
        for value in trial.kind.values():
            fault = await trial.fault(value, statements)
            if fault is not None:
                wrong.append(f"{trial.method}({trial.parameter}={shown(value)}) was {fault}")
    if wrong:
        pytest.fail("\n".join(wrong), pytrace=False)


@pytest.mark.parametrize("repository", repositories())
async def test_a_refusal_leaves_the_unit_of_work_usable(repository, store, smaller, statements):
    async with async_session_factory() as session:
        async for trial in trials(repository):
            refused = [it for it in (Spiteful(), "\0", b"x", ["\ud800"]) if not trial.kind.accepts(it)]
            assert len(refused) >= 3
            for value in refused:
                assert await trial.fault(value, statements, session=session) is None
        created = await UserRepository(session).create()
    assert await UserRepository().get_by_id(created.id) is not None


@pytest.mark.without_log
@pytest.mark.parametrize("repository", repositories())
async def test_every_method_may_be_the_first_call_of_a_process(repository, store, database_url, monkeypatch):
    for method in public_methods(repository):
        arguments = await right_arguments(await make_world(), repository, method)
        with monkeypatch.context() as process:
            process.setenv("DATABASE_URL", database_url)
            process.setattr(session, "_process", session._Process())
            process.setattr(tortoise.context, "_global_context", None)
            async with bound(repository, method) as target:
                with suppress(PruneRefusedError):  # an answer as well
                    await call(target, arguments)
            await close_db()


def test_every_method_is_known_to_store_or_to_look():
    known = {key.rpartition(".")[2] for key in STORING} | LOOKING
    assert {method for repository in repositories() for method in public_methods(repository)} == known


@pytest.mark.parametrize(("document", "path"), REFUSED)
async def test_a_document_that_cannot_be_kept_is_refused_with_the_path_to_the_culprit(document, path, no_server):
    for name in ["plan"] if only_a_plan(document) else SAVES:
        refused = await refusal(InvalidInputError, SAVES[name](document))
        # One field of a document is named by its place there, a whole document by the argument's name.
        assert refused.path.startswith(path.replace("plan", name, 1)) or (name == "data.f" and refused.path == "data")
        assert len(refused.path) <= 200


@pytest.mark.parametrize("field", ProjectionPatch.model_fields)
def test_a_patch_refuses_hostile_values_and_keeps_the_others_as_they_are(field):
    kind = kind_of(StreamRepository, "update_projection", field)
    clears = field in ("wdk_strategy_id", "result_count", "gene_set_id")
    for value in kind.values():
        if kind.accepts(value) and (value is not None or clears):
            assert getattr(ProjectionPatch(**{field: value}), field) == kind.stored(value)
            continue
        with pytest.raises(InvalidInputError) as refusal:
            ProjectionUpdate(uuid4(), None, ProjectionPatch(**{field: value}))
        assert names(refusal.value.path, field)


@pytest.mark.parametrize("field", ControlSetPatch.model_fields)
async def test_a_control_set_patch_refuses_hostile_values_and_the_others_are_stored(field, store, smaller):
    optional = field in ("source", "provenance_notes")
    kind, identity = kind_of(ControlSetRepository, "create", field), (await make_world()).control_set
    for value in kind.values():
        if kind.accepts(value) and (value is not None or optional):
            await ControlSetRepository().update(identity, ControlSetPatch(**{field: value}))
            kept = getattr(await ControlSetRepository().get_by_id(identity), field)
            assert kept == kind.stored(value)
            continue
        with pytest.raises(InvalidInputError) as refusal:
            ControlSetPatch(**{field: value})
        assert names(refusal.value.path, field)


@pytest.mark.parametrize("field", WdkStrategy.model_fields)
async def test_a_sync_refuses_each_hostile_item_by_name_and_keeps_the_others(field, store):
    kind, user = STRATEGY_FIELDS[field], await UserRepository().create()
    for number, value in enumerate(kind.values(), start=1):
        item = {"wdk_strategy_id": number, field: value}
        done = (await StreamRepository().sync_wdk(user.id, "plasmodb", [item])).strategies[0]
        if not kind.accepts(value):
            assert done.outcome is SyncOutcome.REFUSED
            assert names(done.reason.partition(": ")[0], field)
            continue
        kept = getattr(await StreamRepository().get_projection(done.stream_id), field)
        assert kept == value or (field == "name" and kept.startswith((kind.stored(value) or DEFAULT_NAME)[:200]))


async def test_an_oddly_written_id_finds_its_row(store):
    world = await make_world()
    for repository in owned_repositories():
        [key] = arguments_of(world, repository, "get_by_id").values()
        for written in (str(key), str(key).upper(), key.hex, f"{{{key}}}", key.urn):
            assert (await repository().get_by_id(written)).id == key


async def test_as_many_genes_as_are_allowed_read_back_and_one_more_is_refused(store):
    genes = [f"PF3D7_{number:07d}" for number in range(limits.GENE_IDS)]
    given = {"name": "all", "site_id": "plasmodb", "record_type": "transcript", "negative_ids": []}
    created = await ControlSetRepository().create(positive_ids=genes, **given)
    assert (await ControlSetRepository().get_by_id(created.id)).positive_ids == genes
    too_many = ControlSetRepository().create(positive_ids=[*genes, "one more"], **given)
    await refusal(InvalidInputError, too_many, "positive_ids: it must not have more than")
