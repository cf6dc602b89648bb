"""What the trainings have in common: the order of the images, the seed and the loop."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from adbench.errors import AdbenchError
from adbench.system.progress import steps


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A block in which torch and numpy draw from ``seed``; outside they go on as before it.

    Numpy takes the lower 32 bits of the seed, as torch itself does on a CPU.
    """
    state = np.random.get_state()  # noqa: NPY002  # the global one is what anomalib draws from
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


@contextmanager
def one_thread() -> Iterator[None]:
    """A block in which torch computes on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def batches(images: Tensor, size: int, epochs: int, seed: int) -> Iterator[Tensor]:
    """Batches of (n, 3, H, W) images, in a new order in every epoch; the last may be smaller.

    Args:
        images: All of them.
        size: Images in a batch.
        epochs: Passes over the images.
        seed: Of the orders.
    """
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=order).split(size):
            yield images[rows]


def steps_of(images: int, size: int, epochs: int) -> int:
    """How many batches there are in all epochs."""
    return -(-images // size) * epochs


def train(
    title: str,
    drawn: Iterator[Tensor],
    total: int,
    loss_of: Callable[[Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
) -> None:
    """Train for a number of steps, whatever the loss; nothing stops it earlier.

    Args:
        title: Of the system, for errors and progress.
        drawn: A batch for each step, or more.
        total: Steps.
        loss_of: From a batch to its loss.
        optimizer: Of the weights to train.
        schedule: Of the learning rate, a step for each step of the training.

    Raises:
        AdbenchError: The loss is no number at some step.
    """
    with steps(total, f"training of {title}", "step") as done:
        for number, batch in zip(range(1, total + 1), drawn, strict=False):
            optimizer.zero_grad()
            loss = loss_of(batch)
            require_finite(loss, title, number, total)
            loss.backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
            done()


def require_finite(loss: Tensor, title: str, number: int, total: int) -> None:
    """Raise AdbenchError where the loss of a step is no number."""
    if not bool(torch.isfinite(loss).all()):
        value = float(loss.detach().mean())
        raise AdbenchError(
            f"{title}: the loss is {value} at step {number} of {total}: the training diverged, and "
            "leaves no record; try a smaller method.lr, or another seed"
        )


def budget(epochs: int, total: int, size: int) -> str:
    """What a record says of a training that ends after its epochs."""
    plural = "epoch" if epochs == 1 else "epochs"
    return (
        f"trained for {epochs} {plural} ({total} steps with batches of {size} images); it ends "
        "there, and nothing was chosen on test images"
    )
