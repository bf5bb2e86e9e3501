"""Looking at a deployment: what `veupath-store check` does, as one call.

    report = await check_deployment()

It reads only, as the application's own role, and needs no other privilege.
"""

from veupath_store.check.run import check_deployment

__all__ = ["check_deployment"]
