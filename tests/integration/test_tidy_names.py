"""Names are kept in the composed form of Unicode, without white space around them: what looks the same is the same."""

import unicodedata

import pytest

from veupath_store import (
    ControlSetRepository,
    Event,
    GeneSetRepository,
    InvalidInputError,
    Projector,
    StreamRepository,
)
from veupath_store.models import ControlSet
from veupath_store.values.streams import DEFAULT_NAME

COMPOSED = "Prote\u00ednas \u00d7 \u8edf"
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
BLANK = ["", " ", "\t\n", "\u00a0", "\u3000", "\ufeff", " \ufeff\u2009"]


async def names(user):
    return sorted(item.name for item in await StreamRepository().list_projections(user.id))


async def test_the_two_forms_of_a_name_are_one(user):
    assert COMPOSED != DECOMPOSED
    made = [
        (await StreamRepository().create(user.id, "plasmodb", name=name)).projection.name
        for name in (DECOMPOSED, COMPOSED, f"\ufeff {DECOMPOSED}\n", f"{COMPOSED} (1)")
    ]
    assert made == [COMPOSED, f"{COMPOSED} (1)", f"{COMPOSED} (2)", f"{COMPOSED} (1) (1)"]


@pytest.mark.parametrize("blank", BLANK)
async def test_a_blank_name_is_the_default_of_a_new_conversation_and_no_name_for_one_that_has_one(user, blank):
    stream = await StreamRepository().create(user.id, "plasmodb", name=blank)
    assert stream.projection.name == DEFAULT_NAME
    with pytest.raises(InvalidInputError, match="name: it must not be empty"):
        await StreamRepository().update_projection(stream.id, name=blank)
    with pytest.raises(InvalidInputError, match="name: it must not be empty"):
        await GeneSetRepository().save(stream.id, user_id=user.id, site_id="plasmodb", name=blank, gene_ids=[])


async def test_a_seed_is_found_again_by_either_form_of_its_name(store):
    lists = {"site_id": "plasmodb", "record_type": "gene", "positive_ids": [], "negative_ids": []}
    for name in (COMPOSED, DECOMPOSED, f"{COMPOSED} "):
        await ControlSetRepository().upsert_seed(name=name, **lists)
    assert [item.name for item in await ControlSet.all()] == [COMPOSED]


@pytest.mark.with_log
@pytest.mark.parametrize("kind", ["strategy_meta", "graph_snapshot"])
async def test_a_name_that_an_event_gives_is_kept_the_same_way_and_that_is_logged(user, kind):
    """The log has what was said; what became of it is a decision, as a number is."""

    def named(name):
        data = {"name": name}
        return Event(type=kind, data=data if kind == "strategy_meta" else {"graphSnapshot": data})

    await StreamRepository().create(user.id, "plasmodb", name=COMPOSED)
    stream = (await StreamRepository().create(user.id, "plasmodb", name="mine")).id
    await Projector().catch_up(stream)
    for given, kept in (
        (f" {DECOMPOSED}", f"{COMPOSED} (1)"),
        ("  ", f"{COMPOSED} (1)"),
        (" trimmed\n", "trimmed"),
        ("\u0958" * 255, "\u0915\u093c" * 127 + "\u0915"),
    ):
        await Projector().append(stream, [named(given)])
        await Projector().catch_up(stream)
        assert (await StreamRepository().get_projection(stream)).name == kept
        assert not (await Projector().verify()).suspects
        assert not (await Projector().rebuild()).refused
        assert (await StreamRepository().get_projection(stream)).name == kept
    assert not (await StreamRepository().get_projection(stream)).unlogged
