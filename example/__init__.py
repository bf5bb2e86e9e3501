"""A small application on the store alone: conversations, control sets, experiments, and jobs in another process.

``python -m example`` runs it on embedded servers and prints the address of its page.
"""
