"""Databases of the SQLAlchemy layer, made from its description; and what must become of them, written once more."""
