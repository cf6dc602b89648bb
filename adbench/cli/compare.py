"""``adbench compare``: two settings on the same test images, paired."""

from argparse import Namespace
from pathlib import Path

from adbench.config.compose import Configs
from adbench.reports.compare import compare, to_markdown
from adbench.results.records import load_all


def command(given: Namespace, configs: Configs) -> int:
    """Print the comparison."""
    results = Path(str(configs.compose(given.overrides).results)).expanduser()
    folder = results / "records"
    first, second = given.sides
    print(to_markdown(compare(first, second, folder, load_all(folder), configs)))
    return 0
