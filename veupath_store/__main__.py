"""``python -m veupath_store``: the command line, as ``veupath-store``."""

from veupath_store.cli import main

if __name__ == "__main__":
    main()
