"""One JSON document on standard output, for ``--json``."""

import json
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

FLAG = "--json"


def print_json(content: Any) -> None:
    """Print JSON-like content; numbers that JSON lacks become null."""
    text = json.dumps(_finite(content), indent=1, ensure_ascii=False)
    # JSON leaves signs that steer a terminal as they are, but for those below the space.
    signs = (c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    print("".join(signs), flush=True)


@contextmanager
def lines_on_stderr(wanted: bool) -> Iterator[None]:
    """A block whose lines go to standard error where ``wanted``, those of other processes too."""
    if not wanted:
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)  # what a worker process inherits
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value
