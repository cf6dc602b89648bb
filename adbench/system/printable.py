"""Texts for a terminal: nothing in them steers it.

Names of files, categories and presets come from others. An escape sequence in one could clear the
screen or retype a command, and a mark of direction could make it read as another name.
"""


def printable(text: str) -> str:
    """A text in which every sign that cannot be printed is replaced by its escape.

    Line breaks and tabs stay.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)
