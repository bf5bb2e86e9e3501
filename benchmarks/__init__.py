"""What the store costs, measured on the embedded servers: ``make bench-rebuild``."""
