"""``adbench show``: what a saved detector says of itself."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from adbench.cli.output import print_json
from adbench.cli.screen import say
from adbench.config.compose import Configs
from adbench.system.files import expanded

if TYPE_CHECKING:
    from adbench.detectors.header import Header


def command(given: Namespace, configs: Configs) -> int:
    """Print what a file holds; its weights need not be here, and it is not run."""
    from dataclasses import asdict

    from adbench.detectors.opening import read_header

    path = expanded(given.file)
    header = read_header(path)
    if given.json:
        print_json(asdict(header))
    else:
        say("\n".join(_lines(path, header)))
    return 0


def _lines(path: Path, header: "Header") -> Iterator[str]:
    labels, training, identity = header.labels, header.training, header.identity
    yield f"{path}: {labels['method']} through {labels['backbone']}, fitted {header.date}"
    backbone = identity.get("backbone", {})
    inside = "in this file" if header.has_weights else "not in this file"
    yield (
        f"  weights    {header.weights.get('name')} of {backbone.get('model')}, {inside}, sha256 "
        f"{backbone.get('sha256')}"
    )
    height, width = header.size
    yield f"  geometry   {labels['geometry']}, to {height}x{width} pixels (height x width)"
    what = f" of {header.category}" if header.category else ""
    yield f"  learned    from {training.images} normal images{what}, content {training.content}"
    decision = header.decision()
    if decision is None:
        yield "  threshold  none: it gives scores alone"
    else:
        mean, low, high = (100 * decision.promised[name] for name in ("mean", "low", "high"))
        yield (
            f"  threshold  {decision.value:.6g} for alpha {decision.alpha:g}: {mean:.1f}% of new "
            f"normal images exceed it on average ({low:.1f} to {high:.1f}%)"
        )
        if decision.pixel_value is not None:
            yield f"             {decision.pixel_value:.6g} for the pixels of an anomaly map"
    for part in ("geometry", "backbone", "method"):
        settings = {n: v for n, v in header.parts[part].items() if n != "_target_"}
        yield f"  {part:<9}  {', '.join(f'{n}={v}' for n, v in settings.items())}"
    for note in header.notes:
        yield f"  note       {note}"
    versions = header.environment.get("versions", {})
    yield f"  made by    {', '.join(f'{name} {version}' for name, version in versions.items())}"
