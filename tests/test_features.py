import logging

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from adbench.core import AdbenchError, DataError, Sample
from adbench.features import Extractor
from adbench.images import Geometry


class Strides:
    """Backbone whose level i is the image averaged over blocks of 2^(i + 1) pixels; counts the images it sees."""

    def __init__(self, gain=1.0):
        self.gain, self.seen = gain, 0

    def identity(self):
        return {"model": "strides", "gain": self.gain}

    def extract(self, images, layers, vectors):
        self.seen += len(images)
        maps = [self.gain * F.avg_pool2d(images.float(), 2 ** (i + 1)) for i in layers]
        return maps, images.float().mean(dim=(2, 3)) if vectors else None


class Reads:
    def __init__(self, layers, needs_vectors=False):
        self.layers, self.needs_vectors = layers, needs_vectors


GEOMETRY = Geometry(resize=(16, 16), crop=None)


@pytest.fixture
def samples(tmp_path):
    generator = np.random.default_rng(0)
    made = []
    for i in range(5):
        path = tmp_path / "images" / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(generator.integers(0, 255, (16, 16, 3), np.uint8)).save(path)
        made.append(Sample(path, path.name, "good"))
    return made


DIGESTS = list("abcde")


def test_features_are_the_backbones_in_the_order_of_the_samples(samples):
    features = Extractor(Strides(), GEOMETRY, batch=2)(samples, DIGESTS, Reads([2, 1], True))
    images = torch.stack([torch.from_numpy(np.array(Image.open(s.path))).permute(2, 0, 1).float() for s in samples])
    torch.testing.assert_close(features.maps[0], F.avg_pool2d(images, 4))  # finest first
    torch.testing.assert_close(features.maps[1], F.avg_pool2d(images, 8))
    torch.testing.assert_close(features.vectors, images.mean(dim=(2, 3)))
    assert features.size == (16, 16)
    assert len(features) == 5


def test_a_second_call_reads_the_cache_and_equals_memory(samples, tmp_path):
    backbone = Strides()
    first = Extractor(backbone, GEOMETRY, tmp_path)(samples, DIGESTS, Reads([1, 2]))
    again = Extractor(backbone, GEOMETRY, tmp_path)(samples, DIGESTS, Reads([1, 2]))
    memory = Extractor(Strides(), GEOMETRY)(samples, DIGESTS, Reads([1, 2]))
    assert backbone.seen == 5
    assert first.key == again.key == memory.key
    for a, b, c in zip(first.maps, again.maps, memory.maps, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        torch.testing.assert_close(a, c, rtol=0, atol=0)


def test_methods_share_the_layers_they_have_in_common(samples, tmp_path):
    backbone = Strides()
    Extractor(backbone, GEOMETRY, tmp_path)(samples, DIGESTS, Reads([1, 2, 3]))
    fewer = Extractor(backbone, GEOMETRY, tmp_path)(samples, DIGESTS, Reads([2]))
    assert backbone.seen == 5
    assert fewer.maps[0].shape == (5, 3, 2, 2)


def test_whatever_changes_the_content_changes_the_key(samples, tmp_path):
    def key(digests=DIGESTS, backbone=None, geometry=GEOMETRY, layers=(1,)):
        return Extractor(backbone or Strides(), geometry, tmp_path)(samples, digests, Reads(list(layers))).key

    keys = [
        key(),
        key(digests=list("abcdX")),
        key(backbone=Strides(gain=2.0)),
        key(geometry=Geometry(resize=(16, 16), crop=None, interpolation="nearest")),
        key(geometry=Geometry(resize=(16, 16), crop=8)),
        key(layers=(2,)),
    ]
    assert len(set(keys)) == len(keys)
    # How masks are treated does not touch the features.
    assert key(geometry=Geometry(resize=(16, 16), crop=None, mask_rule="any")) == keys[0]


def test_source_is_the_same_for_other_images_and_another_for_another_backbone(samples):
    a = Extractor(Strides(), GEOMETRY)(samples, DIGESTS, Reads([1]))
    b = Extractor(Strides(), GEOMETRY)(samples[:2], DIGESTS[:2], Reads([1]))
    c = Extractor(Strides(2.0), GEOMETRY)(samples, DIGESTS, Reads([1]))
    assert a.source == b.source != c.source
    assert a.key != b.key


@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_damaged_files_are_made_again(samples, tmp_path, caplog, damage):
    backbone = Strides()
    whole = Extractor(backbone, GEOMETRY, tmp_path)(samples, DIGESTS, Reads([1])).maps[0].clone()
    (path,) = (tmp_path / "features").rglob("layer1.npy")
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes({"flip": bytes(content), "cut": content[:500], "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        again = Extractor(backbone, GEOMETRY, tmp_path)(samples, DIGESTS, Reads([1])).maps[0]
    assert "damaged" in caplog.text
    assert backbone.seen == 10
    torch.testing.assert_close(again, whole, rtol=0, atol=0)


def test_a_cache_that_cannot_be_written_costs_a_warning(samples, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        features = Extractor(Strides(), GEOMETRY, tmp_path / "file" / "cache")(samples, DIGESTS, Reads([1]))
    assert "cannot keep features" in caplog.text
    assert len(features) == 5


def test_features_made_with_a_method_can_be_written_to_in_memory_only(samples, tmp_path):
    Extractor(Strides(), GEOMETRY, tmp_path)(samples, DIGESTS, Reads([1])).maps[0].zero_()
    assert float(Extractor(Strides(), GEOMETRY, tmp_path)(samples, DIGESTS, Reads([1])).maps[0].abs().sum()) > 0


def test_images_of_different_sizes_are_refused(samples):
    Image.new("RGB", (32, 16)).save(samples[3].path)
    with pytest.raises(DataError, match=r"sizes .*geometry"):
        Extractor(Strides(), Geometry(resize=16, crop=None))(samples, DIGESTS, Reads([1]))


def test_a_broken_image_is_named(samples):
    samples[2].path.write_bytes(b"")
    with pytest.raises(DataError, match=r"2\.png"):
        Extractor(Strides(), GEOMETRY)(samples, DIGESTS, Reads([1]))


def test_features_that_are_not_finite_are_refused(samples, tmp_path):
    with pytest.raises(AdbenchError, match="NaN or infinite"):
        Extractor(Strides(float("nan")), GEOMETRY, tmp_path)(samples, DIGESTS, Reads([1]))
    assert not list((tmp_path / "features").rglob("*.npy"))


def test_evicted_features_are_read_again(samples, tmp_path):
    features = Extractor(Strides(), GEOMETRY, tmp_path)(samples, DIGESTS, Reads([1, 2]))
    assert len(features.files) == 2
    before = [m.clone() for m in features.maps]
    features.evict()
    for m, known in zip(features.maps, before, strict=True):
        torch.testing.assert_close(m, known, rtol=0, atol=0)
    in_memory = Extractor(Strides(), GEOMETRY)(samples, DIGESTS, Reads([1]))
    in_memory.evict()
    torch.testing.assert_close(in_memory.maps[0], before[0], rtol=0, atol=0)
