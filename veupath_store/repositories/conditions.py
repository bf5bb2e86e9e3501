"""Conditions that several repositories put into their SQL, stated once."""

from typing import Final

from veupath_store.values import GeneMatch

MINE: Final = "user_id = $1 AND ($2::uuid IS NULL OR $1 = $2)"
"""The rows of the user ``$1``; ``$2`` is the user that the repository is restricted to, or null.

The two are compared with each other, once, and not each row with both: PostgreSQL would then expect far fewer rows than
there are, and read and sort all of a user with 2,000 conversations for the 50 that are wanted: 860 µs, not 260."""

GENE_OPERATOR: Final = {GeneMatch.ANY: "?|", GeneMatch.ALL: "?&"}
"""How a jsonb array of gene ids is asked for an array of them; answered by a GIN index with jsonb_ops."""
