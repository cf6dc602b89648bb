"""OpenVINO, Intel's inference library, as an engine on CPUs (``adbench-vision[openvino]``)."""

import functools
import importlib
import sys
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from adbench.backbones.network import Precision, Run
from adbench.errors import AdbenchError
from adbench.system.machine import device_name, version


def require(device: str) -> None:
    """Check, without importing OpenVINO, that it can be used.

    Raises:
        AdbenchError: OpenVINO is not installed, or ``device`` is not the CPU.
    """
    if version("openvino") is None:
        raise AdbenchError(
            "backbone.engine=openvino: OpenVINO is not installed; "
            "run pip install 'adbench-vision[openvino]' or set backbone.engine=torch"
        )
    if device_name(device) != "cpu":
        raise AdbenchError(
            f"backbone.engine=openvino computes on the CPU, got device={device}; set device=cpu"
        )


def library() -> Any:
    """OpenVINO, which has no types."""
    # It reports every import and conversion over the network, unless the package that does it
    # cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")


@functools.cache
def core() -> Any:
    """The one core of the process.

    Each core gives the thread that makes it another stack for signals, and puts the former one
    back at its end. Two of them that end in the order of their making leave a stack that is
    freed, and the next signal ends the process with a segmentation fault.
    """
    return library().Core()


def settings(precision: Precision) -> dict[str, Any]:
    """How the CPU is to compile a model, for the threads that torch has now."""
    return {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # jobs side by side would be pinned to the same cores
    }


def capabilities() -> list[str]:
    """What this processor can compute with, as OpenVINO names it: ``FP32``, ``BF16``, ``INT8``."""
    return list(core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def compiled(network: nn.Module, example: Tensor, precision: Precision) -> Run:
    """The network compiled for inputs of one shape, with the threads that torch has now.

    Args:
        network: In evaluation mode, float32.
        example: An input.
        precision: Of activations and products.

    Raises:
        AdbenchError: bf16 on a processor for which OpenVINO would quietly compute something else.
    """
    if precision == "bf16" and "BF16" not in capabilities():
        raise AdbenchError(
            "backbone.precision=bf16: this processor has none for OpenVINO; "
            "set backbone.precision=fp32"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing fixes branches on the shape, and so is the shape
        model = library().convert_model(network, example_input=example, input=list(example.shape))
    run = core().compile_model(model, "CPU", settings(precision))

    def outputs(images: Tensor) -> list[Tensor]:
        found = run(images.contiguous().numpy(), share_outputs=True)
        return [torch.from_numpy(found[i]) for i in range(len(run.outputs))]

    return outputs
