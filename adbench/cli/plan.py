"""``adbench plan``: what a run, a sweep or a published table will take, before anything runs."""

import itertools
import os
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from adbench.cli.output import lines_on_stderr
from adbench.cli.process import refuse_progress, take_progress
from adbench.cli.run_words import ONLY_TIME, own_words
from adbench.cli.screen import say, say_aside
from adbench.config.compose import Configs
from adbench.config.overrides import expand
from adbench.errors import AdbenchError
from adbench.reports.complete import complete

if TYPE_CHECKING:
    from adbench.bench.cost import Content, Cost
    from adbench.bench.plan import Plan
    from adbench.bench.rates import Rates
    from adbench.bench.shapes import Sized
    from adbench.cli.plan_table import Written

_OF_A_RUN = ("bars.", "report=", "split=", "hydra.", "hydra/", "launcher=", "progress=")
"""Words of ``adbench run`` and ``adbench reproduce`` that bear on no job."""
_OF_A_SIZE = ("images=", "categories=", "test_share=")


def command(given: Namespace, configs: Configs) -> int:
    """Print what the jobs will take; 1 where ``--check`` was given and something does not fit."""
    # Nothing is fetched for a plan; the hub's library reads this when it is imported.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    nodes = _nodes(given.nodes)
    sizes = [word for word in given.words if word.startswith(_OF_A_SIZE)]
    own = [*sizes, ONLY_TIME]
    words = [w for w in given.words if w not in own and not w.startswith(_OF_A_RUN)]
    only_time = ONLY_TIME in given.words
    if only_time:
        _refuse_beside_only_time(words, sizes)
    _refuse_as_run_does(given.words, configs)
    content = _sized(sizes, words) if sizes else None
    jobs = _jobs(words, given.multirun, configs)
    if content is None and not given.json and complete(jobs, configs):
        count = f"{len(jobs)} jobs have" if len(jobs) > 1 else "the job has"
        say(f"{count} every record already: nothing is to be run")
        return 0
    with lines_on_stderr(given.json):
        plans, wrong = _plans(jobs, configs, only_time)
        if content is not None:
            plans = [replace(plan, categories=(content.name,)) for plan in plans]
        from adbench.cli.plan_table import Shown, rooms

        costs, written, rates = _costs(plans, content)
    shown = Shown(costs, rates, nodes, wrong)
    checked = rooms(written, costs) if given.check else []
    shown.print_json(checked) if given.json else shown.print()
    for room in checked:
        if not room.suffices:
            say_aside(str(room))
        elif not given.json:
            say(f"suffices: {room}")
    return 0 if all(room.suffices for room in checked) else 1


def _refuse_as_run_does(words: Sequence[str], configs: Configs) -> None:
    """Refuse wrong words that bear on no job, as the command does that is planned."""
    known = configs.known("hydra/launcher")
    for word in words:
        name, _, value = word.partition("=")
        if name in ("launcher", "hydra/launcher") and value not in known:
            raise AdbenchError(f"{word}: there is no such launcher, but {', '.join(known)}")
    refuse_progress(take_progress(["run", *words])[0])
    if not any(_is_table(word) for word in words):
        own_words(words)


def _is_table(word: str) -> bool:
    return "=" not in word and not word.startswith(("+", "~"))


def _jobs(words: Sequence[str], sweep: bool, configs: Configs) -> list[tuple[str, ...]]:
    """The words of each job: of a table, of a sweep, or of one run."""
    tables = [word for word in words if _is_table(word)]
    overrides = configs.current_words([word for word in words if word not in tables])
    if len(tables) > 1:
        raise AdbenchError(f"plan: {' '.join(tables)}: name one table, or none")
    if tables:
        from adbench.reports.tables import runs

        return runs(tables[0], overrides, configs)
    if sweep:
        return list(itertools.product(*expand(overrides)))
    return [tuple(overrides)]


def _plans(
    jobs: Sequence[Sequence[str]], configs: Configs, only_time: bool = False
) -> tuple[list["Plan"], list[str]]:
    """The plans of the jobs, and why some of them cannot run.

    Raises:
        AdbenchError: None of them can.
    """
    from adbench.cli.job import planned_job
    from adbench.config.build import Builder

    plans, wrong, builder = [], [], Builder()
    for words in jobs:
        try:
            config = configs.compose(words)
            plans.append(planned_job(config, words, only_time=only_time, builder=builder))
        except AdbenchError as error:
            wrong.append(error)
    if not plans:
        raise wrong[0]
    return plans, [str(error) for error in wrong]


