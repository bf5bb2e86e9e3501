r"""U+0000 and lone surrogates in JSON text become U+FFFD, and nothing else changes."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.naive_fold import cleaned
from veupath_store.events.fold.text import clean, decoded

ESCAPED = st.lists(
    st.sampled_from([rb"\u0000", rb"\ud800", rb"\uDFFF", rb"\ud83d", rb"\uD83D", rb"\ude00", rb"\uDE00", rb"\ud7ff"])
    | st.sampled_from([rb"\\", rb"\"", rb"\ue000", b"u0000", b"ud83d", b"ude00", b"a", "\u00e9".encode(), b"/"]),
    max_size=12,
).map(b"".join)


@given(ESCAPED)
def test_it_is_what_the_decoded_text_would_become_in_keys_and_values(text):
    raw = b'{"%b": ["%b"]}' % (text, text)
    assert json.loads(clean(raw)) == decoded(raw) == cleaned(json.loads(raw))


def test_text_without_such_characters_is_the_same_object():
    raw = json.dumps({"content": "\u00e9\n\\ 'quoted' \U0001f600".replace("\U0001f600", ""), "n": [1.5, None]}).encode()
    assert clean(raw) is raw
    assert clean(b"") == b""


@given(st.binary(max_size=20) | st.text(alphabet='\\u0dDeE8{}"', max_size=30).map(str.encode))
def test_text_that_is_no_json_is_nobodys_error(raw):
    assert clean(raw) == clean(bytes(bytearray(raw)))
    assert decoded(raw) is None or isinstance(decoded(raw), dict)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'"x"', b'{"a":nan}', b'{"a":1e999}', b'{"a":"\xff"}'])
def test_what_is_no_json_object_is_none(raw):
    assert decoded(raw) is None


def test_depth_beyond_the_decoder_is_no_error():
    assert decoded(b'{"a":' * 5_000 + b"1" + b"}" * 5_000) is None


def test_sixteen_megabytes_of_bad_characters_are_cleaned_in_seconds():
    raw = b'{"a":"%b"}' % (rb"\u0000\\\ud800" * (16 * 1024 * 1024 // 14))
    started = time.process_time()
    text = decoded(raw)["a"]
    assert time.process_time() - started < 20
    assert set(text) == {"\ufffd", "\\"}


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b'{"a":NaN,"b":-Infinity,"c":[Infinity]}', {"a": None, "b": None, "c": [None]}),
        (b'{"NaN":"NaN","b":"-Infinity \\" NaN","c":NaN}', {"NaN": "NaN", "b": '-Infinity " NaN', "c": None}),
    ],
)
def test_what_an_old_application_wrote_as_no_number_is_null(raw, data):
    assert decoded(raw) == data
