"""Which records were measured under given overrides, found without the dataset or the weights on disk."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from adbench.build import build, settings_of
from adbench.compose import compose
from adbench.core import AdbenchError
from adbench.memo import digest
from adbench.records import Record

NOT_RUN = "not run"
IMPOSSIBLE = "not possible with this backbone"

Found = dict[str, list[Record]]
"""Category -> its records, which differ in the seed alone."""


@dataclass(frozen=True)
class Setting:
    """The parts of a composed config that a record must have been measured with; the seed is not among them."""

    geometry: dict[str, Any]
    backbone: dict[str, Any]
    method: dict[str, Any]
    labels: dict[str, str]
    """Names of the presets, the dataset's among them."""

    def settings(self, part: str) -> dict[str, Any]:
        """The settings of a part; those of the dataset do not count."""
        parts: dict[str, dict[str, Any]] = {
            "geometry": self.geometry,
            "backbone": self.backbone,
            "method": self.method["settings"],
        }
        return parts.get(part, {})

    def measured(self, record: Record) -> bool:
        """Whether the record is of this setting, whatever the dataset and the seed."""
        return self.measured_elsewhere(record) and is_backbone(self.backbone, record)

    def on(self, record: Record) -> bool:
        """Whether the record is of the same dataset."""
        return bool(record.identity["dataset"]["name"] == self.labels["dataset"])

    def measured_elsewhere(self, record: Record) -> bool:
        """Whether the record is of this setting but for the backbone."""
        same = digest(record.identity["geometry"]) == digest(self.geometry)
        return same and digest(unseeded(record.identity["method"])) == digest(self.method)


@dataclass(frozen=True)
class Wanted:
    """A row of a table or a side of a claim."""

    run: tuple[str, ...]
    """What to add to ``adbench run`` to measure it."""
    elsewhere: tuple[str, ...] = ()
    """What must be added besides where the backbone is not the published one."""

    def overrides(self, extra: tuple[str, ...]) -> tuple[str, ...]:
        """All overrides, ``extra`` of the user's last; ``elsewhere`` among them where those change the backbone."""
        plain = (*self.run, *extra)
        if self.elsewhere and setting(plain).backbone != setting(self.run).backbone:
            return (*self.run, *self.elsewhere, *extra)
        return plain


@dataclass(frozen=True)
class Source:
    """The records that fill a row."""

    found: Found = field(default_factory=dict)
    mark: str = ""
    """What they were measured with in place of the published setting."""
    absent: str = NOT_RUN
    """Why there are none."""


@functools.cache
def setting(overrides: tuple[str, ...]) -> Setting:
    """Compose and build what ``adbench run`` would with these overrides. Raises AdbenchError naming what is wrong."""
    config = _composed(overrides)
    geometry, backbone, method = (build(config[part], part) for part in ("geometry", "backbone", "method"))
    labels = {part: str(config[part].name) for part in ("dataset", "geometry", "backbone", "method")}
    named = {name: value for name, value in settings_of(backbone).items() if name != "device"}
    described = {"class": type(method).__name__, "settings": settings_of(method)}
    return Setting(settings_of(geometry), named, unseeded(described), labels)


