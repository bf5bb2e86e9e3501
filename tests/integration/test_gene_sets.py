"""Gene sets: saves with versions, lists without the ids, searches, and the import for a conversation."""

import asyncio
from uuid import uuid4

import pytest

from tests.support.documents import gene_set, new_control_set, new_gene_set
from tests.support.statements import recorded
from veupath_store import (
    ConflictError,
    ControlSetRepository,
    GeneSetRepository,
    InvalidInputError,
    StreamRepository,
)
from veupath_store.errors import StaleVersionError
from veupath_store.models import GeneSetRow
from veupath_store.values import GeneMatch, GeneSetSource

KELCH13, CRT, DHFR = "PF3D7_1343700", "PF3D7_0709000", "PF3D7_0417200"


async def test_a_saved_gene_set_reads_back_and_a_save_writes_everything(user):
    repository, identity, parents = GeneSetRepository(), uuid4(), [uuid4(), uuid4()]
    version = await repository.save(
        str(identity),
        user_id=str(user.id),
        site_id="plasmodb",
        name="Resistance",
        gene_ids=(KELCH13, CRT),
        source="derived",
        wdk_strategy_id=2**40,
        wdk_step_id=7,
        search_name="GenesByTaxon",
        record_type="transcript",
        parameters={"organism": ["P. falciparum"]},
        parent_set_ids=[parents[0], str(parents[1])],
        operation="union",
        step_count=3,
    )
    assert version == 1
    read = await repository.get_by_id(identity)
    assert (read.gene_ids, read.source, read.wdk_strategy_id) == ([KELCH13, CRT], GeneSetSource.DERIVED, 2**40)
    assert (read.wdk_step_id, read.search_name, read.record_type) == (7, "GenesByTaxon", "transcript")
    assert (read.parameters, read.operation, read.step_count) == ({"organism": ["P. falciparum"]}, "union", 3)
    assert read.parent_set_ids == [str(parent) for parent in parents]

    with recorded() as sent:
        assert await repository.save(identity, **gene_set(user), version=1) == 2
    assert len(sent) == 1
    again = await repository.get_by_id(identity)
    assert (again.parameters, again.parent_set_ids, again.operation, again.step_count) == (None, [], None, 1)
    assert (again.created_at, again.user_id, again.version) == (read.created_at, user.id, 2)
    with pytest.raises(StaleVersionError):
        await repository.save(identity, **gene_set(user), version=1)


async def test_summaries_have_a_count_and_neither_ids_nor_parameters(user, stranger):
    ids = [
        await new_gene_set(user, gene_ids=[f"g{n}" for n in range(number)], site_id=("plasmodb", "toxodb")[number % 2])
        for number in range(7)
    ]
    await new_gene_set(stranger)
    repository = GeneSetRepository()
    found = [item async for item in repository.iterate_summaries(user.id)]
    assert [item.id for item in found] == ids[::-1]
    assert [item.gene_count for item in found] == [6, 5, 4, 3, 2, 1, 0]
    first = await repository.page_summaries(user.id, "toxodb", limit=2)
    second = await repository.page_summaries(user.id, "toxodb", limit=2, cursor=first.next_cursor)
    assert [item.gene_count for item in [*first.items, *second.items]] == [5, 3, 1]
    assert second.next_cursor is None
    with recorded() as sent:
        await repository.page_summaries(user.id)
    assert "gene_ids" not in sent[0]
    assert "parameters" not in sent[0]
    assert (await repository.for_user(stranger.id).page_summaries(user.id)).items == []


async def test_a_set_is_found_by_its_strategy(user, stranger):
    old = await new_gene_set(user, wdk_strategy_id=5)
    new = await new_gene_set(user, wdk_strategy_id=5, site_id="toxodb")
    await new_gene_set(stranger, wdk_strategy_id=5)
    repository = GeneSetRepository()
    assert (await repository.find_by_wdk_strategy(user.id, 5)).id == new
    assert (await repository.find_by_wdk_strategy(user.id, 5, "plasmodb")).id == old
    assert await repository.find_by_wdk_strategy(user.id, 6) is None
    assert await repository.find_by_wdk_strategy(user.id, 5, "fungidb") is None
    assert await repository.for_user(stranger.id).find_by_wdk_strategy(user.id, 5) is None


async def test_sets_are_found_by_their_genes(user, stranger):
    both = await new_gene_set(user, gene_ids=[KELCH13, CRT])
    one = await new_gene_set(user, gene_ids=[CRT, DHFR], site_id="toxodb")
    await new_gene_set(user, gene_ids=[])
    await new_gene_set(stranger, gene_ids=[KELCH13, CRT])
    repository = GeneSetRepository()

    async def found(*genes, **given):
        return [item.id for item in (await repository.page_containing(user.id, genes, **given)).items]

    assert await found(CRT) == [one, both]
    assert await found(KELCH13, DHFR) == [one, both]
    assert await found(KELCH13, CRT, match=GeneMatch.ALL) == [both]
    assert await found(CRT, site_id="toxodb") == [one]
    assert await found(CRT.lower()) == []
    first = await repository.page_containing(user.id, [CRT], limit=1)
    second = await repository.page_containing(user.id, [CRT], limit=1, cursor=first.next_cursor)
    assert [first.items[0].id, second.items[0].id] == [one, both]
    with pytest.raises(InvalidInputError):
        await found()


