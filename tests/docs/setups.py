"""What pages use and do not define: as little as can be, since a reader does not see it.

The keys are pages, the values are run in front of the page's first block, in its namespace.
"""

SETUPS: dict[str, str] = {}
