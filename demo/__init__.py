"""A working day on the store: ``python -m demo``, or ``make demo``."""
