"""The store in other people's frameworks. Each needs an extra of its own; nothing here is imported by the store."""
