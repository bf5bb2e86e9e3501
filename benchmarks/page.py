"""Writing figures into a page, so that nobody types them."""

import re
from pathlib import Path


def replace_block(path: Path, name: str, text: str) -> None:
    """Put text between the two comments of a page that name it; a page without them is written anew.

    Args:
        path: The page.
        name: What the comments name: ``<!-- figures of NAME -->`` and ``<!-- end of figures -->``.
        text: Markdown.
    """
    begin, end = f"<!-- figures of {name} -->", "<!-- end of figures -->"
    block = f"{begin}\n{text.strip()}\n{end}"
    page = path.read_text() if path.exists() else ""
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    path.write_text(pattern.sub(lambda _: block, page) if pattern.search(page) else f"{block}\n")
