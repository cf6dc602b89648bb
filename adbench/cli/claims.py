"""``adbench claims``: what the reports conclude, beside what was measured."""

from argparse import Namespace
from pathlib import Path

from adbench.config.compose import Configs
from adbench.reports.claims import judge, load_claims, to_markdown
from adbench.results.records import load_all
from adbench.system.files import write_whole


def command(given: Namespace, configs: Configs) -> int:
    """Judge every claim, print the page and write it to the results."""
    results = Path(str(configs.compose(given.overrides).results)).expanduser()
    folder = results / "records"
    records = load_all(folder)
    judged = [judge(c, records, folder, given.overrides, configs) for c in load_claims()]
    page = to_markdown(judged)
    write_whole(results / "claims.md", page)
    print(f"{page}\n{results / 'claims.md'}")
    return 0
