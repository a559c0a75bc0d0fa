"""The text of an HTML page, as Markdown where that says more: headings, list items, code."""

from __future__ import annotations

import re
from html.parser import HTMLParser

_SKIPPED = frozenset({"script", "style", "template", "noscript", "svg", "head"})
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "br", "dd", "details", "dialog", "div", "dl", "dt",
    "fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "li", "main", "nav", "ol",
    "p", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
})  # fmt: skip
_HEADINGS = {f"h{level}": "#" * level for level in range(1, 7)}
_CHARSET = re.compile(rb"""<meta[^>]+charset\s*=\s*["']?([\w-]+)""", re.IGNORECASE)


def encoding(data: bytes) -> str:
    """What a page says that it is encoded in; UTF-8 where it says nothing."""
    found = _CHARSET.search(data[:4096])
    return found[1].decode("ascii") if found else "utf-8"


def text(page: str) -> tuple[str, str]:
    """The text of a page, and its title.

    >>> text("<title>T</title><h1>Head</h1><p>One &amp; <b>two</b>.</p><ul><li>a</ul><script>x()</script>")
    ('# Head\\n\\nOne & two.\\n\\n- a', 'T')
    """
    parser = _Text()
    parser.feed(page)
    parser.close()
    return parser.result()


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self._blocks: list[str] = []
        self._line: list[str] = []
        self._prefix = ""
        self._skipped: list[str] = []
        self._title: list[str] | None = None
        self._named = ""
        self._code = 0

    def result(self) -> tuple[str, str]:
        self._end_block()
        return "\n\n".join(self._blocks), self._named

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "title" and not self._named:
            self._title = []
        elif tag == "body":  # a head that is never closed ends here
            self._skipped.clear()
        elif tag in _SKIPPED:
            self._skipped.append(tag)
        if tag in _BLOCKS or tag in _HEADINGS or tag == "pre":
            self._end_block()
        if tag == "li":
            self._prefix = "- "
        elif tag in _HEADINGS:
            self._prefix = f"{_HEADINGS[tag]} "
        elif tag == "pre":
            self._code += 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "title" and self._title is not None:
            self._named = " ".join("".join(self._title).split())
            self._title = None
        if tag in self._skipped:
            del self._skipped[self._skipped.index(tag) :]
        if tag in _BLOCKS or tag in _HEADINGS or tag == "pre":
            self._end_block()
        if tag == "pre":
            self._code = max(0, self._code - 1)

    def handle_data(self, data: str) -> None:
        if self._title is not None:
            self._title.append(data)
        elif not self._skipped:
            self._line.append(data)

    def _end_block(self) -> None:
        found = "".join(self._line)
        self._line = []
        if self._code:
            if found.strip():
                body = found.strip("\n")
                self._blocks.append(f"```\n{body}\n```")
            return
        if found := " ".join(found.split()):
            self._blocks.append(self._prefix + found)
        self._prefix = ""
