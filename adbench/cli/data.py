"""``adbench data``: what is in a dataset, and what is wrong with it."""

from argparse import Namespace
from typing import Any

from tabulate import tabulate

from adbench.config.build import build, refuse_unread
from adbench.config.compose import Configs
from adbench.config.overrides import compose_or_explain


def command(given: Namespace, configs: Configs) -> int:
    """Check a dataset without measuring anything; 1 where there are problems."""
    node = compose_or_explain(given.overrides, configs)["dataset"]
    dataset: Any = build(node, "dataset")
    refuse_unread(given.overrides, node, dataset, "dataset")
    rows = dataset.check()
    shown = [{name: value for name, value in r.items() if name != "problems"} for r in rows]
    print(tabulate(shown, headers="keys"))
    problems = [f"{r['category']}: {problem}" for r in rows for problem in r["problems"]]
    print("\n".join(problems) if problems else "no problems found")
    return 1 if problems else 0
