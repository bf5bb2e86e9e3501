"""Every fenced block of README.md and docs/*.md, run.

`pages` reads the pages, `runner` runs their blocks from top to bottom, `commands` and `expected` those of the console,
`setups` holds what a page uses and does not define, and `not_run` the commands that other tests cover.
"""
