"""The charts of ``make bench-scale``."""
