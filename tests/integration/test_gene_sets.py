"""Gene sets: saves with versions, lists without the ids, searches, and the import for a conversation."""

from functools import partial
from uuid import uuid4

import pytest

from tests.support.calls import all_items, new_stream, projection, refusal
from tests.support.documents import gene_set, new_control_set, new_gene_set
from tests.support.jobs import at_once
from tests.support.statements import recorded
from veupath_store import ConflictError, ControlSetRepository, GeneSetRepository
from veupath_store.errors import StaleVersionError
from veupath_store.models import GeneSetRow
from veupath_store.values import GeneMatch

KELCH13, CRT, DHFR = "PF3D7_1343700", "PF3D7_0709000", "PF3D7_0417200"


async def test_a_saved_gene_set_reads_back_and_a_save_writes_everything(user):
    repository, identity, parents = GeneSetRepository(), uuid4(), [uuid4(), uuid4()]
    given = {
        "site_id": "plasmodb",
        "name": "Resistance",
        "source": "derived",
        "wdk_strategy_id": 2**40,
        "wdk_step_id": 7,
        "search_name": "GenesByTaxon",
        "record_type": "transcript",
        "parameters": {"organism": ["P. falciparum"]},
        "operation": "union",
        "step_count": 3,
    }
    lists = {"gene_ids": (KELCH13, CRT), "parent_set_ids": [parents[0], str(parents[1])]}
    assert await repository.save(str(identity), user_id=str(user.id), **given, **lists) == 1
    read = await repository.get_by_id(identity)
    kept = {**given, "gene_ids": [KELCH13, CRT], "parent_set_ids": list(map(str, parents))}
    assert {column: getattr(read, column) for column in kept} == kept

    with recorded(exactly=1):
        assert await repository.save(identity, **gene_set(user), version=1) == 2
    again = await repository.get_by_id(identity)
    assert (again.parameters, again.parent_set_ids, again.operation, again.step_count) == (None, [], None, 1)
    assert (again.created_at, again.user_id, again.version) == (read.created_at, user.id, 2)
    await refusal(StaleVersionError, repository.save(identity, **gene_set(user), version=1))


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
    on_site = await all_items(partial(repository.page_summaries, user.id, "toxodb"), 2)
    assert [item.gene_count for item in on_site] == [5, 3, 1]
    with recorded(exactly=1) as sent:
        await repository.page_summaries(user.id)
    assert "gene_ids" not in sent[0]
    assert "parameters" not in sent[0]


async def test_a_set_is_found_by_its_strategy(user, stranger):
    old = await new_gene_set(user, wdk_strategy_id=5)
    new = await new_gene_set(user, wdk_strategy_id=5, site_id="toxodb")
    await new_gene_set(stranger, wdk_strategy_id=5)
    repository = GeneSetRepository()
    assert (await repository.find_by_wdk_strategy(user.id, 5)).id == new
    assert (await repository.find_by_wdk_strategy(user.id, 5, "plasmodb")).id == old
    assert await repository.find_by_wdk_strategy(user.id, 6) is None
    assert await repository.find_by_wdk_strategy(user.id, 5, "fungidb") is None


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
    paged = await all_items(partial(repository.page_containing, user.id, [CRT]), 1)
    assert [item.id for item in paged] == [one, both]


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


async def conversation(user):
    return await new_stream(user, "toxodb", wdk_strategy_id=42, record_type="transcript")


async def link(stream_id):
    found = await projection(stream_id)
    return found.gene_set_id, found.gene_set_auto_imported


@pytest.mark.without_log
async def test_an_import_makes_the_set_and_links_it_in_one_statement(user):
    stream_id, repository = await conversation(user), GeneSetRepository()
    given = {"wdk_step_id": 3, "search_name": "GenesByTaxon", "parameters": {"a": 1}, "step_count": 2}
    with recorded(exactly=1):
        made = await repository.import_for_stream(stream_id, name="Imported", gene_ids=[CRT], **given)
    assert dict(await repository.get_by_id(made.id)) == dict(made)
    assert {column: getattr(made, column) for column in given} == given
    assert (made.user_id, made.site_id, made.wdk_strategy_id, made.record_type) == (user.id, "toxodb", 42, "transcript")
    assert (made.name, made.source, made.gene_ids, made.version) == ("Imported", "strategy", [CRT], 1)
    assert await link(stream_id) == (made.id, False)
    await refusal(ConflictError, repository.import_for_stream(stream_id, name="again", gene_ids=[]))
    assert await GeneSetRow.all().count() == 1
    assert await repository.save(made.id, **gene_set(user), version=1) == 2


async def test_an_automatic_import_is_done_once_also_when_its_set_was_deleted(user):
    stream_id, repository = await conversation(user), GeneSetRepository()
    automatic = {"name": "set", "gene_ids": [CRT], "automatic": True}
    made = await repository.import_for_stream(stream_id, **automatic)
    assert await repository.delete(made.id)
    assert await link(stream_id) == (None, True)
    await refusal(ConflictError, repository.import_for_stream(stream_id, **automatic))
    by_hand = await repository.import_for_stream(stream_id, name="set", gene_ids=[DHFR])
    assert await link(stream_id) == (by_hand.id, True)


@pytest.mark.parametrize("automatic", [True, False])
async def test_of_fifty_imports_at_once_one_makes_a_set(user, automatic):
    make = GeneSetRepository().import_for_stream
    for _ in range(3):
        stream_id = await conversation(user)
        results = await at_once(make(stream_id, name=f"{n}", gene_ids=[CRT], automatic=automatic) for n in range(50))
        [made] = [result for result in results if isinstance(result, GeneSetRow)]
        assert all(isinstance(result, ConflictError) for result in results if result is not made)
        assert (await link(stream_id))[0] == made.id
        assert [row.id for row in await GeneSetRow.filter(wdk_strategy_id=42)] == [made.id]
        await GeneSetRepository().delete(made.id)
