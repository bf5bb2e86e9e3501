"""The repositories: all that callers do to the database; the patches that they take and the pages that they return.

A repository is made where it is used:

    StreamRepository(session)                     # in the caller's unit of work
    StreamRepository()                            # in autocommit on the pool
    StreamRepository(session).for_user(user.id)   # what request code gets: restricted in SQL to one user
"""

from veupath_store.repositories.accounts import AccountRepository
from veupath_store.repositories.control_sets import ControlSetRepository
from veupath_store.repositories.experiments import ExperimentRepository
from veupath_store.repositories.gene_sets import GeneSetRepository
from veupath_store.repositories.leases import LeaseRepository
from veupath_store.repositories.operations import OperationRepository
from veupath_store.repositories.pages import Page
from veupath_store.repositories.streams import StreamRepository
from veupath_store.repositories.users import UserRepository
from veupath_store.values.control_sets import ControlSetPatch
from veupath_store.values.streams import ProjectionPatch

__all__ = [
    "AccountRepository",
    "ControlSetPatch",
    "ControlSetRepository",
    "ExperimentRepository",
    "GeneSetRepository",
    "LeaseRepository",
    "OperationRepository",
    "Page",
    "ProjectionPatch",
    "StreamRepository",
    "UserRepository",
]
