"""Gene ids are trimmed of white space and byte order marks where they enter, and searches find what was stored."""

from uuid import uuid4

import pytest

from veupath_store import ControlSetRepository, GeneSetRepository, InvalidInputError, StreamRepository
from veupath_store.models import ControlSet, GeneSetRow
from veupath_store.repositories import ControlSetPatch
from veupath_store.values import GeneMatch

PASTED = ["\ufeffPF3D7_0100100", " PF3D7_0100200\r\n", "\u00a0TGME49_200010\t", "\ufeff \ufeffLmjF.01.0010", "a b"]
KEPT = ["PF3D7_0100100", "PF3D7_0100200", "TGME49_200010", "LmjF.01.0010", "a b"]
LISTS = {"site_id": "plasmodb", "record_type": "gene"}


async def gene_set(user, ids=PASTED):
    identity = uuid4()
    await GeneSetRepository().save(identity, user_id=user.id, site_id="plasmodb", name="x", gene_ids=ids)
    return identity


async def control_set(user, ids=PASTED):
    made = await ControlSetRepository().create(
        name="x", user_id=user.id, positive_ids=ids[:2], negative_ids=ids[2:], **LISTS
    )
    return made.id


async def test_what_was_pasted_is_kept_as_the_databases_write_it(user):
    assert (await GeneSetRow.get(id=await gene_set(user))).gene_ids == KEPT
    stored = await ControlSet.get(id=await control_set(user))
    assert stored.positive_ids + stored.negative_ids == KEPT
    await ControlSetRepository().update(stored.id, ControlSetPatch(positive_ids=PASTED))
    assert (await ControlSet.get(id=stored.id)).positive_ids == KEPT
    await ControlSetRepository().upsert_seed(name="seed", positive_ids=PASTED, negative_ids=[], **LISTS)
    assert (await ControlSet.get(name="seed")).positive_ids == KEPT
    stream = await StreamRepository().create(user.id, "plasmodb")
    made = await GeneSetRepository().import_for_stream(stream.id, name="x", gene_ids=tuple(PASTED))
    assert made.gene_ids == (await GeneSetRow.get(id=made.id)).gene_ids == KEPT


@pytest.mark.parametrize("match", list(GeneMatch))
@pytest.mark.parametrize("sought", [PASTED, KEPT], ids=["pasted", "kept"])
async def test_a_search_finds_what_was_stored_however_either_was_written(user, match, sought):
    found, controls = await gene_set(user), await control_set(user, PASTED[:2])
    for gene in sought:
        page = await GeneSetRepository().page_containing(user.id, [gene], match=match)
        assert [item.id for item in page.items] == [found], gene
    page = await GeneSetRepository().page_containing(user.id, sought, match=match)
    assert [item.id for item in page.items] == [found]
    page = await ControlSetRepository().page_containing("plasmodb", sought[:2], user.id, match=match)
    assert [item.id for item in page.items] == [controls]


@pytest.mark.parametrize("blank", ["", "  ", "\ufeff", "\u00a0\ufeff "])
async def test_a_blank_id_is_refused_by_its_place(user, blank):
    with pytest.raises(InvalidInputError, match=r"gene_ids\[2\]: it must not be empty"):
        await gene_set(user, ["a", "b", blank])
    with pytest.raises(InvalidInputError, match=r"positive_ids\[1\]: it must not be empty"):
        await control_set(user, ["a", blank, "c"])
    with pytest.raises(InvalidInputError, match=r"gene_ids\[1\]: it must not be empty"):
        await GeneSetRepository().page_containing(user.id, ["a", blank])


async def test_the_real_gene_ids_are_kept_byte_for_byte(user, strategies):
    for item in strategies:
        ids = item["control_set"]["positive_ids"] + item["control_set"]["negative_ids"]
        assert (await GeneSetRow.get(id=await gene_set(user, ids))).gene_ids == ids
