"""Images per second through a backbone on the CPU: adbench against the ways of patchcore-inspection and anomalib.

patchcore-inspection runs the whole network with hooks on its layers, anomalib timm's ``features_only`` network, cut
after the deepest layer; both eager, in batches. All have the same random weights; the features are compared before the
clock runs.
"""

from collections.abc import Callable

import benchmark
import timm
import torch
from torch import Tensor

from adbench.backbones.timm_maps import TimmMaps

LAYERS = [2, 3]
HOOKS, CUT = "patchcore-inspection's way", "anomalib's way"
Extract = Callable[[Tensor], list[Tensor]]


def with_hooks(model: str, batch: int) -> Extract:
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

    return in_batches(extract, model, batch)


def features_only(model: str, batch: int) -> Extract:
    """anomalib: the network that ends with the deepest layer."""
    torch.default_generator.manual_seed(0)
    whole = timm.create_model(model)
    indices = {info["reduction"].bit_length() - 2: i for i, info in enumerate(whole.feature_info)}
    network = timm.create_model(model, features_only=True, out_indices=[indices[layer] for layer in LAYERS]).eval()
    network.load_state_dict(whole.state_dict(), strict=False)
    return in_batches(network, model, batch)


def in_batches(network: Extract, model: str, batch: int) -> Extract:
    config = timm.get_pretrained_cfg(model)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (config.mean, config.std))

    @torch.no_grad()
    def extract(images: Tensor) -> list[Tensor]:
        parts = [network((part / 255 - mean) / std) for part in images.split(batch)]
        return [torch.cat(maps) for maps in zip(*parts, strict=True)]

    return extract


def ours(model: str, precision: str) -> Extract:
    backbone = TimmMaps(model=model, weights="random", precision=precision, device="cpu")
    return lambda images: backbone.extract(images, LAYERS, vectors=False)[0]


def main() -> None:
    parser = benchmark.parser(__doc__, quick="8 images, 3 repeats", repeats=5)
    parser.add_argument("--model", default="wide_resnet50_2", help="any network of timm with stages")
    parser.add_argument("--batch", type=int, default=8, help="of the peers; adbench takes one image at a time")
    parser.add_argument("--images", type=int, default=16)
    options = parser.parse_args()
    benchmark.set_threads(options.threads)
    report = benchmark.Report(options)
    count, repeats = (8, 3) if options.quick else (options.images, options.repeats)
    images = torch.randint(0, 256, (count, 3, 224, 224), dtype=torch.uint8)
    contestants = {
        HOOKS: with_hooks(options.model, options.batch),
        CUT: features_only(options.model, options.batch),
        "adbench": ours(options.model, "fp32"),
        "adbench, bf16": ours(options.model, "bf16"),
    }
    report.say(f"{options.model} to layer {LAYERS[-1]}, {count} images of 224 x 224, {options.threads} thread(s)")
    expected = contestants[CUT](images[:2])
    for name, extract in contestants.items():
        found = extract(images[:2])
        difference = max(float((f - e).abs().max() / e.abs().max()) for f, e in zip(found, expected, strict=True))
        report.say(f"{name:28} differs from {CUT} by {difference:.1e} of the largest value")
    calls = {name: lambda turn, extract=extract: extract(images) for name, extract in contestants.items()}
    medians = benchmark.in_turns(calls, repeats, options.threads)
    rates = {name: count / median for name, median in medians.items()}
    report.table(medians, "adbench", {name: f"{rate:6.2f} images/s" for name, rate in rates.items()})
    report.figures |= {benchmark.key(name, "images_per_s"): rate for name, rate in rates.items()}
    report.say(f"adbench is {rates['adbench'] / rates[HOOKS]:.2f} times as fast as {HOOKS}")
    report.finish(rates["adbench"] / rates[CUT])


if __name__ == "__main__":
    main()
