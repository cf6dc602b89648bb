"""Text in CSV files that spreadsheets open (OWASP, "CSV Injection")."""

_FORMULA = ("=", "+", "-", "@", "\t")


def safe(text: str) -> str:
    """A text that no spreadsheet takes for a formula; numbers stay as they are.

    Where it begins with ``=``, ``+``, ``-``, ``@`` or a tab and is no number, an apostrophe stands
    before it. Line breaks become spaces.
    """
    text = text.replace("\r", " ").replace("\n", " ")
    if not text.startswith(_FORMULA):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
