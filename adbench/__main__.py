"""``python -m adbench`` is the command ``adbench``."""

from adbench.cli.main import main

main()
