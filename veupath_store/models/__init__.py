"""The seven entities. The tables themselves are defined by the migrations; a test compares the two."""

from tortoise.models import Model

from veupath_store.models.control_set import ControlSet
from veupath_store.models.experiment import ExperimentRow
from veupath_store.models.gene_set import GeneSetRow
from veupath_store.models.operation import Operation
from veupath_store.models.stream import Stream
from veupath_store.models.stream_projection import StreamProjection
from veupath_store.models.user import User

__models__: list[type[Model]] = [User, ControlSet, ExperimentRow, Stream, StreamProjection, GeneSetRow, Operation]

__all__ = ["ControlSet", "ExperimentRow", "GeneSetRow", "Operation", "Stream", "StreamProjection", "User"]
