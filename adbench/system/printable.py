"""Texts for a terminal: nothing in them steers it.

Names of files, categories and presets come from others. An escape sequence in one could clear the
screen or retype a command, and a mark of direction could make it read as another name.
"""


def printable(text: str) -> str:
    """A text in which every sign that cannot be printed is replaced by its escape.

    Line breaks and tabs stay.
    """
    return "".join(c if c in "\n\t" else in_line(c) for c in text)


def in_line(text: str) -> str:
    """A name in one line: ``printable``, and line breaks and tabs are replaced too."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
