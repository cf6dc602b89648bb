"""What words of ``adbench run`` mean: composed, but not built, so that no network is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from omegaconf import DictConfig, OmegaConf

from adbench.config.build import build, class_of, plain
from adbench.errors import AdbenchError
from adbench.reports.repeats import SEED, unseeded
from adbench.results.records import Record
from adbench.system.settings import settings_of, target_name

BACKBONE = "backbone"
METHOD = "method"
LAYERS = "layers"
"""Names pyramid levels, whose order bears on nothing."""


@dataclass(frozen=True)
class Setting:
    """What a record must have been measured with; the seed and the device are not among it."""

    labels: dict[str, str]
    """Names of the presets, the dataset's among them."""
    dataset: str
    """The name of the dataset's class, which presets of other names may have too."""
    parts: dict[str, dict[str, Any]]
    """Part -> its composed settings: those of its class, and words that stand for some of them."""
    config: DictConfig = field(compare=False, repr=False)

    @classmethod
    def of(cls, config: DictConfig) -> "Setting":
        """The setting of a composed config.

        Raises:
            AdbenchError: A value refers to nothing, or must be given.
        """
        if config.get("detector") is not None:
            raise AdbenchError(
                "detector=FILE: records of saved detectors are not found by words; its run tells "
                "their numbers"
            )
        nodes = {
            str(name): node
            for name, node in config.items_ex(resolve=False)
            if isinstance(node, DictConfig) and "_target_" in node
        }
        labels = {part: str(node.get("name", part)) for part, node in nodes.items()}
        dataset = str(getattr(class_of(nodes.pop("dataset"), "dataset"), "name", ""))
        parts = {part: _settings(plain(node, part), part) for part, node in nodes.items()}
        return cls(labels, dataset, parts, config)

    @cached_property
    def _classes(self) -> dict[str, str]:
        """Part -> what records call its class."""
        return {part: target_name(own["_target_"]) for part, own in self.parts.items()}

    @property
    def backbone(self) -> dict[str, Any]:
        """The settings of the backbone; empty where the detector has none."""
        return self.parts.get(BACKBONE, {})

    def matches(self, part: str, recorded: Any) -> bool:
        """Whether a part of a record's identity is what this setting gives, whatever the seed.

        The record holds the settings that bear on the numbers; the setting may hold more.
        """
        own = self.parts.get(part)
        if own is None or not isinstance(recorded, dict):
            return False
        if "class" in recorded:
            if recorded["class"] != self._classes[part]:
                return False
            recorded = recorded.get("settings", {})
        try:
            return _within(recorded, own)
        except KeyError:  # a file that leaves a default to the class
            pass
        try:
            return _within(recorded, settings_of(build(self.config[part], part)))
        except KeyError:  # a record of another version, with a setting that the class has not
            return False

    def has(self, parts: Mapping[str, Any]) -> bool:
        """Whether the parts of an identity, whatever its backbone, are what this setting gives."""
        if METHOD in parts and not self.matches(METHOD, parts[METHOD]):  # what differs most often
            return False
        rest = (name for name in parts if name not in (METHOD, BACKBONE))
        return all(self.matches(name, parts[name]) for name in rest)

    def of_dataset(self, records: Sequence[Record]) -> list[Record]:
        """The records that were measured on this dataset.

        Where a category was measured through several presets of one class, those of this preset
        are meant.
        """
        found = [r for r in records if r.identity["dataset"]["name"] == self.dataset]
        own = {r.category for r in found if r.labels.get("dataset") == self.labels["dataset"]}
        return [
            r
            for r in found
            if r.category not in own or r.labels.get("dataset") == self.labels["dataset"]
        ]

    def changes(self, published: "Setting") -> dict[str, tuple[str, Any, Any]]:
        """What differs from the published setting, by what it is called.

        Returns:
            Name -> how it is said, the new value and the published one: other presets, or the
            settings of the same preset, without those that only follow another one.
        """
        changed: dict[str, tuple[str, Any, Any]] = {}
        for part, label in published.labels.items():
            new = self.labels.get(part, "nothing")
            if new != label:
                changed[part] = f"{part} {new}", new, label
            elif part in published.parts:
                old, own = (dict(_leaves(s.parts[part])) for s in (published, self))
                differing = [keys for keys in own if own[keys] != old.get(keys)]
                following = _following(self.config[part]) if differing else frozenset()
                for keys in differing:
                    if keys not in following:
                        name = ".".join([part, *keys])
                        changed[name] = f"{name}={own[keys]}", own[keys], old.get(keys)
        return changed


def sorted_layers(value: Any) -> Any:
    """Settings with their layers in ascending order, at any depth."""
    if isinstance(value, dict):
        return {
            n: sorted(v) if n == LAYERS and isinstance(v, list) else sorted_layers(v)
            for n, v in value.items()
        }
    return value


def _settings(node: dict[str, Any], part: str) -> dict[str, Any]:
    node = {name: value for name, value in node.items() if name not in ("name", "device")}
    return node if part == BACKBONE else sorted_layers(unseeded(node))


def _within(recorded: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether every recorded setting has the same value; KeyError where one is not there."""
    for name, value in recorded.items():
        if name == SEED:
            continue
        other = own[name]
        if isinstance(value, dict):
            if not (isinstance(other, Mapping) and _within(value, other)):
                return False
        elif name == LAYERS and isinstance(value, list) and isinstance(other, list):
            if sorted(value) != sorted(other):
                return False
        elif value != other:
            return False
    return True


def _following(node: DictConfig) -> frozenset[tuple[str, ...]]:
    """The settings that take their value from another one."""
    raw = OmegaConf.to_container(node, resolve=False)
    return frozenset(k for k, v in _leaves(raw) if isinstance(v, str) and v.startswith("${"))


def _leaves(value: Any, at: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if not isinstance(value, dict):
        return [(at, value)]
    return [leaf for name, inner in value.items() for leaf in _leaves(inner, (*at, name))]
