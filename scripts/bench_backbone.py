"""Images per second through a backbone on the CPU, against two other ways of running it.

patchcore-inspection runs the whole network with hooks on its layers, anomalib timm's
``features_only`` network, cut after the deepest layer; both eager, in batches, each in a process of
its own. All have the same random weights; the features are compared before the clock runs.
"""

from collections.abc import Callable
from functools import partial

import benchmark
import numpy as np
import timm
import torch
from torch import Tensor

from adbench.backbones.timm_maps import TimmMaps

LAYERS = [2, 3]
HOOKS, CUT = "patchcore-inspection's way", "anomalib's way"
Extract = Callable[[Tensor], list[Tensor]]


def with_hooks(model: str) -> Extract:
    """patchcore-inspection: forward hooks on the full network, stopped by nothing."""
    torch.default_generator.manual_seed(0)
    network = timm.create_model(model).eval()
    outputs: dict[int, Tensor] = {}
    for info in network.feature_info:
        layer = info["reduction"].bit_length() - 2
        if layer in LAYERS:
            network.get_submodule(info["module"]).register_forward_hook(
                lambda module, inputs, output, layer=layer: outputs.update({layer: output})
            )

    def extract(images: Tensor) -> list[Tensor]:
        network(images)
        return [outputs[layer] for layer in LAYERS]

    return extract


def features_only(model: str) -> Extract:
    """anomalib: the network that ends with the deepest layer."""
    torch.default_generator.manual_seed(0)
    whole = timm.create_model(model)
    indices = {info["reduction"].bit_length() - 2: i for i, info in enumerate(whole.feature_info)}
    wanted = [indices[layer] for layer in LAYERS]
    network: Extract = timm.create_model(model, features_only=True, out_indices=wanted).eval()
    network.load_state_dict(whole.state_dict(), strict=False)  # type: ignore[attr-defined]
    return network


class Batches:
    """A peer's network, given images in batches."""

    def __init__(
        self, make: Callable[[str], Extract], model: str, images: np.ndarray, batch: int
    ) -> None:
        self.network, self.images, self.batch = make(model), torch.from_numpy(images), batch
        config = timm.get_pretrained_cfg(model)
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) for v in (config.mean, config.std))

    def __call__(self, turn: int) -> None:
        """Extract the features of all images."""
        self.extract(len(self.images))

    def features(self, count: int) -> list[np.ndarray]:
        """Those of the first ``count`` images."""
        return [maps.numpy() for maps in self.extract(count)]

    @torch.no_grad()
    def extract(self, count: int) -> list[Tensor]:
        """The same as tensors."""
        batches = self.images[:count].split(self.batch)
        parts = [self.network((part / 255 - self.mean) / self.std) for part in batches]
        return [torch.cat(maps) for maps in zip(*parts, strict=True)]


def ours(model: str, precision: str) -> Extract:
    backbone = TimmMaps(model=model, weights="random", precision=precision, device="cpu")
    return lambda images: backbone.extract(images, LAYERS, vectors=False)[0]


def difference(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """The largest one, as a part of the largest value of its layer."""
    pairs = zip(found, expected, strict=True)
    return max(float(np.abs(f - e).max() / np.abs(e).max()) for f, e in pairs)


def main() -> None:
    parser = benchmark.parser(__doc__, quick="8 images, 3 repeats", repeats=5, peer_seconds=300)
    parser.add_argument(
        "--model", default="wide_resnet50_2", help="any network of timm with stages"
    )
    parser.add_argument(
        "--batch", type=int, default=8, help="of the peers; adbench takes one image at a time"
    )
    parser.add_argument("--images", type=int, default=16)
    options = parser.parse_args()
    benchmark.set_threads(options.threads)
    report = benchmark.Report(options)
    count, repeats = (8, 3) if options.quick else (options.images, options.repeats)
    images = torch.randint(0, 256, (count, 3, 224, 224), dtype=torch.uint8)
    report.say(
        f"{options.model} to layer {LAYERS[-1]}, {count} images of 224 x 224, "
        f"{options.threads} thread(s)"
    )
    peers = report.peer_processes(
        {
            name: partial(Batches, make, options.model, images.numpy(), options.batch)
            for name, make in ((HOOKS, with_hooks), (CUT, features_only))
        }
    )
    own = {
        "adbench": ours(options.model, "fp32"),
        "adbench, bf16": ours(options.model, "bf16"),
    }
    features = {name: [m.numpy() for m in run(images[:2])] for name, run in own.items()}
    features = {name: peer.value("features", 2) for name, peer in peers.items()} | features
    reference = next(name for name in (CUT, "adbench") if name in features)
    for name, found in features.items():
        apart = difference(found, features[reference])
        report.say(f"{name:28} differs from {reference} by {apart:.1e} of the largest value")
    calls: dict[str, benchmark.Contestant] = {**peers}
    calls |= {name: lambda turn, run=run: run(images) for name, run in own.items()}
    medians = benchmark.in_turns(calls, repeats, options.threads)
    rates = {name: count / median for name, median in medians.items()}
    report.table(
        medians, "adbench", {name: f"{rate:6.2f} images/s" for name, rate in rates.items()}
    )
    report.figures |= {benchmark.key(name, "images_per_s"): rate for name, rate in rates.items()}
    if HOOKS in rates:
        report.say(f"adbench is {rates['adbench'] / rates[HOOKS]:.2f} times as fast as {HOOKS}")
    report.finish(benchmark.over(medians, CUT, "adbench"))


if __name__ == "__main__":
    main()