PASTED = ["\ufeffPF3D7_0100100", " PF3D7_0100200\r\n", "\u00a0TGME49_200010\t", "\ufeff \ufeffLmjF.01.0010", "a b"]
KEPT = ["PF3D7_0100100", "PF3D7_0100200", "TGME49_200010", "LmjF.01.0010", "a b"]


@pytest.mark.parametrize("match", list(GeneMatch))
@pytest.mark.parametrize("sought", [PASTED, KEPT], ids=["pasted", "kept"])
async def test_a_search_finds_what_was_stored_however_either_was_written(user, match, sought):
    stored = await new_gene_set(user, gene_ids=PASTED)
    control = await new_control_set("x", user_id=user.id, positive_ids=PASTED[:2])
    for genes in (*([gene] for gene in sought), sought):
        page = await GeneSetRepository().page_containing(user.id, genes, match=match)
        assert [item.id for item in page.items] == [stored], genes
    page = await ControlSetRepository().page_containing("plasmodb", sought[:2], user.id, match=match)
    assert [item.id for item in page.items] == [control.id]


async def conversation(user, **given):
    stream = await StreamRepository().create(user.id, "toxodb")
    await StreamRepository().update_projection(stream.id, wdk_strategy_id=42, record_type="transcript", **given)
    return stream.id


@pytest.mark.without_log
async def test_an_import_makes_the_set_and_links_it_in_one_statement(user):
    stream_id = await conversation(user)
    with recorded() as sent:
        made = await GeneSetRepository().import_for_stream(
            stream_id,
            name="Imported",
            gene_ids=[CRT],
            wdk_step_id=3,
            search_name="GenesByTaxon",
            parameters={"a": 1},
            step_count=2,
        )
    assert len(sent) == 1
    read = await GeneSetRepository().get_by_id(made.id)
    for field in GeneSetRow._meta.db_fields:
        assert getattr(read, field) == getattr(made, field), field
    assert (made.user_id, made.site_id, made.wdk_strategy_id, made.record_type) == (user.id, "toxodb", 42, "transcript")
    assert (made.source, made.gene_ids, made.parameters, made.version) == ("strategy", [CRT], {"a": 1}, 1)
    projection = await StreamRepository().get_projection(stream_id)
    assert (projection.gene_set_id, projection.gene_set_auto_imported) == (made.id, False)
    with pytest.raises(ConflictError):
        await GeneSetRepository().import_for_stream(stream_id, name="again", gene_ids=[])
    assert await GeneSetRow.all().count() == 1
    assert await GeneSetRepository().save(made.id, **gene_set(user), version=1) == 2


async def test_an_automatic_import_is_done_once_also_when_its_set_was_deleted(user):
    stream_id, repository = await conversation(user), GeneSetRepository()
    made = await repository.import_for_stream(stream_id, name="set", gene_ids=[CRT], automatic=True)
    assert await repository.delete(made.id)
    projection = await StreamRepository().get_projection(stream_id)
    assert (projection.gene_set_id, projection.gene_set_auto_imported) == (None, True)
    with pytest.raises(ConflictError):
        await repository.import_for_stream(stream_id, name="set", gene_ids=[CRT], automatic=True)
    by_hand = await repository.import_for_stream(stream_id, name="set", gene_ids=[DHFR])
    projection = await StreamRepository().get_projection(stream_id)
    assert (projection.gene_set_id, projection.gene_set_auto_imported) == (by_hand.id, True)


@pytest.mark.parametrize("automatic", [True, False])
async def test_of_fifty_imports_at_once_one_makes_a_set(user, automatic):
    for _ in range(3):
        stream_id = await conversation(user)
        results = await asyncio.gather(
            *(
                GeneSetRepository().import_for_stream(stream_id, name=f"{n}", gene_ids=[CRT], automatic=automatic)
                for n in range(50)
            ),
            return_exceptions=True,
        )
        made = [result for result in results if isinstance(result, GeneSetRow)]
        assert len(made) == 1
        assert all(isinstance(result, ConflictError) for result in results if result is not made[0])
        assert (await StreamRepository().get_projection(stream_id)).gene_set_id == made[0].id
        assert [row.id for row in await GeneSetRow.filter(wdk_strategy_id=42)] == [made[0].id]
        await GeneSetRepository().delete(made[0].id)