def _costs(
    plans: Sequence["Plan"], sized: "Sized | None"
) -> tuple[list["Cost"], list["Written"], "Rates"]:
    """What each bundle takes, what it writes where, and the rates that this was found with."""
    from adbench.bench.bundles import bundles
    from adbench.bench.cost import Costs
    from adbench.bench.existing import Existing, here
    from adbench.bench.rates import Rates
    from adbench.bench.session import Session
    from adbench.cli.plan_table import written_by

    plans = Session(plans).plans  # one network between them, whose weights are read once
    existing = Existing()
    rates = Rates(existing.records(plans[0].records), here(plans[0]))
    costs = Costs(plans, rates, existing)
    contents: dict[tuple[str, str], Content] = {}
    found = []
    written: list[Written] = []
    for bundle in bundles(dict(enumerate(plans))):
        content = sized or _content(plans[bundle.jobs[0]], bundle.category, contents)
        found.append(costs.of(bundle, content))
        written += written_by(bundle, found[-1], content, costs)
    return found, written, rates


def _content(plan: "Plan", category: str, known: dict[tuple[str, str], "Content"]) -> "Content":
    """The images of a category, which are hashed once for all bundles on it."""
    from adbench.bench.category import Category
    from adbench.system.settings import digest, settings_of

    geometry = plan.detector.geometry
    needs_one_size = "" if geometry.size else digest(settings_of(geometry))
    key = digest([plan.dataset.name, settings_of(plan.dataset), needs_one_size]), category
    if key not in known:
        known[key] = Category.load(plan, category)
    return known[key]


def _sized(words: Sequence[str], others: Sequence[str]) -> "Sized":
    """The categories that ``images=N`` stands for.

    Without further words they are as large as those of MVTec AD on average, and as many of their
    images are for testing.
    """
    from adbench.data.mvtec import PUBLISHED

    _refuse_dataset(others)
    given = dict(word.split("=", 1) for word in words)
    if "images" not in given:
        raise AdbenchError(f"{words[0]}: goes with images=N alone, which says how many there are")
    train, test = (sum(counts) for counts in zip(*PUBLISHED.values(), strict=True))
    usual = (train + test) / len(PUBLISHED)
    images = _number("images", given.get("images"), 2)
    categories = _number("categories", given.get("categories", max(1, round(images / usual))), 1)
    share = _share(given.get("test_share"), test / (train + test))
    each = images // categories
    if each < 2:
        raise AdbenchError(
            f"images={images} categories={categories}: a category needs 2 images at least, one to "
            "learn from and one to test; raise images or lower categories"
        )
    from adbench.bench.shapes import Sized

    tested = min(each - 1, max(1, round(share * each)))
    return Sized.of(each - tested, tested, categories)


def _number(name: str, word: object, least: int, most: float = 1e12) -> int:
    try:
        value = float(str(word))
    except ValueError:
        value = -1.0
    if not least <= value <= most or value != int(value):
        raise AdbenchError(
            f"{name}={word}: is a whole number from {least} to {most:,.0f}, such as {name}=16"
        )
    return int(value)


def _share(word: str | None, usual: float) -> float:
    try:
        value = usual if word is None else float(word)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise AdbenchError(
            f"test_share={word}: is the part of the images that is tested, between 0 and 1"
        )
    return value


def _nodes(word: str | None) -> int | None:
    return None if word is None else _number("--nodes", word, 1, most=1e6)


def _refuse_beside_only_time(words: Sequence[str], sizes: Sequence[str]) -> None:
    """Refuse words that go with no record of a run: ``timing=only`` completes those alone."""
    if wrong := [*sizes, *filter(_is_table, words)]:
        raise AdbenchError(
            f"{ONLY_TIME}: completes the records of `adbench run` that are there; leave {wrong[0]} "
            "out"
        )


def _refuse_dataset(words: Sequence[str]) -> None:
    for word in words:
        if word.startswith(("dataset=", "dataset.")):
            raise AdbenchError(
                f"{word}: images=N stands in the place of a dataset; leave one of them out"
            )
        if "=" not in word:
            raise AdbenchError(f"{word}: a table has images of its own; leave images=N out")
