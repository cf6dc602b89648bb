"""``adbench list``: presets, tables and metrics, each in one line."""

from argparse import Namespace

from adbench.cli.main import LISTED
from adbench.cli.output import print_json
from adbench.cli.screen import say
from adbench.config.compose import Configs
from adbench.config.explain import GROUPS, plural

OF_PLURAL = {plural(group): group for group in GROUPS}


def command(given: Namespace, configs: Configs) -> int:
    """Print what was named, or all there is."""
    names = [given.what] if given.what else LISTED
    if given.json:
        every = {name: _lines(name, given.overrides, configs)[1] for name in names}
        print_json({n: [{"name": c, "about": a} for c, a in lines] for n, lines in every.items()})
        return 0
    for name in names:
        heading, lines = _lines(name, given.overrides, configs)
        say(f"{name} ({heading})")
        width = max((len(choice) for choice, _ in lines), default=0)
        say("\n".join(f"  {choice:<{width}}  {about}" for choice, about in lines))
    return 0


def _lines(name: str, overrides: list[str], configs: Configs) -> tuple[str, list[tuple[str, str]]]:
    """What users type for one of them, and each with what it is."""
    if name == "tables":
        return "adbench table NAME", _tables(overrides, configs)
    if name == "metrics":
        from adbench.evaluation.metrics import METRICS

        about = [(m.name, f"{m.title}: {m.about}") for m in METRICS]
        return "columns of records and tables", about
    group = OF_PLURAL[name]
    choices = configs.choices(group)
    return f"{group}=NAME", [(choice, configs.describe(group, choice)) for choice in choices]


def _tables(overrides: list[str], configs: Configs) -> list[tuple[str, str]]:
    from adbench.reports.needed import records_of
    from adbench.reports.tables import overview, results_folder
    from adbench.results.records import present

    folder = results_folder(configs.choices("table")[0], overrides, configs) / "records"
    records = records_of(folder, configs, overrides) if present(folder) else ()
    found = overview(records, overrides, configs)
    return [(name, f"{title}: {state}") for name, state, title in found]
