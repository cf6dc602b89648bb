"""Faults put into files: bytes cut off and changed, pickles that would run code."""

import os
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FEW = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
"""Of a test that writes a file for every example."""


@st.composite
def damaged(draw, content):
    """``content`` cut off somewhere, or with one byte changed."""
    place = draw(st.integers(0, len(content) - 1))
    if draw(st.booleans()):
        return content[:place]
    return flipped(content, place, draw(st.integers(1, 255)))


def flipped(content, place, bits):
    """``content`` with some bits of one byte turned."""
    changed = bytearray(content)
    changed[place] ^= bits
    return bytes(changed)


class Evil:
    """Unpickled, it makes the file PWNED in the folder of the process."""

    def __reduce__(self):
        return os.mkdir, ("PWNED",)


def executed(folder):
    """Whether anything hostile was run."""
    return Path("PWNED").exists() or any(folder.rglob("PWNED"))
