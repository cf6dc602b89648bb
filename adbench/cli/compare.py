"""``adbench compare``: settings on the same test images, paired."""

from argparse import Namespace

from adbench.cli.output import print_json
from adbench.cli.screen import say
from adbench.cli.sides import results_of, sides_of
from adbench.config.compose import Configs
from adbench.reports.compare import compare
from adbench.reports.compared import to_json, to_markdown
from adbench.reports.needed import records_of


def command(given: Namespace, configs: Configs) -> int:
    """Print the comparison."""
    folder = results_of(given.words, configs) / "records"
    records = records_of(folder, configs, given.words)
    found = compare(sides_of(given.words), folder, records, configs)
    print_json(to_json(found)) if given.json else say(to_markdown(found))
    return 0
