"""``adbench migrate``: the records of an earlier version, carried over."""

from argparse import Namespace

from adbench.config.compose import Configs
from adbench.results.migrate import migrate
from adbench.results.renewed import renew_intervals
from adbench.system.files import expanded


def command(given: Namespace, configs: Configs) -> int:
    """Carry the records of a results folder over and say how many there were."""
    results = expanded(str(configs.compose(given.overrides).results))
    count = migrate(results, print)
    print(f"{count} records carried over in {results / 'records'}")
    renewed = renew_intervals(results / "records", print)
    print(f"{renewed} records have new intervals")
    return 0
