"""Which records were measured under given words, found without the dataset or a network.

A record matches where each of its settings has the composed value, and where the sha256 of its
weights is that of the weights that the words name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from omegaconf import DictConfig

from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.reports.repeats import Found, by_category, parts_of, random_weights
from adbench.reports.setting import BACKBONE, Setting
from adbench.reports.weights import Weights
from adbench.results.records import Record

NOT_RUN = "not run"
IMPOSSIBLE = "not possible with this backbone"


@dataclass(frozen=True)
class Wanted:
    """A row of a table or a side of a claim."""

    run: tuple[str, ...]
    """The words of ``adbench run`` that measure it."""
    elsewhere: tuple[str, ...] = ()
    """Words to add where the backbone is not the published one."""


@dataclass(frozen=True)
class Source:
    """The records that fill a row."""

    found: Found = field(default_factory=dict)
    mark: str = ""
    """What they were measured with in place of the published setting."""
    absent: str = NOT_RUN
    """Why there are none."""


class Matching:
    """Records, and the settings that words mean.

    Args:
        records: All there are.
        configs: Where presets are found.
    """

    def __init__(self, records: Sequence[Record], configs: Configs) -> None:
        self.records, self.configs = records, configs
        self._settings: dict[tuple[str, ...], Setting] = {}
        self._options: frozenset[str] = frozenset()
        """Options of a run, such as ``results``, which are no part of a setting."""
        self._weights = Weights(records)

    def on(self, records: Sequence[Record]) -> "Matching":
        """The same on other records; what words mean is not composed again."""
        other = Matching(records, self.configs)
        other._settings, other._options = self._settings, self._options
        other._weights.learn(self._weights)
        return other

    def setting(self, words: Sequence[str]) -> Setting:
        """What ``adbench run`` would measure with these words.

        Raises:
            AdbenchError: Names the word that is wrong.
        """
        key = tuple(word for word in words if word.partition("=")[0] not in self._options)
        if key not in self._settings:
            try:
                config = self.configs.compose(key)
                self._settings[key] = Setting.of(config)
            except AdbenchError as error:
                raise AdbenchError(f"{' '.join(words)}: {error}") from error
            if not self._options:
                self._options = _options(config)
        return self._settings[key]

    def words(self, wanted: Wanted, extra: Sequence[str]) -> tuple[str, ...]:
        """All words of a row, those of the user last.

        ``elsewhere`` is among them where the user's words change the backbone.
        """
        own = (*wanted.run, *extra)
        if wanted.elsewhere and self.setting(own).backbone != self.setting(wanted.run).backbone:
            return (*wanted.run, *wanted.elsewhere, *extra)
        return own

    def measured(self, setting: Setting, record: Record) -> bool:
        """Whether the record is of this setting, whatever the dataset and the seed."""
        return setting.has(parts_of(record)) and self._backbone(setting, record)

    def settings_for(self, wanted: Mapping[str, Wanted], extra: Sequence[str]) -> list[Setting]:
        """The settings that ``find`` looks for, whatever their backbone.

        Raises:
            AdbenchError: A wrong word.
        """
        words = [
            chosen
            for want in wanted.values()
            for chosen in (want.run, (*want.run, *want.elsewhere), self.words(want, extra))
        ]
        return [self.setting(one) for one in dict.fromkeys(words)]

    def find(
        self,
        wanted: Mapping[str, Wanted],
        extra: Sequence[str],
        costs_only: bool,
        categories: Sequence[str] | None = None,
    ) -> dict[str, Source]:
        """The records of each row.

        They are those of its published setting, or of what ``extra`` makes of it. Where ``extra``
        changes nothing, a row without any takes those with the same geometry and method on another
        backbone, the same one for all rows, unless they are another row's own.

        Args:
            wanted: Label -> row.
            extra: Words of the user's.
            costs_only: Whether times and sizes alone are wanted. Only for them may random weights
                stand in, and those of the published architecture are then preferred.
            categories: Those in question; all where None.

        Raises:
            AdbenchError: A wrong word, two records for one cell, or several other backbones that
                would fit.
        """
        records = [r for r in self.records if categories is None or r.category in categories]
        published = {label: self.setting(want.run) for label, want in wanted.items()}
        chosen = {label: self.setting(self.words(want, extra)) for label, want in wanted.items()}
        sources = {
            label: Source(
                by_category(want.of_dataset([r for r in records if self.measured(want, r)])),
                self._mark(published[label], want),
            )
            for label, want in chosen.items()
        }
        lacking = [label for label, source in sources.items() if not source.found]
        if chosen != published:
            return sources | {n: Source(absent=self._absent(chosen[n])) for n in lacking}
        own = {r.id for s in sources.values() for found in s.found.values() for r in found}
        free = [r for r in records if r.id not in own and (costs_only or not random_weights(r))]
        return sources | self._on_another_backbone({n: wanted[n] for n in lacking}, free)

    def _on_another_backbone(
        self, wanted: Mapping[str, Wanted], free: Sequence[Record]
    ) -> dict[str, Source]:
        """Sources of rows that the published backbone has no record of."""
        settings = {n: self.setting((*want.run, *want.elsewhere)) for n, want in wanted.items()}
        published = {n: self.setting(want.run) for n, want in wanted.items()}
        fitting = {n: self._stand_ins(settings[n], published[n], free) for n in wanted}
        names = sorted({name for found in fitting.values() for name in found})
        if len(names) > 1:
            raise AdbenchError(
                f"records of {len(names)} other backbones would fit: {', '.join(names)}; choose "
                "one by an override such as backbone=NAME, they are not mixed"
            )
        sources: dict[str, Source] = {}
        for label, want in wanted.items():
            for name, records in fitting[label].items():
                changed = "".join(f", {word}" for word in want.elsewhere)
                mark = f"backbone {name} in place of {published[label].labels[BACKBONE]}{changed}"
                sources[label] = Source(by_category(records), mark)
            if label not in sources:
                others = [r for found in fitting.values() for rs in found.values() for r in rs]
                models = {
                    r.identity[BACKBONE]["model"] for r in others or free if BACKBONE in r.identity
                }
                reasons = [self._absent(settings[label], model) for model in sorted(models)]
                absent = reasons[0] if reasons and NOT_RUN not in reasons else NOT_RUN
                sources[label] = Source(absent=absent)
        return sources

    def _stand_ins(self, setting: Setting, published: Setting, free: Sequence[Record]) -> Found:
        """Name of a backbone -> the records of the same geometry and method on it.

        Random weights stand in for those of the same network alone, and then before all others.
        """
        fitting = setting.of_dataset(
            [
                r
                for r in free
                if BACKBONE in r.identity
                and setting.has(parts_of(r))
                and not self._backbone(published, r)
            ]
        )
        model = published.backbone.get("model")
        same = [r for r in fitting if random_weights(r) and r.identity[BACKBONE]["model"] == model]
        found: Found = {}
        for record in same or [r for r in fitting if not random_weights(r)]:
            name = record.labels[BACKBONE]
            if random_weights(record):
                name += " with random weights"
            elif name == published.labels[BACKBONE]:
                name += f" with the weights {record.weights.get('setting')}"
            found.setdefault(name, []).append(record)
        return found

    def _backbone(self, setting: Setting, record: Record) -> bool:
        recorded = parts_of(record).get(BACKBONE)
        if recorded is None:
            return True
        settings = {name: value for name, value in recorded.items() if name != "sha256"}
        return setting.matches(BACKBONE, settings) and self._weights.same(setting.backbone, record)

    def _mark(self, published: Setting, chosen: Setting) -> str:
        """What differs from the published setting: presets, or the settings of the same preset."""
        changes = chosen.changes(published)
        weights = changes.get("backbone.weights")
        if weights is not None:
            _, new, old = weights
            if self._weights.equal(published.backbone.get("model"), str(new), str(old)):
                del changes["backbone.weights"]  # the same file by another way
        return ", ".join(f"{said} in place of {old}" for said, _, old in changes.values())

    def _absent(self, setting: Setting, model: str | None = None) -> str:
        """Why a setting has no record with its backbone, or with the network ``model``."""
        method = setting.parts.get("method", {})
        dims = method.get("dims")
        channels = self._channels(model or setting.backbone.get("model"), method.get("layers", []))
        if dims and channels and dims > channels:
            return f"{IMPOSSIBLE}: more dimensions than its {channels} channels"
        return NOT_RUN

    def _channels(self, model: str | None, layers: Sequence[int]) -> int | None:
        """Channels of some pyramid levels together, where records of the network tell them."""
        known: dict[str, int] = {}
        for record in self.records:
            if record.identity.get(BACKBONE, {}).get("model") == model:
                known |= record.channels
        if not layers or any(str(layer) not in known for layer in layers):
            return None
        return sum(known[str(layer)] for layer in layers)


def _options(config: DictConfig) -> frozenset[str]:
    nodes = config.items_ex(resolve=False)
    return frozenset(str(name) for name, node in nodes if not isinstance(node, DictConfig))
