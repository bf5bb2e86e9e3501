"""Every fenced block of README.md and docs/*.md, run. What a page may hold:

* ``python`` blocks run from top to bottom in one namespace, with ``await`` at top level, on a fresh migrated database
  with an event log and an open store. If a block has lines ``# > …``, they are all that it prints.
* A block with a title (``python title="app.py"``) is a file, written into the folder in which later blocks run.
* ``console`` blocks: lines that begin with ``$ `` are commands, the lines below what they print, on standard output and
  standard error. Without such lines a command must exit with 0. A line ``^C`` interrupts the command once the lines
  above have come; it must end cleanly. Commands that install, and make targets, are in `not_run`.
* ``sql`` runs on the page's database, ``toml``, ``ini`` and ``yaml`` are parsed, ``text`` is free.

``...`` in what is printed stands for anything within a line, and alone on a line for any lines.

mypy and pyright find nothing wrong with the ``python`` blocks of a page, read as one program: `typed`, by make lint.

`pages` reads the pages, `runner` runs their blocks, `commands` and `expected` those of the console, `setups` holds what
a page uses and does not define, `diagram` draws the tables.
"""
