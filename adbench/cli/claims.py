"""``adbench claims``: what the reports conclude, beside what was measured."""

from argparse import Namespace

from adbench.cli.output import print_json
from adbench.cli.screen import say
from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.reports.claims import judge, load_claims, to_json, to_markdown
from adbench.reports.needed import records_of
from adbench.system.files import expanded, write_whole


def command(given: Namespace, configs: Configs) -> int:
    """Judge every claim, print the page and write it to the results."""
    results = expanded(str(configs.compose(given.overrides).results))
    folder = results / "records"
    records = records_of(folder, configs, given.overrides)
    found = [judge(c, records, folder, given.overrides, configs) for c in load_claims()]
    page, path = to_markdown(found), results / "claims.md"
    try:
        write_whole(path, page)
    except OSError as error:
        raise AdbenchError(
            f"cannot write {path}: {error.strerror or error}; free space or copy the records to a "
            "folder that can be written, and name it by results=DIR"
        ) from None
    print_json({"claims": to_json(found)}) if given.json else say(f"{page}\n{path}")
    return 0
