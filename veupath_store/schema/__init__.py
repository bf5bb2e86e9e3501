"""Applying and undoing migrations under one lock, and the catalog that they make."""
