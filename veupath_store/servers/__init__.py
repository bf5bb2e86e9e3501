"""Which servers a URL names, why one was not reached, and the embedded ones."""
