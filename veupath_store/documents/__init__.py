"""JSON documents in and out, and plan trees."""
