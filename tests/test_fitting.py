from dataclasses import field
from typing import ClassVar

import numpy as np
import pytest
import torch
from pydantic.dataclasses import dataclass

from adbench.core import STRICT, AdbenchError, Features, Scores
from adbench.fitting import Fits, ask, state_bytes
from adbench.memo import Memo
from adbench.methods.patchcore import PatchCore


@dataclass(config=STRICT)
class Mean:
    """A method as small as can be: the distance to the mean, times a score-time weight."""

    shift: float = 0.0
    weight_: float = 1.0
    layers: list[int] = field(default_factory=lambda: [1])
    needs_vectors: ClassVar[bool] = False
    asked: ClassVar[frozenset[str]] = frozenset({"weight_"})
    fits: ClassVar[list[str]] = []

    def fit(self, normal):
        self.fits.append(normal.key)
        self.mean_ = normal.maps[0].mean() + self.shift
        self.parts_ = {"a": [np.zeros(3), torch.zeros(2)]}
        return self

    def score(self, test):
        return Scores(self.weight_ * (test.maps[0].mean(dim=(1, 2, 3)) - self.mean_).abs(), None)


def normal(key="normal"):
    return Features([torch.ones(2, 1, 2, 2)], None, (4, 4), key=key, memo=Memo())


@pytest.fixture(autouse=True)
def _forget_fits():
    Mean.fits.clear()


TEST = Features([torch.full((3, 1, 2, 2), 3.0)], None, (4, 4))


def test_asking_shares_the_fit():
    fitted = Mean().fit(normal())
    asked = ask(fitted, weight_=5.0)
    assert asked.mean_ is fitted.mean_
    assert asked.score(TEST).images.tolist() == [10.0] * 3
    assert fitted.score(TEST).images.tolist() == [2.0] * 3
    assert Mean.fits == ["normal"]


@pytest.mark.parametrize(
    ("setting", "message"), [({"shift": 1.0}, "shift shape the fit"), ({"weight_": "x"}, "weight_")]
)
def test_asking_for_what_cannot_be_asked_is_refused(setting, message):
    with pytest.raises(AdbenchError, match=message):
        ask(Mean().fit(normal()), **setting)


def test_a_sweep_over_score_time_settings_fits_once_and_reports_the_fits_cost():
    fits = Fits()
    found = [fits.fit(Mean(weight_=w), normal()) for w in (1.0, 2.0, 3.0)]
    assert Mean.fits == ["normal"]
    assert [f.method.score(TEST).images[0].item() for f in found] == [2.0, 4.0, 6.0]
    assert len({f.seconds for f in found}) == 1


def test_another_fit_setting_or_other_features_fit_anew():
    fits = Fits()
    for shift, key in [(0.0, "a"), (1.0, "a"), (0.0, "b"), (0.0, "a")]:
        fits.fit(Mean(shift=shift), normal(key))
    assert Mean.fits == ["a", "a", "b"]


def test_a_kept_fit_is_not_changed_by_the_next_one_of_the_same_method():
    fits, method = Fits(), Mean()
    ones = fits.fit(method, normal("ones")).method
    twos = Features([torch.full((2, 1, 2, 2), 2.0)], None, (4, 4), key="twos", memo=Memo())
    fits.fit(method, twos)
    assert fits.fit(Mean(weight_=3.0), normal("ones")).method.score(TEST).images[0].item() == 6.0
    assert ones.score(TEST).images[0].item() == 2.0


def test_features_without_a_name_are_never_taken_for_others():
    fits = Fits()
    fits.fit(Mean(), normal(""))
    fits.fit(Mean(), normal(""))
    assert Mean.fits == ["", ""]


def test_the_oldest_fits_go_when_memory_is_short():
    fits = Fits(limit=40)
    for key in ("a", "b", "a"):
        fits.fit(Mean(), normal(key))
    assert Mean.fits == ["a", "b", "a"]


def test_what_is_fitted_together_is_kept_together_and_goes_together():
    fits = Fits()
    small, large = (PatchCore(layers=[1], ratio=ratio) for ratio in (0.1, 0.5))
    some = Features([torch.randn(2, 3, 9, 9)], None, (36, 36), key="some", memo=Memo())
    fits.fit(small, some, [large, PatchCore(layers=[1], ratio=0.5, k=2)])
    (together,) = fits.kept
    assert sorted(fit.method.ratio for fit in together.values()) == [0.1, 0.5]
    again = fits.fit(PatchCore(layers=[1], ratio=0.5, k=3), some).method
    assert again.neighbors_ in [fit.method.neighbors_ for fit in together.values()]
    assert not hasattr(small, "neighbors_")
    fits.limit = 1
    fits.fit(Mean(), normal())
    assert [len(some) for some in fits.kept] == [1]


def test_what_was_fitted_together_and_had_to_go_comes_back_alone():
    fits = Fits(limit=1)
    some = Features([torch.randn(2, 3, 9, 9)], None, (36, 36), key="some", memo=Memo())
    methods = [PatchCore(layers=[1], ratio=ratio) for ratio in (0.1, 0.5)]
    sizes = []
    for method in methods:
        sizes.append(
            [len(fit.method.bank_) for fit in fits.kept[-1].values()] if fits.fit(method, some, methods) else None
        )
        fits.fit(Mean(), normal())
    assert [len(s) for s in sizes] == [2, 1]


def test_state_is_what_was_learned_not_the_settings():
    assert state_bytes(Mean().fit(normal())) == 4 + 3 * 8 + 2 * 4
