"""PathFinder in small, as its engineers would write it against the package: routers, orchestrators, jobs, a worker.

Only public names are used: no model is queried, no SQL is written.
"""
