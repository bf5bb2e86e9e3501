"""What `encode` takes reads back equal from a jsonb column; what would not is refused."""

import math

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from veupath_store.documents.json import decode, encode

DOCUMENTS = 200
"""Hypothesis makes them first; one statement then sends them all through a jsonb column."""

whole_numbers = st.integers(-(2**63), 2**64 - 1) | st.sampled_from(
    [-(2**63), 2**63 - 1, 2**63, 2**64 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 10**16, 10**19, 0]
)
floats = st.floats(allow_nan=False, allow_infinity=False) | st.floats(1e15, 1e20) | st.floats(-1e20, -1e15)
edge_floats = st.sampled_from(
    [1e308, -1e308, 5e-324, -5e-324, -0.0, 0.1, 1e15, 1e16, 1e17, 1.2345678901234567e17, 9007199254740993.0]
    + [float(2**power) for power in (53, 54, 62, 63, 64, 65)]
    + [math.nextafter(float(2**64), 0), math.nextafter(1e16, 0), math.nextafter(-float(2**63), 0)]
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) | st.sampled_from(
    ["\\u0000", "1e+16", '"1.5e+17"', '\\"1e+18', "\\", '"', "\u2028", "\ufeff", "\uffff", "😀", "e\u0301"]
)
scalars = st.none() | st.booleans() | whole_numbers | floats | edge_floats | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5), max_leaves=10
)
json_documents = st.lists(values, max_size=8) | st.dictionaries(texts, values, max_size=8)


def same(left, right) -> bool:
    """Equal, and a float where a float was, a bool where a bool was."""
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and left == right


def examples(strategy, number: int) -> list:
    """That many different documents out of Hypothesis, the same ones in each run."""
    found = []

    @settings(max_examples=number, database=None, derandomize=True, deadline=None, phases=[Phase.generate])
    @given(strategy)
    def collect(document):
        found.append(document)

    collect()
    return found


async def through_jsonb(client, made: list[str]) -> list[str]:
    rows = await client.execute_rows(
        "SELECT document::jsonb FROM unnest($1::text[]) WITH ORDINALITY AS made(document, place) ORDER BY place", [made]
    )
    return [row["document"] for row in rows]


async def test_whatever_is_encoded_reads_back_equal_from_jsonb(store):
    before = examples(json_documents, DOCUMENTS)
    assert len(before) >= DOCUMENTS * 0.9
    after = map(decode, await through_jsonb(await store.open(), [encode(document) for document in before]))
    assert [pair for pair in zip(before, after, strict=True) if not same(*pair)] == []


async def test_every_float_near_a_power_of_two_or_ten_reads_back_the_same(store):
    digits = ("1", "1.2345678901234567", "1.7")
    numbers = [float(f"{digit}e{power}") for power in range(-324, 309) for digit in digits]
    numbers += [float(2**power) for power in range(1024)]
    numbers += [math.nextafter(number, goal) for number in numbers for goal in (0.0, math.inf)]
    numbers = [number for number in numbers if math.isfinite(number)]
    numbers += [-number for number in numbers]
    [returned] = await through_jsonb(await store.open(), [encode(numbers)])
    pairs = zip(numbers, decode(returned), strict=True)
    # -0.0 comes back as 0.0; all others to the bit.
    assert [number for number, back in pairs if (number or 0.0).hex() != float(back).hex()] == []
