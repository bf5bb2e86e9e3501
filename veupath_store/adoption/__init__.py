"""Adoption: a database of the SQLAlchemy layer becomes the store's, in place, with a way back.

`plan_adoption` tells what would be done, `adopt` does it in one transaction, `undo_adoption` brings the old tables
back, `finish_adoption` drops them. The command line has them as ``veupath-store adopt``. All but the plan wait for
locks, as `adopt` says.
"""

from veupath_store.adoption.adopt import adopt, plan_adoption
from veupath_store.adoption.undo import finish_adoption, undo_adoption
from veupath_store.adoption.values import (
    AdoptionPlan,
    AdoptionProgress,
    AdoptionReport,
    FinishedAdoption,
    Problem,
    ProblemKind,
    UndoneAdoption,
    Variant,
)
from veupath_store.inputs.legacy_ids import adopted_id

__all__ = [
    "AdoptionPlan",
    "AdoptionProgress",
    "AdoptionReport",
    "FinishedAdoption",
    "Problem",
    "ProblemKind",
    "UndoneAdoption",
    "Variant",
    "adopt",
    "adopted_id",
    "finish_adoption",
    "plan_adoption",
    "undo_adoption",
]
