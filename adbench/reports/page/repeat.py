"""The words of ``adbench run`` that repeat a record."""

import re
import shlex
from typing import Any

from adbench.config.compose import Configs
from adbench.config.quoting import quoted, readable
from adbench.errors import AdbenchError
from adbench.reports.repeats import draws, seed, settings_shared
from adbench.reports.setting import Setting, sorted_layers
from adbench.reports.swept import texts_of
from adbench.results.record import GIVEN
from adbench.results.records import Record

SAVED = "saved"
"""The part of an identity that only saved detectors have."""
_WORDS = ("null", "true", "false", "nan", "inf")
"""Texts that Hydra takes for values of another kind."""
PARTS = ("dataset", "geometry", "backbone", "method")


class Repeats:
    """Finds the words of records; those of one setting are composed once.

    Args:
        configs: Where presets are found.
    """

    def __init__(self, configs: Configs) -> None:
        self._configs = configs
        self._known: dict[str, tuple[list[str], str]] = {}

    def command(self, record: Record) -> tuple[str, str]:
        """The command, and why it may not repeat the record; empty where it does."""
        if GIVEN in record.identity:
            return _score_command(record), ""
        if SAVED in record.identity:
            return _saved_command(record), ""
        labels = {part: record.labels[part] for part in PARTS if part in record.labels}
        key = repr((labels, settings_shared(record), record.weights.get("setting")))
        if key not in self._known:
            self._known[key] = self._setting_words(labels, record)
        words, why = self._known[key]
        every = [*words[:1], f"dataset.categories=[{_item(record.category)}]", *words[1:]]
        return shlex.join(["adbench", "run", *every, *_options(record)]), why

    def _setting_words(self, labels: dict[str, str], record: Record) -> tuple[list[str], str]:
        words = [f"{part}={label}" for part, label in labels.items()]
        try:
            composed = Setting.of(self._configs.compose(words))
            for part, recorded in settings_shared(record).items():
                words += _changed(part, recorded, composed.parts.get(part, {}))
            words = readable([*words, *_weights(record, composed.backbone)])
            again = Setting.of(self._configs.compose(words))
        except AdbenchError as error:
            return words, f"these words do not compose here: {error}"
        parts = {n: _without_sha256(v) for n, v in settings_shared(record).items()}
        if other := [part for part, value in parts.items() if not again.matches(part, value)]:
            return words, f"the presets have changed since: {' and '.join(other)} differ"
        return words, ""


def _item(text: str) -> str:
    """A text inside a list of Hydra's."""
    plain = re.fullmatch(r"[A-Za-z_]\w*", text) and text.lower() not in _WORDS
    return text if plain else quoted(text)


def _changed(part: str, recorded: Any, composed: dict[str, Any]) -> list[str]:
    """The settings of a record that its preset does not give."""
    own = sorted_layers(recorded.get("settings", recorded) if "class" in recorded else recorded)
    preset = texts_of(part, sorted_layers(composed))
    return [
        f"{name}={text}"
        for name, text in texts_of(part, own).items()
        if preset.get(name, text) != text
    ]


def _weights(record: Record, backbone: dict[str, Any]) -> list[str]:
    chosen = record.weights.get("setting")
    same = chosen is None or backbone.get("weights") == chosen
    return [] if same else [f"backbone.weights={chosen}"]


def _without_sha256(recorded: Any) -> Any:
    if not isinstance(recorded, dict):
        return recorded
    return {name: value for name, value in recorded.items() if name != "sha256"}


def _options(record: Record) -> list[str]:
    """Seed, threshold and what was not measured."""
    words = [f"seed={seed(record)}"] if draws(record) else []
    kind = record.threshold.get("kind")
    if kind == "folds":
        words += ["threshold=folds", f"alpha={record.threshold['alpha']!r}"]
        words += [f"folds={record.folds['wanted']}"] if "wanted" in record.folds else []
        if not draws(record) and "seed" in record.folds:  # it dealt the images into the folds
            words.insert(0, f"seed={record.folds['seed']}")
    elif kind == "train":
        words.append("threshold=train")
    return words if record.time else [*words, "timing.enabled=false"]


def _score_command(record: Record) -> str:
    """The words that measure a tool's maps and scores again."""
    given = record.identity[GIVEN]
    words = [f"{key}={given[key]}" for key in ("name", "version", "note") if given.get(key)]
    rule = given.get("rule", {})
    if rule.get("scores") == "given":
        words.append("scores=FILE")
    if rule.get("more anomalous") == "lower":
        words.append("sign=lower")
    if str(rule.get("maps")).startswith("of the crop"):
        words.append("covers=crop")
    return shlex.join(["adbench", "score", "FOLDER", *_images(record), *words])


def _saved_command(record: Record) -> str:
    """The words that measure a saved detector again."""
    runtime = record.identity[SAVED]["runtime"]
    words = [] if runtime == "torch" else [f"runtime={runtime}"]
    return shlex.join(["adbench", "run", "detector=FILE", *_images(record), *words])


def _images(record: Record) -> list[str]:
    """The words for the images of a record, and for the geometry of what brings no network."""
    named = PARTS[:2] if GIVEN in record.identity else PARTS[:1]
    words = [f"{part}={record.labels[part]}" for part in named if part in record.labels]
    return [*words, f"dataset.categories=[{_item(record.category)}]"]
