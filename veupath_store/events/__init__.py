"""The event log of a conversation, and what its entries add up to."""
