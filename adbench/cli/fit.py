"""``adbench fit``: a detector learns from all normal images and becomes one file."""

import shlex
import shutil
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from adbench.cli.screen import say
from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.system.files import existing_folder, expanded, try_file

if TYPE_CHECKING:
    from adbench.bench.plan import Plan
    from adbench.detectors.saved import SavedDetector

USAGE = """usage: adbench fit [key=value ...] out=FILE.safetensors

Fit a detector on all normal images of one category, find its threshold by folds over them, and
write one file, which adbench predict, adbench export and adbench run detector=FILE take.

  adbench fit dataset=folder dataset.normal=photos/good out=part.safetensors

Words are those of adbench run: dataset, geometry, backbone, method and their settings, and
  out=FILE              where to write
  alpha=0.05            the part of new normal images that may be called anomalous, on average
  folds=5               into which the normal images are dealt to find the threshold
  threshold=none        no threshold: the detector gives scores alone
  include_weights=true  the backbone's weights go into the file, which then needs nothing else

Of a dataset with several categories, dataset.categories=[NAME] chooses one.

Exit status: 0 the file is written, 2 a word or a setting is wrong, or the images cannot be used."""

SUFFIX = ".safetensors"
_DEFAULT = "threshold=folds"


@dataclass(frozen=True)
class _Words:
    out: Path
    include_weights: bool
    overrides: list[str]


def command(given: Namespace, configs: Configs) -> int:
    """Fit, find the threshold, write the file."""
    if {"--help", "-h"} & set(given.words):
        print(USAGE)
        return 0
    words = _parsed(given.words)
    from adbench.cli.job import planned_job
    from adbench.detectors.feature_detector import require_saveable

    planned = planned_job(configs.compose(words.overrides), words.overrides)
    if planned.options.detector is not None:
        raise AdbenchError("fit: detector=FILE is fitted already; leave this out")
    if planned.options.threshold == "train":
        raise AdbenchError("fit: threshold=train promises nothing; set folds or none")
    require_saveable(planned.detector)
    if len(planned.categories) != 1:
        names = ", ".join(planned.categories)
        raise AdbenchError(
            f"fit: one detector learns one category, and the dataset has {names}; choose one, such "
            f"as dataset.categories=[{planned.categories[0]}]"
        )
    _require_writable(words.out)
    _write(planned, words)
    return 0


def _write(planned: "Plan", words: _Words) -> None:
    from adbench.bench.fitting import Wish, fit, images_of
    from adbench.bench.session import Session
    from adbench.data.samples import normal_of
    from adbench.detectors.feature_detector import require_saveable
    from adbench.detectors.saved import save
    from adbench.system.parallel import libraries_known
    from adbench.system.progress import aside, doing, kind_for, progress

    options, (category,) = planned.options, planned.categories
    session = Session([planned], kind_for(sys.stderr))
    detector = require_saveable(session.plans[0].detector)
    wish = None
    if options.threshold != "none":
        wish = Wish(options.alpha, options.folds, options.seed)

    def learned(title: str, size: int) -> None:
        with aside():
            say(f"{title} learned {size / 1e6:.1f} MB, which the file will hold: {words.out}")
        _require_room(words.out, size)

    with progress(session.shown), libraries_known():
        session.begin([0])
        with doing("images"):
            images = images_of([sample.path for sample in normal_of(planned.dataset, category)])
        saved = fit(
            detector,
            planned.labels,
            images,
            session,
            wish,
            category,
            words.include_weights,
            learned,
        )
        size = save(words.out, saved)
    say("\n".join(_told(words.out, size, saved)))


def _told(path: Path, size: int, saved: "SavedDetector") -> list[str]:
    header, decision = saved.header, saved.header.decision()
    lines = [
        f"{path}: {saved.title} on {header.category}, {header.training.images} normal images, "
        f"{size / 1e6:.1f} MB"
    ]
    if decision is None:
        return [*lines, "no threshold: it gives scores alone"]
    low, high = decision.promised["low"], decision.promised["high"]
    lines.append(
        f"threshold {decision.value:.6g}: at most {100 * decision.promised['mean']:.1f}% of new "
        f"normal images are called anomalous on average ({100 * low:.1f} to {100 * high:.1f}% in "
        "95 of 100 fits)"
    )
    notes = [f"note: {note}" for note in header.notes]
    return [*lines, *notes, f"next: adbench predict {shlex.quote(str(path))} IMAGES"]


def _parsed(words: Sequence[str]) -> _Words:
    """The words of this command, and those that describe the detector and its images."""
    own = {"out": "", "include_weights": "false"}
    overrides = []
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in own:
            own[name] = value
        elif word.startswith("-"):
            raise AdbenchError(f"fit: no {word!r}; `adbench fit --help` tells more")
        else:
            overrides.append(word)
    if not own["out"]:
        raise AdbenchError("fit: where to? give out=FILE.safetensors")
    out = expanded(own["out"])
    if out.suffix != SUFFIX:
        raise AdbenchError(f"out={out}: the name of a detector ends in {SUFFIX}")
    if own["include_weights"] not in ("true", "false"):
        raise AdbenchError(f"include_weights={own['include_weights']}: is true or false")
    if not any(word.startswith("threshold=") for word in overrides):
        overrides.append(_DEFAULT)
    return _Words(out, own["include_weights"] == "true", overrides)


def _require_writable(out: Path) -> None:
    """Try whether the file can be written, before the work."""
    try:
        try_file(out)
    except OSError as error:
        raise AdbenchError(f"out={out}: cannot be written: {error.strerror or error}") from None


def _require_room(out: Path, size: int) -> None:
    free = shutil.disk_usage(existing_folder(out.parent)).free
    if size > free:
        raise AdbenchError(
            f"out={out}: {size / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free there"
        )
