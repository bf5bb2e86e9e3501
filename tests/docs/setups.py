"""What pages use and do not define: as little as can be, since a reader does not see it.

The keys are pages, the values are run in front of the page's first block, in its namespace.
"""

ADOPTION = """
from tests.docs.legacy import in_place_of_the_store
in_place_of_the_store()
"""

OPEN_THE_STORE = {"docs/your-own-models.md"}
"""Pages that show how the store is opened: it is not open before."""

SETUPS: dict[str, str] = {"docs/adoption.md": ADOPTION}
