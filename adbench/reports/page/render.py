"""The page as one HTML file: a template, its styles and its script, with nothing loaded from afar.

Jinja2 escapes every text (autoescape). A Content-Security-Policy in the page lets a browser run
this one script, known by its SHA-256, and show pictures that lie in the page, and nothing else.
"""

import base64
import hashlib
from pathlib import Path

from markupsafe import Markup

from adbench.reports.page.model import SYMBOLS, Page

TURNING = str.maketrans(
    dict.fromkeys("\u202a\u202b\u202d\u202e\u2066\u2067", "\N{REPLACEMENT CHARACTER}")
)
"""Characters of a name from disk that would turn the rest of a sentence round."""
TEMPLATE = Path(__file__).parent / "template"
SCRIPTS = ("view.js", "tables.js", "board.js", "export.js", "pictures.js", "start.js")
"""Parts of the page's one script, in this order; later parts call earlier ones."""
STYLES = ("page.css", "tables.css", "charts.css", "print.css")
"""Parts of its styles; later ones win."""


def render(page: Page) -> str:
    """The HTML of a page; it needs no other file, and makes no request."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # light commands need none

    environment = Environment(
        loader=FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value.translate(TURNING) if isinstance(value, str) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = "\n".join(map(_read, SCRIPTS))
    return environment.get_template("page.html.j2").render(
        page=page,
        symbols=SYMBOLS,
        style=Markup("\n".join(map(_read, STYLES))),
        script=Markup(script),
        script_hash=_hash_of(script),
    )


def _read(name: str) -> str:
    return (TEMPLATE / name).read_text(encoding="utf-8")


def _hash_of(script: str) -> str:
    """How a Content-Security-Policy names a script that may run."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
