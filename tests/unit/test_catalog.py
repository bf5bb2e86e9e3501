"""What a dump and a restore change in a definition, and nothing else, is evened out."""

import pytest

from veupath_store.schema.catalog import as_written

RESTORED = "CHECK (((kind)::text = ANY (ARRAY[('a'::character varying)::text, ('it''s'::character varying)::text])))"
WRITTEN = "CHECK (((kind)::text = ANY ((ARRAY['a'::character varying, 'it''s'::character varying])::text[])))"


def test_a_restored_list_is_the_one_that_was_written():
    assert as_written(RESTORED) == WRITTEN
    assert as_written(WRITTEN) == WRITTEN
    one = "(ARRAY[('a'::character varying)::text])"
    assert as_written(one) == "((ARRAY['a'::character varying])::text[])"


@pytest.mark.parametrize(
    "other",
    [
        RESTORED.replace("'a'", "'b'"),
        RESTORED.replace("('a'::character varying)::text, ", ""),
        RESTORED.replace("'it''s'", "'its'"),
        RESTORED.replace("= ANY", "<> ALL"),
        RESTORED.replace("'a'::character varying", "'a'::character varying(1)"),
        RESTORED.replace("(kind)", "(name)"),
        RESTORED.replace("'a'", "' a'"),
        RESTORED.replace("'a'", "'a''::character varying)::text, (''b'"),
    ],
)
def test_another_list_stays_another(other):
    assert as_written(other) != WRITTEN


def test_what_only_looks_like_one_is_left_alone():
    for text in (
        "ARRAY['a'::text, 'b'::text]",
        "ARRAY[(a)::text, ('b'::character varying)::text]",
        "(note <> 'ARRAY[(''a''::character varying)::text]'::text)",
        "ARRAY[('a'::character varying(5))::text]",
    ):
        assert as_written(text) == text