def _composed(overrides: tuple[str, ...]) -> DictConfig:
    """What ``compose`` gives, with presets composed once per choice: most rows of a table differ in values alone."""
    values = tuple(o for o in overrides if "." in o.partition("=")[0])
    if any(o.startswith(("+", "~")) for o in overrides):
        return compose(overrides)
    config = _presets(tuple(o for o in overrides if o not in values)).copy()
    try:
        for override in OverridesParser.create().parse_overrides(list(values)):
            OmegaConf.update(config, override.key_or_group, override.value(), force_add=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise AdbenchError(f"{' '.join(overrides)}: {str(error).splitlines()[0]}") from error
    return config


_presets = functools.cache(compose)


def find(
    wanted: Mapping[str, Wanted], records: Sequence[Record], extra: tuple[str, ...], costs_only: bool
) -> dict[str, Source]:
    """The records of each row.

    They are those of its published setting, or of what ``extra`` makes of it. Where ``extra`` changes nothing, a row
    without any takes those with the same geometry and method on another backbone, the same one for all rows, unless
    they are another row's own.

    Args:
        wanted: Label -> row.
        records: All, or those of the categories in question.
        extra: Overrides of the user's.
        costs_only: Whether times and sizes alone are asked. Only for them may random weights stand in, and those of the
            published architecture are then preferred.

    Raises:
        AdbenchError: A wrong override, two records for one cell, or several other backbones that would fit.
    """
    published = {label: setting(want.run) for label, want in wanted.items()}
    asked = {label: setting(want.overrides(extra)) for label, want in wanted.items()}
    sources = {
        label: Source(
            by_category([r for r in records if want.measured(r) and want.on(r)]), _mark(published[label], want)
        )
        for label, want in asked.items()
    }
    lacking = [label for label, source in sources.items() if not source.found]
    if asked != published:
        return sources | {label: Source(absent=impossible(asked[label])) for label in lacking}
    asked = {label: setting(wanted[label].run + wanted[label].elsewhere) for label in lacking}
    own = {r.id for source in sources.values() for found in source.found.values() for r in found}
    free = [r for r in records if r.id not in own and (costs_only or not random_weights(r))]
    fitting = {label: _stand_ins(asked[label], published[label], free) for label in lacking}
    names = sorted({name for found in fitting.values() for name in found})
    if len(names) > 1:
        raise AdbenchError(
            f"records of {len(names)} other backbones would fit: {', '.join(names)}; choose one by an override such as "
            "backbone=NAME, they are not mixed"
        )
    for label in lacking:
        for name, chosen in fitting[label].items():
            changed = "".join(f", {override}" for override in wanted[label].elsewhere)
            mark = f"backbone {name} in place of {published[label].labels['backbone']}{changed}"
            sources[label] = Source(by_category(chosen), mark)
        if not sources[label].found:
            others = [r for found in fitting.values() for chosen in found.values() for r in chosen] or free
            reasons = [
                impossible(asked[label], model) for model in sorted({r.identity["backbone"]["model"] for r in others})
            ]
            sources[label] = Source(absent=reasons[0] if reasons and NOT_RUN not in reasons else NOT_RUN)
    return sources


def by_category(records: Sequence[Record]) -> Found:
    """Records of one setting, sorted by category and seed.

    Raises:
        AdbenchError: Two records claim one category and seed, such as those of two copies of the dataset.
    """
    found: Found = {}
    for record in sorted(records, key=lambda r: (r.category, seed(r), r.id)):
        repeats = found.setdefault(record.category, [])
        if repeats and seed(repeats[-1]) == seed(record):
            raise AdbenchError(
                f"records {repeats[-1].id} and {record.id} claim the same cell: {record.labels.get('method')} on "
                f"{record.category}, seed {seed(record)}; they differ in {_differing(repeats[-1], record)}. Move one "
                "of them out of the folder, or set results=DIR"
            )
        repeats.append(record)
    return found


def seed(record: Record) -> int:
    """The seed of the method; 0 where it draws nothing."""
    return int(record.identity["method"]["settings"].get("seed", 0))


def unseeded(method: dict[str, Any]) -> dict[str, Any]:
    """A method's part of the identity without its seed."""
    return {**method, "settings": {n: v for n, v in method["settings"].items() if n != "seed"}}


def setting_key(record: Record) -> str:
    """A name that repeats of a setting have in common, whatever the dataset."""
    identity = record.identity
    return digest([identity["geometry"], identity["backbone"], unseeded(identity["method"])])


def is_backbone(settings: dict[str, Any], record: Record) -> bool:
    """Whether the record was measured through the backbone of these settings, as far as their names tell.

    An identity names published weights by their repository (with a slash) or their tag, those of a file by its name and
    random ones by their seed.
    """
    identity = record.identity["backbone"]
    same = _same_weights(str(settings["weights"]), settings.get("seed"), str(identity["weights"]))
    return same and all(identity[n] == v for n, v in settings.items() if n in identity and n != "weights")


def _same_weights(asked: str, seed: int | None, named: str) -> bool:
    if asked == "random" or named.startswith("random:"):
        return (asked, named) == ("random", f"random:{seed}")
    if asked == "pretrained":
        return "/" in named
    if asked.startswith("package:"):
        return "/" not in named
    return named in (asked, Path(asked).name)


def random_weights(record: Record) -> bool:
    """Whether the backbone was never trained: times and sizes of such a record mean something, accuracies nothing."""
    return str(record.identity["backbone"]["weights"]).startswith("random")


def impossible(asked: Setting, model: str | None = None) -> str:
    """Why a setting cannot be measured with its backbone, or with the network ``model`` of timm; else ``not run``."""
    settings = asked.method["settings"]
    dims = settings.get("dims")
    channels = _channels(model or str(asked.backbone.get("model")), tuple(settings["layers"])) if dims else None
    if channels and dims > channels:
        return f"{IMPOSSIBLE}: more dimensions than its {channels} channels"
    return NOT_RUN


@functools.cache
def _channels(model: str, layers: tuple[int, ...]) -> int | None:
    """Channels of the pyramid levels together; None for a network that is not timm's."""
    import timm
    import torch

    if not timm.is_model(model.partition(".")[0]):
        return None
    with torch.device("meta"):  # no weights are made
        network: Any = timm.create_model(model, pretrained=False)
    levels = network.feature_info
    if len({level["reduction"] for level in levels}) == 1:  # a plain vision transformer
        return int(levels[0]["num_chs"]) * len(layers)
    wide = {int(level["reduction"]).bit_length() - 2: int(level["num_chs"]) for level in levels}
    return sum(wide.get(layer, 0) for layer in layers)


def _mark(published: Setting, asked: Setting) -> str:
    """What differs from the published setting: presets, or the settings of the same preset."""
    parts = []
    for part, label in published.labels.items():
        old, new = published.settings(part), asked.settings(part)
        if asked.labels[part] != label:
            parts.append(f"{part} {asked.labels[part]} in place of {label}")
        else:
            parts += [f"{part}.{name}={new[name]} in place of {old[name]}" for name in new if new[name] != old[name]]
    return ", ".join(parts)


def _differing(one: Record, other: Record) -> str:
    names = {"dataset": "their images", "backbone": "their weights"}
    return " and ".join(text for part, text in names.items() if one.identity[part] != other.identity[part])


def _stand_ins(asked: Setting, published: Setting, records: Sequence[Record]) -> Found:
    """Name of a backbone -> the records of the same geometry and method on it.

    Random weights stand in for those of the same network alone, and then before all others.
    """
    fitting = [
        r for r in records if asked.measured_elsewhere(r) and asked.on(r) and not is_backbone(published.backbone, r)
    ]
    same = [r for r in fitting if random_weights(r) and r.identity["backbone"]["model"] == published.backbone["model"]]
    found: Found = {}
    for record in same or [r for r in fitting if not random_weights(r)]:
        random = " with random weights" if random_weights(record) else ""
        found.setdefault(f"{record.labels['backbone']}{random}", []).append(record)
    return found
