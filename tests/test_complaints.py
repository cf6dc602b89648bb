"""What is said about wrong settings: one sentence each, in the words of the program."""

from typing import Annotated, Literal

import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass

from adbench.errors import AdbenchError
from adbench.system.settings import STRICT, check


@dataclass(frozen=True, config=STRICT)
class Part:
    width: int | tuple[int, int] = 1
    names: tuple[Annotated[str, Field(min_length=1)], ...] | Literal["all"] = "all"


@dataclass(frozen=True, config=STRICT)
class Whole:
    count: Annotated[int, Field(ge=1)] = 1
    ratio: Annotated[float, Field(gt=0, le=1)] = 1.0
    shape: Literal["round", "square"] = "round"
    layers: Annotated[list[int], Field(min_length=1)] = Field(default_factory=lambda: [1])
    flag: bool = False
    place: str | None = None
    part: Part = Part()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": "x"}, "at.count: must be an integer, got 'x'"),
        ({"count": 0}, "at.count: must be greater than or equal to 1, got 0"),
        ({"ratio": "x"}, "at.ratio: must be a number, got 'x'"),
        ({"ratio": 2}, "at.ratio: must be less than or equal to 1, got 2"),
        ({"shape": "oval"}, "at.shape: must be 'round' or 'square', got 'oval'"),
        ({"layers": []}, "at.layers: must have at least 1 item, got []"),
        ({"layers": 3}, "at.layers: must be a list, such as [1,2], got 3"),
        ({"layers": [1, "x"]}, "at.layers.1: must be an integer, got 'x'"),
        ({"flag": "x"}, "at.flag: must be true or false, got 'x'"),
        (
            {"place": 5},
            "at.place: must be a text, got 5; a number that is a name is quoted twice: "
            "\"at.place='5'\"",
        ),
        ({"part": 3}, "at.part: must hold settings by name, got 3"),
        (
            {"part": {"width": "x"}},
            "at.part.width: must be an integer or must be a list, such as [1,2], got 'x'",
        ),
        ({"part": {"wide": 1}}, "at.part.wide: unknown setting; at.part has width, names"),
        (
            {"wide": 1},
            "at.wide: unknown setting; at has count, ratio, shape, layers, flag, place, part",
        ),
    ],
)
@pytest.mark.fault("YAML", shows="error")
def test_a_wrong_setting_is_named_in_a_sentence(settings, message):
    with pytest.raises(AdbenchError) as error:
        check(Whole, settings, "at")
    assert str(error.value) == message


def test_a_number_in_a_list_of_names_is_told_how_to_be_quoted():
    with pytest.raises(AdbenchError) as error:
        check(Part, {"names": ["a", 5]}, "dataset")
    assert "quoted twice: \"dataset.names=['5']\"" in str(error.value)


def test_settings_at_the_top_have_no_part_before_them():
    with pytest.raises(AdbenchError) as error:
        check(Whole, {"count": 0, "wide": 1}, "")
    first, second = str(error.value).splitlines()
    assert first.startswith("count: must be greater")
    assert second.startswith("wide: unknown setting; the config has count, ")
