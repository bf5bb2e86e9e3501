"""Integrations: what joins the store to other libraries. Each needs an extra of its own."""
