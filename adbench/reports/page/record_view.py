"""One record in full: settings, weights, versions, machine, times by stage, memory, command."""

from typing import Any

from adbench.evaluation.metrics import METRICS
from adbench.reports.page.model import RecordView
from adbench.reports.page.repeat import Repeats
from adbench.reports.page.subjects import Subject, dataset_of
from adbench.reports.remarks import grouped
from adbench.reports.repeats import seed
from adbench.reports.swept import settings_of
from adbench.results.disturbed import disturbed
from adbench.results.notes import RANDOM, random_weights
from adbench.results.records import Record

WHOLE = ("preprocess", "backbone", "score")
"""The stages that make the total; decoding is not among them."""
NOT_STAGES = ("decode", "total", "batched", *WHOLE)
MEMORY = {
    "state": "what the detector learned",
    "peak": "highest resident memory of the process",
}


def record_views(settings: list[Subject], repeats: Repeats) -> list[RecordView]:
    """Every record, in the order of the settings.

    Args:
        settings: Of ``subjects``.
        repeats: Finds the commands.
    """
    return [
        record_view(record, subject.name, repeats)
        for subject in settings
        for records in subject.found.values()
        for record in records
    ]


def record_view(record: Record, name: str, repeats: Repeats) -> RecordView:
    """One record.

    Args:
        record: The record.
        name: Of its setting.
        repeats: Finds the command.
    """
    command, doubt = repeats.command(record)
    heading = f"{name} on {record.category} ({dataset_of(record)}), seed {seed(record)}"
    facts = _facts(record)
    if doubt:
        facts.append(("the command", f"may give another record: {doubt}"))
    return RecordView(
        id=record.id,
        heading=heading,
        metrics=_metrics(record),
        settings=list(settings_of(record).items()),
        facts=facts,
        stages=stages(record),
        memory=_memory(record),
        command=command,
    )


def _metrics(record: Record) -> list[tuple[str, str]]:
    """Every metric that was measured; accuracies of random weights say nothing."""
    if random_weights(record):
        return []
    found = []
    for metric in METRICS:
        value, interval = record.metrics.get(metric.name), record.intervals.get(metric.name)
        if value is not None:
            low, high = interval or (None, None)
            ends = "" if low is None or high is None else f" ({100 * low:.2f} to {100 * high:.2f})"
            found.append((metric.title, f"{100 * value:.2f}{ends}"))
    return found


def stages(record: Record) -> list[tuple[str, float, float]]:
    """Name, milliseconds and share of each stage of one image, parts of the method by themselves.

    What of the method's time no part counts is a stage too, where it is more than a hundredth.
    """
    seconds = {stage: own["p50"] for stage, own in record.time.items()}
    before = ("preprocess", "backbone")
    found: dict[str, float] = {name: seconds[name] for name in before if name in seconds}
    parts = {name: value for name, value in seconds.items() if name not in NOT_STAGES}
    found |= parts
    rest = seconds.get("score", 0.0) - sum(parts.values())
    if rest > 0.01 * sum(found.values()):
        found["rest of the method" if parts else "method"] = rest
    total = sum(found.values())
    return [(name, 1000 * value, value / total) for name, value in found.items() if total > 0]


def _memory(record: Record) -> list[tuple[str, str]]:
    found = []
    for name, title in MEMORY.items():
        size, why = record.memory.get(name), record.reasons.get(f"memory.{name}", "not measured")
        found.append((title, why if size is None else f"{size / 1e6:.1f} MB"))
    return found


def _facts(record: Record) -> list[tuple[str, str]]:
    environment = record.environment
    found: list[tuple[str, Any]] = [
        ("images", _images(record)),
        ("fingerprint of the images", record.identity["dataset"].get("fingerprint")),
        ("weights", _weights(record)),
        ("threshold", _threshold(record)),
        ("machine", environment.get("processor")),
        ("device", environment.get("device")),
        ("threads", environment.get("threads")),
        ("system", environment.get("system")),
        ("Python", environment.get("python")),
        ("versions", _pairs(environment.get("versions", {}))),
        ("variables", _pairs(environment.get("variables", {}))),
        ("commit", environment.get("commit")),
        ("total for one image", _total(record)),
        ("the time is too long", disturbed(record)),
        ("date", record.date),
        *(("note", note) for note in record.notes),
        *(
            ("not measured", f"{', '.join(places)}: {why}")
            for why, places in grouped(record.reasons).items()
        ),
    ]
    return [(name, str(value)) for name, value in found if value not in (None, "", {})]


def _images(record: Record) -> str:
    counts = record.counts
    return (
        f"{counts['train']} training and {counts['test']} test images, of which "
        f"{counts['anomalous']} anomalous"
    )


def _weights(record: Record) -> str:
    if random_weights(record):
        return RANDOM.removeprefix("* ")
    named = (record.weights.get("setting"), record.weights.get("name"))
    return ", ".join(str(value) for value in named if value)


def _threshold(record: Record) -> str:
    """The threshold and what it gives on the test images."""
    found = record.threshold
    if found.get("value") is None:
        return record.reasons.get("threshold", "none was asked for")
    words = f"{found['value']:.6g} ({found.get('kind', 'train')})"
    for name, key in (("false alarms", "false_positive_rate"), ("found", "true_positive_rate")):
        if found.get(key) is not None:
            words += f", {name} {100 * found[key]:.1f}%"
    return words


def _total(record: Record) -> str:
    total = record.time.get("total")
    if total is None:
        return record.reasons.get("time", "not measured")
    return f"median {1000 * total['p50']:.1f} ms, 95th percentile {1000 * total['p95']:.1f} ms"


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
