"""JSON text that is fixed, and names that are made free."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from veupath_store.adoption.text import depth, has_large_integer, storable, with_floats
from veupath_store.repositories.free_names import free_names, numbered


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'"\u0000"', r'"\ufffd"'),
        (r'"\\u0000"', r'"\\u0000"'),
        (r'"\\\u0000"', r'"\\\ufffd"'),
        (r'"\ud83d\ude00"', r'"\ud83d\ude00"'),
        (r'"\ud83dx\ude00"', r'"\ufffdx\ufffd"'),
        (r'"\ud83d\ud83d\ude00"', r'"\ufffd\ud83d\ude00"'),
        (r'"\ud83d\\ude00"', r'"\ufffd\\ude00"'),
        (r'{"\uDEAD": 1.10}', r'{"\ufffd": 1.10}'),
        (r'"\u00e9\n\ud7ff"', r'"\u00e9\n\ud7ff"'),
    ],
)
def test_escapes(text, expected):
    assert storable(text) == expected


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_what_is_mended_is_what_python_reads(text):
    """Escaped by an encoder that knows no surrogates, as the replaced layer did it."""
    read = json.loads(json.dumps(text))
    kept = ("\ufffd" if letter == "\x00" or "\ud800" <= letter <= "\udfff" else letter for letter in read)
    assert json.loads(storable(json.dumps(text))) == "".join(kept)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1e16", "10000000000000000.0"),
        ("-2.5E+3", "-2500.0"),
        ("1.50e1", "15.0"),
        ("[1e5,0e0]", "[100000.0,0.0]"),
        ("1.2345678901234567e17", "123456789012345670.0"),
        ("2.5", "2.5"),
        ("1e-7", "1e-7"),
        ("1e20", "1e20"),
        ("1e999999999", "1e999999999"),
        (r'["1e16", "\\\"1e16", "\\\\", 1e1]', r'["1e16", "\\\"1e16", "\\\\", 10.0]'),
    ],
)
def test_floats_in_full(text, expected):
    assert with_floats(text) == expected


@given(
    st.recursive(st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.integers(), st.lists, max_leaves=9)
)
def test_floats_in_full_are_the_same_numbers(value):
    assert json.loads(with_floats(json.dumps(value))) == value


@pytest.mark.parametrize(
    ("text", "large"),
    [
        ("18446744073709551615", False),
        ("18446744073709551616", True),
        ("-9223372036854775808", False),
        ('{"a": [-9223372036854775809]}', True),
        ("0.18446744073709551616", False),
        ("1e18446744073709551616", False),
        ('"18446744073709551616"', False),
        ("9" * 5_000, True),
    ],
)
def test_large_integers(text, large):
    assert has_large_integer(text) is large


@pytest.mark.parametrize(("text", "levels"), [("1", 0), ("[]", 1), ('{"a": ["}]", {}]}', 3), (r'["\"[[[["]', 1)])
def test_depth(text, levels):
    assert depth(text) == levels


@given(st.lists(st.sampled_from(["a", "a (1)", "a (2)", "b" * 255, "b" * 254, "", "🧬" * 255]), max_size=40))
def test_free_names(names):
    renamed = dict(free_names(enumerate(names)))
    every = [renamed.get(number, name) for number, name in enumerate(names)]
    assert len(set(every)) == len(names)
    assert all(len(name) <= 255 for name in every)
    assert set(names) <= set(every)
    for number, name in renamed.items():
        assert name in {numbered(names[number], suffix) for suffix in range(1, len(names) + 2)}
