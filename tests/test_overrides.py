"""The words of a run, sorted and tried before any work."""

import itertools

import pytest

from adbench.config.compose import Configs
from adbench.config.overrides import expand, refuse_wrong, split
from adbench.errors import AdbenchError


@pytest.mark.parametrize(
    ("words", "overrides", "flags"),
    [
        ("a=1 -m b=2", ["a=1", "b=2"], ["-m"]),
        ("--cfg job a=1", ["a=1"], ["--cfg", "job"]),
        ("--cfg=job a=1", ["a=1"], ["--cfg=job"]),
        ("-p method --cfg job a=1", ["a=1"], ["-p", "method", "--cfg", "job"]),
        ("--info defaults a=1", ["a=1"], ["--info", "defaults"]),
        ("--info a=1", ["a=1"], ["--info"]),
        ("a=1 --info -m", ["a=1"], ["--info", "-m"]),
        ("~a +b=-1", ["~a", "+b=-1"], []),
    ],
)
def test_flags_and_overrides_are_told_apart_in_any_order(words, overrides, flags):
    assert split(words.split()) == (overrides, flags)


def test_every_value_of_a_sweep_becomes_an_override():
    values = expand(["a=1,2", "b=[1,2]", "+c=range(0,3)", "d=choice(x,y)", "e=interval(0,1)"])
    assert values == [
        ["a=1", "a=2"],
        ["b=[1,2]"],
        ["+c=0", "+c=1", "+c=2"],
        ["d=x", "d=y"],
    ]


ORDERS = list(itertools.permutations(["a=1,2", "b=1,2,3", "c=5"]))


def refusing(*wrong):
    """Refuses jobs that hold all words of one of the texts; keeps what it was given."""
    tried = []

    def attempt(job):
        tried.append(job)
        for text in wrong:
            if set(text.split()) <= set(job):
                raise AdbenchError(f"{text} is wrong")
        return job

    return attempt, tried


def test_the_first_job_that_can_run_is_returned():
    assert refuse_wrong(["a=1", "b=2"], refusing()[0]) == ("a=1", "b=2")


@pytest.mark.parametrize("order", ORDERS)
def test_values_that_contradict_each_other_are_left_to_their_jobs(order):
    attempt, _ = refusing("a=1 b=1", "a=2 b=3")
    assert set(refuse_wrong(order, attempt)) >= {"c=5"}


@pytest.mark.parametrize("order", ORDERS)
def test_a_value_that_is_wrong_in_every_job_is_refused_whatever_the_order(order):
    for wrong in ("a=2", "b=3", "b=1"):
        with pytest.raises(AdbenchError, match=f"{wrong} is wrong"):
            refuse_wrong(order, refusing(wrong)[0])


def test_a_value_that_contradicts_every_other_is_named_with_the_jobs():
    attempt, _ = refusing("a=2 b=1", "a=2 b=2")
    with pytest.raises(AdbenchError) as error:
        refuse_wrong(["b=1,2", "a=x,2"], attempt)
    assert str(error.value) == "a=2 b=1 is wrong"
    attempt, _ = refusing("c=5")
    with pytest.raises(AdbenchError) as error:
        refuse_wrong(["c=5", "a=1"], attempt)
    assert str(error.value) == "c=5 is wrong"


def test_a_large_sweep_is_tried_value_by_value_and_not_job_by_job():
    attempt, tried = refusing()
    refuse_wrong(["a=range(0,10)", "b=range(0,10)", "c=range(0,10)"], attempt)
    assert len(tried) == 1 + 3 * 9


CONFIGS = Configs()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("sead=1", "sead=1: unknown setting; did you mean seed? the config has "),
        ("timing.warm=1", "timing.warm=1: unknown setting; did you mean warmup? timing has "),
        ("warmup=1", "warmup=1: unknown setting; did you mean timing.warmup?"),
        ("colour=red", "colour=red: unknown setting; the config has geometry, backbone, "),
        (
            "timing.warmup.x=3",
            "timing.warmup.x=3: unknown setting; did you mean warmup? timing has ",
        ),
        ("run.seed=3", "run.seed=3: unknown setting; did you mean seed? the config has "),
    ],
)
def test_an_unknown_key_is_answered_with_those_there_are(word, message):
    with pytest.raises(AdbenchError) as error:
        CONFIGS.compose([word])
    assert str(error.value).startswith(message)
