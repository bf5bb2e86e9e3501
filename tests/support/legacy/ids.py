"""Which UUID a legacy id means: the documented rule, stated once more."""

import re
from collections import defaultdict
from collections.abc import Iterable
from uuid import UUID, uuid5

NAMESPACE = UUID("7f0c1d0a-3d6b-5b7e-9a43-5d5f6c1e2b90")

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
_EXPECTED = {"experiments": re.compile(r"exp_[0-9a-f]{12}"), "operations": re.compile(r"op_[0-9a-f]{12}")}


def meant(text: str) -> UUID:
    """What a text means where no row has exactly this one."""
    return UUID(text) if _CANONICAL.fullmatch(text) else uuid5(NAMESPACE, text)


NOBODY = meant("nobody")


class Ids:
    """The UUIDs of one table's rows.

    Attributes:
        own: By the text of the row's id.
        malformed: The texts whose UUID is derived, where this was not to be expected.
    """

    def __init__(self, table: str, texts: Iterable[str]) -> None:
        self.own: dict[str, UUID] = {}
        alike = defaultdict(set)
        for text in texts:
            alike[text.lower() if _CANONICAL.fullmatch(text) else None].add(text)
        self.own.update((text, uuid5(NAMESPACE, text)) for text in alike.pop(None, ()))
        for lower, group in alike.items():
            keeper = lower if lower in group else min(group)
            self.own.update((text, UUID(text) if text == keeper else uuid5(NAMESPACE, text)) for text in group)
        changed = {text for text, new in self.own.items() if str(new) != text.lower()}
        expected = _EXPECTED.get(table)
        self.malformed = {text for text in changed if not (expected and expected.fullmatch(text))}

    def __getitem__(self, text: str) -> UUID:
        return self.own[text] if text in self.own else meant(text)
