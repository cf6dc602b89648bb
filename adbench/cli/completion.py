"""Tab completion by Hydra, which knows nothing of commands: those are completed here."""

import os
import sys
from argparse import Namespace

import hydra

from adbench.cli.main import COMMANDS
from adbench.config.compose import Configs, config_folder


def command(given: Namespace, configs: Configs) -> int:
    """Print proposals for the line in ``COMP_LINE``, or the script that asks for them."""
    line = os.environ.get("COMP_LINE", "")
    if any(word.startswith("query=") for word in given.words):
        typed = line.split()
        if len(typed) < 2 or (len(typed) == 2 and not line.endswith(" ")):
            print("\n".join(COMMANDS))
            return 0
        os.environ["COMP_LINE"] = line.replace(f" {typed[1]} ", " ", 1)
    sys.argv = ["adbench", *given.words]
    main = hydra.main(str(config_folder()), "run", version_base="1.3")
    main(lambda config: None)()
    return 0
