"""Saving from code that cannot await."""

from veupath_store.writer.writer import DocumentWriter

__all__ = ["DocumentWriter"]
