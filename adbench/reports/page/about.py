"""What was measured and on what, in words."""

from collections import Counter
from collections.abc import Sequence

from adbench.reports.page.model import Kind, PublishedTable
from adbench.reports.page.subjects import Subject, machine_of, usual
from adbench.results.notes import random_weights
from adbench.results.record import GIVEN, Record

MANY = 5
"""So many categories are listed with their images; of more, the sums are said."""


def about(settings: Sequence[Subject], tables: Sequence[PublishedTable]) -> list[str]:
    """Paragraphs: what was measured, on which images and machine, what of it reproduces, names.

    Args:
        settings: Of ``subjects``.
        tables: Those of ``published``.
    """
    records = [r for s in settings for found in s.found.values() for r in found]
    paragraphs = [
        f"{_counted(len({s.key for s in settings}), 'setting')} of "
        f"{_counted(len({s.method for s in settings}), 'method')} "
        f"{_through(settings)}gave "
        f"{_counted(len(records), 'record')}. {' '.join(_images(records))} {_machines(records)}",
        "Accuracies are exact over every threshold, times 100. Intervals of 95% are for the draw "
        "of test images: another set of as many images would have given another number. A "
        "difference inside that noise is not a rank, so that the leaderboard marks the best number "
        "and every one that the same images cannot tell from it.",
        _reproduced(tables),
        _names(settings, records),
        _random(records),
    ]
    return [paragraph for paragraph in paragraphs if paragraph]


def _through(settings: Sequence[Subject]) -> str:
    """The networks; a tool whose maps were given has none that is known."""
    given = {s.key for s in settings for own in s.found.values() if GIVEN in own[0].identity}
    networks = {s.backbone for s in settings if s.key not in given}
    return f"through {_counted(len(networks), 'backbone')} " if networks else ""


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _images(records: Sequence[Record]) -> list[str]:
    """A sentence for each dataset."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for record in records:
        dataset = record.labels.get("dataset", str(record.identity["dataset"]["name"]))
        own = found.setdefault(dataset, {}).setdefault(record.category, record.counts)
        if own["test"] < record.counts["test"]:  # some tools measure a part of the images
            found[dataset][record.category] = record.counts
    sentences = []
    for dataset, categories in found.items():
        if len(categories) <= MANY:
            each = "; ".join(f"{name}: {_said(counts)}" for name, counts in categories.items())
        else:
            sums = {
                what: sum(counts[what] for counts in categories.values())
                for what in ("train", "test", "anomalous")
            }
            each = f"{', '.join(categories)}: {_said(sums)} together"
        sentences.append(f"The images are those of {dataset} ({each}).")
    return sentences


def _said(counts: dict[str, int]) -> str:
    return (
        f"{counts['train']} normal images to learn from and {counts['test']} to test, "
        f"{counts['anomalous']} of them with a defect"
    )


def _machines(records: Sequence[Record]) -> str:
    """Where and when the records were made."""
    places = dict.fromkeys(map(machine_of, records))
    dates = sorted(record.date[:10] for record in records if record.date)
    when = ""
    if dates:
        when = f" on {dates[0]}" if dates[0] == dates[-1] else f" from {dates[0]} to {dates[-1]}"
    several = "" if len(places) == 1 else " Times of different machines do not compare."
    return f"They were measured on {', '.join(places)}{when}.{several}"


def _reproduced(tables: Sequence[PublishedTable]) -> str:
    """How many printed numbers are reproduced."""
    counts = Counter(line.kind for table in tables for line in table.lines)
    total = sum(counts.values())
    if not total:
        return ""
    said: dict[Kind, str] = {
        "within": f"{counts['within']} are reproduced within their band",
        "outside": f"{counts['outside']} are not",
        "inconclusive": f"{counts['inconclusive']} cannot be decided with so few images",
        "none": f"{counts['none']} cannot be compared, because {_why_not(tables)}",
    }
    shown = [text for kind, text in said.items() if counts[kind]]
    if counts["none"] == total:
        return (
            f"None of the {_counted(total, 'printed number')} with a measured one beside them can "
            f"be compared, because {_why_not(tables)}."
        )
    return (
        f"Of {_counted(total, 'printed number')} with a measured one beside them, "
        f"{'; '.join(shown)}. The reason stands at each table."
    )


def _why_not(tables: Sequence[PublishedTable]) -> str:
    """Why numbers are not set against the printed ones."""
    lines = [line for table in tables for line in table.lines if line.kind == "none"]
    other = sum(line.row.endswith("*") for line in lines)
    words = [
        (other, "measured with another setting than the printed one, such as another backbone"),
        (len(lines) - other, "of other images, or times and sizes of another machine and code"),
    ]
    having = [(count, text) for count, text in words if count]
    if len(having) == 1:
        return f"they are {having[0][1]}"
    return ", ".join(f"{count} are {text}" for count, text in having)


def _names(settings: Sequence[Subject], records: Sequence[Record]) -> str:
    """What names of settings leave out."""
    if len({s.key for s in settings}) < 2:
        return ""
    left = usual(records)
    rest = ""
    if left:
        presets = " and ".join(f"{part} {value}" for part, value in left.items())
        rest = f" Names leave out what most settings have: {presets}."
    return (
        "A setting is named by its method and by what tells it apart from the others."
        f"{rest} Every setting in full stands at its records."
    )


def _random(records: Sequence[Record]) -> str:
    count = sum(map(random_weights, records))
    if not count:
        return ""
    return (
        f"{_counted(count, 'record')} were made with random weights, for times and sizes alone; "
        "their accuracies say nothing and are not shown."
    )
