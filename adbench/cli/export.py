"""``adbench export``: a saved detector becomes one ONNX graph with the same scores."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adbench.cli.screen import say
from adbench.cli.words import unknown
from adbench.config.compose import Configs
from adbench.errors import AdbenchError
from adbench.system.files import expanded

USAGE = """usage: adbench export FILE.safetensors FILE.onnx [key=value ...]

Write a detector of adbench fit as an ONNX graph: from the pixels of the network's input to the
image score and the anomaly map. ONNX Runtime and OpenVINO run it, and so do adbench predict and
adbench run detector=FILE.onnx.

The graph is measured against the detector on the training images, as far as they are still where
they were. It is written only where scores and maps are the same up to 1e-4 of the largest value.

  images=DIR     a folder of normal images for this, in place of the training images
  weights=PATH   the backbone's weights on this machine, where they have moved
  device=auto    where the detector computes: auto, cpu, mps, cuda or cuda:N

The input is `images`, (n, H, W, 3) uint8 RGB for any n. The outputs are `score`, (n,), and `map`,
(n, H, W), both float32. Resizing and cropping stay outside; the metadata `input` holds the lines of
Python that do it.

Exit status: 0 the graph is written, 2 a word is wrong, the detector has no graph, or the graph does
not give its scores."""

_KEYS = ("images", "weights", "device")


@dataclass(frozen=True)
class _Words:
    source: Path
    out: Path
    images: Path | None
    weights: str | None
    device: str


def command(given: Namespace, configs: Configs) -> int:
    """Export, and print how far the graph is from the detector."""
    if {"--help", "-h"} & set(given.words):
        print(USAGE)
        return 0
    words = _parsed(given.words)
    from adbench.detectors import saved
    from adbench.detectors.export import export, require_exportable, require_writable
    from adbench.detectors.parity import images_for
    from adbench.system.progress import aside, doing, kind_for, progress

    if words.source.suffix != saved.SUFFIX:
        raise AdbenchError(
            f"{words.source}: export reads a {saved.SUFFIX} file, which adbench fit writes"
        )
    require_writable(words.out)

    def tell(line: str) -> None:
        with aside():
            say(line)

    with progress(kind_for(sys.stderr)), doing("export"):
        detector = saved.load(words.source, words.device, words.weights)
        require_exportable(detector)
        files = export(detector, words.out, images_for(detector.header, words.images), say=tell)
    sizes = [f"{file} ({file.stat().st_size / 1e6:.1f} MB)" for file in files]
    say(f"written: {', '.join(sizes)}")
    if len(files) > 1:
        say("the two files belong together: copy both, and keep their names")
    return 0


def _parsed(words: Sequence[str]) -> _Words:
    values: dict[str, str] = {}
    files = []
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in _KEYS:
            if not value:
                raise AdbenchError(f"export: {name}= must be followed by a value")
            values[name] = value
        elif word.startswith("-") or (equals and name.isidentifier()):
            keys = [f"{key}=" for key in _KEYS]
            raise AdbenchError(f"export: {unknown(f'{name}{equals}', keys)}")
        else:
            files.append(expanded(word))
    if len(files) != 2:
        raise AdbenchError(
            f"export: give two files, FILE.safetensors and FILE.onnx; got {len(files)}; "
            "`adbench export --help` tells more"
        )
    folder = expanded(values["images"]) if "images" in values else None
    device = values.get("device", "auto")
    return _Words(files[0], files[1], folder, values.get("weights"), device)
