"""Normal images that are tested instead of trained on, chosen by a hash of their names."""

from collections.abc import Mapping

from adbench.data.samples import Sample
from adbench.system.settings import digest


def hold_out(
    groups: Mapping[Sample, str], share: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """Images to train on and to test on.

    Groups are ordered by a hash of their names, so that a new image moves few others, and held out
    until the share is reached.

    Args:
        groups: The group of each image. What belongs together, such as the photographs of one
            part, is not divided. There are at least two groups.
        share: Of the images that are held out, from 0 to 1; at least one group is.
        seed: Chooses the groups.
    """
    members: dict[str, list[Sample]] = {}
    for sample, group in groups.items():
        members.setdefault(group, []).append(sample)
    order = sorted(members, key=lambda group: digest([seed, group]))
    wanted = max(1, round(share * len(groups)))
    held: list[Sample] = []
    trained = order[-1:]
    for place, group in enumerate(order[:-1]):
        if len(held) >= wanted:
            trained = order[place:]
            break
        held += members[group]
    return [sample for group in trained for sample in members[group]], held
