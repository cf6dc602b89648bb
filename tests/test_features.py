import logging
import sys
import threading
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from adbench.data.geometry import Geometry
from adbench.data.samples import Images
from adbench.errors import AdbenchError, DataError
from adbench.features.extract import Extractor
from adbench.features.store import Store
from adbench.system import machine
from adbench.system.stages import stages


class Strides:
    """A backbone whose level i is the image averaged over blocks of 2^(i + 1) pixels.

    It counts the images that it sees and keeps the layers that were wanted.
    """

    def __init__(self, gain=1.0, library="1.0"):
        self.gain, self.library = gain, library
        self.seen, self.layers = 0, []

    def identity(self):
        return {"model": "strides", "gain": self.gain}

    def versions(self):
        return {"strides": self.library}

    def extract(self, images, layers, vectors):
        self.seen += len(images)
        self.layers.append(list(layers))
        maps = [self.gain * F.avg_pool2d(images.float(), 2 ** (i + 1)) for i in layers]
        return maps, images.float().mean(dim=(2, 3)) if vectors else None


GEOMETRY = Geometry(resize=(16, 16), crop=None)
DIGESTS = tuple("abcde")


@pytest.fixture
def images(tmp_path) -> Images:
    """Five files of noise."""
    generator = np.random.default_rng(0)
    paths = [tmp_path / "images" / f"{i}.png" for i in range(5)]
    paths[0].parent.mkdir()
    for path in paths:
        Image.fromarray(generator.integers(0, 255, (16, 16, 3), np.uint8)).save(path)
    return Images(tuple(paths), DIGESTS)


def decoded(images: Images) -> Images:
    return Images(arrays=tuple(np.array(Image.open(path)) for path in images.paths))


def extract(images, layers, vectors=False, backbone=None, geometry=GEOMETRY, folder=None, **others):
    features, _ = Extractor(backbone or Strides(), geometry, folder, **others)(
        images, layers, vectors
    )
    return features


def equal(a, b) -> bool:
    return len(a.maps) == len(b.maps) and all(map(torch.equal, a.maps, b.maps))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "features").rglob("*.npy"))


@pytest.mark.parametrize("kind", ["files", "arrays"])
@pytest.mark.parametrize("batch", [1, 2, 16])
def test_features_are_the_backbones_in_the_order_of_the_images(images, kind, batch):
    given = images if kind == "files" else decoded(images)
    features = extract(given, [2, 1], True, batch=batch)
    stacked = torch.from_numpy(np.stack(decoded(images).arrays)).permute(0, 3, 1, 2).float()
    torch.testing.assert_close(features.maps[0], F.avg_pool2d(stacked, 4))  # finest first
    torch.testing.assert_close(features.maps[1], F.avg_pool2d(stacked, 8))
    torch.testing.assert_close(features.vectors, stacked.mean(dim=(2, 3)))
    assert features.size == (16, 16)
    assert len(features) == 5


def test_a_second_call_reads_the_cache_and_equals_memory(images, tmp_path):
    backbone = Strides()
    first = extract(images, [1, 2], backbone=backbone, folder=tmp_path)
    again = extract(images, [1, 2], backbone=backbone, folder=tmp_path)
    memory = extract(images, [1, 2])
    assert backbone.seen == 5
    assert first.key == again.key == memory.key != ""
    assert equal(first, again)
    assert equal(first, memory)


def test_the_seconds_are_those_of_making_all_of_it_now(images, tmp_path):
    extractor = Extractor(Strides(), GEOMETRY, tmp_path)
    assert extractor(images, [1], False)[1] > 0
    assert extractor(images, [1], False)[1] is None
    assert extractor(images, [1, 2], False)[1] is None  # a part of it was kept
    assert extractor(decoded(images), [1], False)[1] > 0
    assert Extractor(Strides(), GEOMETRY)(images, [1], False)[1] > 0


def test_missing_layers_alone_are_made(images, tmp_path):
    backbone = Strides()
    extract(images, [2], backbone=backbone, folder=tmp_path)
    more = extract(images, [1, 2, 3], True, backbone=backbone, folder=tmp_path)
    fewer = extract(images, [1, 3], backbone=backbone, folder=tmp_path)
    assert backbone.layers == [[2], [1, 3]]
    assert files(tmp_path) == ["layer1.npy", "layer2.npy", "layer3.npy", "vectors.npy"]
    whole = extract(images, [1, 2, 3], True)
    assert equal(more, whole)
    torch.testing.assert_close(more.vectors, whole.vectors, rtol=0, atol=0)
    assert equal(fewer, extract(images, [1, 3]))


def test_vectors_alone_can_be_missing(images, tmp_path):
    backbone = Strides()
    extract(images, [2], backbone=backbone, folder=tmp_path)
    extract(images, [2], True, backbone=backbone, folder=tmp_path)
    assert backbone.layers == [[2], []]


@pytest.mark.parametrize("unnamed", ["files without digests", "arrays"])
def test_images_without_names_are_never_kept(images, tmp_path, unnamed):
    given = decoded(images) if unnamed == "arrays" else Images(images.paths)
    features = extract(given, [1], folder=tmp_path)
    assert features.key == ""
    assert not (tmp_path / "features").exists()
    assert equal(features, extract(images, [1]))


def test_whatever_changes_the_content_changes_the_key(images, tmp_path):
    def key(digests=DIGESTS, backbone=None, geometry=GEOMETRY, layers=(1,), vectors=False):
        given = Images(images.paths, tuple(digests))
        return extract(given, layers, vectors, backbone, geometry, tmp_path).key

    keys = [
        key(),
        key(digests="abcdX"),
        key(backbone=Strides(gain=2.0)),
        key(backbone=Strides(library="1.1")),
        key(geometry=Geometry(resize=(16, 16), crop=None, interpolation="nearest")),
        key(geometry=Geometry(resize=(16, 16), crop=8)),
        key(layers=(2,)),
        key(vectors=True),
    ]
    assert len(set(keys)) == len(keys)
    # How masks are treated does not touch the features.
    assert key(geometry=Geometry(resize=(16, 16), crop=None, mask_rule="any")) == keys[0]


class Elsewhere(Strides):
    """A backbone with a device of its own."""

    def __init__(self, device):
        super().__init__()
        self.device = device

    def computes_on(self):
        return self.device


def test_the_device_of_the_network_is_the_one_in_the_key(images):
    usual = [extract(images, [1], device=device).key for device in ("cpu", "cuda:0")]
    own = [
        extract(images, [1], backbone=Elsewhere(device), device="cpu").key
        for device in ("cpu", "cuda:1")
    ]
    assert own == usual


def test_features_of_another_library_or_decoder_are_made_again(images, tmp_path, monkeypatch):
    backbone = Strides()
    extract(images, [1], backbone=backbone, folder=tmp_path)
    backbone.library = "1.1"
    extract(images, [1], backbone=backbone, folder=tmp_path)
    monkeypatch.setattr("importlib.metadata.version", lambda package: f"another {package}")
    extract(images, [1], backbone=backbone, folder=tmp_path)
    assert backbone.seen == 15


def test_the_names_are_known_before_the_features(images, tmp_path):
    extractor = Extractor(Strides(), GEOMETRY, tmp_path)
    features, _ = extractor(images, [2, 1], True)
    assert extractor.names(images, [1, 2], True) == (features.source, features.key)
    assert extractor.names(decoded(images), [1, 2], True) == (features.source, "")


def test_the_source_is_the_backbones_and_not_that_of_the_images(images):
    a = extract(images, [1])
    b = extract(Images(images.paths[:2], DIGESTS[:2]), [1])
    c = extract(decoded(images), [1], backbone=Strides(library="1.1"))
    others = [extract(images, [1], backbone=Strides(2.0)), extract(images, [2])]
    others += [extract(images, [1], True), extract(images, [1], geometry=Geometry(16, 8))]
    assert a.source == b.source == c.source
    assert len({a.source, *(other.source for other in others)}) == 5
    assert a.key != b.key


@pytest.mark.parametrize("damage", ["flip", "flip the checksum", "cut", "short", "empty"])
@pytest.mark.fault("cache", shows="kept")
def test_damaged_files_are_made_again(images, tmp_path, caplog, damage):
    backbone = Strides()
    whole = extract(images, [1], backbone=backbone, folder=tmp_path).maps[0].clone()
    (path,) = (tmp_path / "features").rglob("layer1.npy")
    content = bytearray(path.read_bytes())
    content[-1 if damage == "flip the checksum" else 300] ^= 1
    cut = {"cut": 500, "short": 3, "empty": 0}
    path.write_bytes(content[: cut.get(damage, len(content))])
    with caplog.at_level(logging.WARNING):
        again = extract(images, [1], backbone=backbone, folder=tmp_path).maps[0]
    assert caplog.text.count("is damaged") == 1
    assert backbone.seen == 10
    torch.testing.assert_close(again, whole, rtol=0, atol=0)
    extract(images, [1], backbone=backbone, folder=tmp_path)
    assert backbone.seen == 10


def test_a_store_reads_a_file_through_once_until_it_changes(images, tmp_path):
    extract(images, [1], folder=tmp_path)
    (path,) = (tmp_path / "features").rglob("layer1.npy")
    store, opened = Store(), []
    open_file = Path.open

    def spy(self, *arguments, **options):
        opened.append(self)
        return open_file(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "open", spy)
        for _ in range(3):
            assert store.open(path, 5) is not None
        assert opened == [path]
    content = bytearray(path.read_bytes())
    content[300] ^= 1
    path.write_bytes(content)
    assert store.open(path, 5) is None


@pytest.mark.fault("cache", shows="kept")
def test_a_cache_that_cannot_be_written_costs_a_warning(images, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        features = extract(images, [1], folder=tmp_path / "file" / "cache")
    assert "cannot keep features" in caplog.text
    assert equal(features, extract(images, [1]))


@pytest.mark.fault("cache", shows="kept")
def test_a_disk_that_fills_up_keeps_nothing_and_loses_nothing(
    images, tmp_path, caplog, monkeypatch
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(10**12, 10**12, 100))
    with caplog.at_level(logging.WARNING):
        features = extract(images, [1], folder=tmp_path, batch=2)
    assert "cannot keep features" in caplog.text
    assert files(tmp_path) == []
    assert equal(features, extract(images, [1]))
    monkeypatch.setattr(machine, "free_memory", lambda: 100)
    with pytest.raises(AdbenchError, match=r"no cache folder holds them .* set cache=DIR"):
        extract(images, [1], folder=tmp_path, batch=2)


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file size are POSIX")
@pytest.mark.fault("cache", shows="kept")
def test_a_write_that_fails_keeps_nothing_and_loses_nothing(images, tmp_path, caplog):
    import resource
    import signal

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        features = extract(images, [1], folder=tmp_path, batch=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert "cannot keep features" in caplog.text
    assert [p.name for p in (tmp_path / "features").rglob("*") if p.is_file()] == ["lock"]
    assert equal(features, extract(images, [1]))


def test_mapped_features_can_be_written_to_in_memory_only(images, tmp_path):
    extract(images, [1], folder=tmp_path).maps[0].zero_()
    assert float(extract(images, [1], folder=tmp_path).maps[0].abs().sum()) > 0


@pytest.mark.parametrize("kind", ["files", "arrays"])
def test_images_of_different_sizes_are_refused(images, kind):
    Image.new("RGB", (32, 16)).save(images.paths[3])
    given = images if kind == "files" else decoded(images)
    place = str(images.paths[0].parent) if kind == "files" else "decoded arrays"
    with pytest.raises(DataError, match=rf"images of {place} end up with sizes .*geometry"):
        extract(given, [1], geometry=Geometry(resize=16, crop=None))


def test_the_size_is_that_of_the_images_where_the_geometry_leaves_it_open(images, tmp_path):
    for path in images.paths:
        Image.new("RGB", (32, 16)).save(path)
    for _ in range(2):  # made, then kept
        features = extract(images, [1], geometry=Geometry(None, None), folder=tmp_path)
        assert features.size == (16, 32)


@pytest.mark.parametrize("kind", ["files", "arrays"])
def test_each_image_is_brought_to_its_size_once(images, kind, monkeypatch):
    made, image = [], Geometry.image
    monkeypatch.setattr(Geometry, "image", lambda *given: made.append(1) or image(*given))
    given = images if kind == "files" else decoded(images)
    geometry = Geometry(resize=None, crop=None, area=32)
    assert extract(given, [1], geometry=geometry).size == (32, 32)
    assert len(made) == len(images)


def test_a_broken_image_is_named(images):
    images.paths[2].write_bytes(b"")
    with pytest.raises(DataError, match=r"2\.png"):
        extract(images, [1])


def test_an_image_that_the_crop_does_not_fit_is_named(images):
    with pytest.raises(DataError, match=r"0\.png: geometry.crop 32x32 is larger than an image"):
        extract(images, [1], geometry=Geometry(resize=None, crop=32))


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.fault("cache", shows="error")
def test_features_that_are_not_finite_are_refused(images, tmp_path, folder):
    nowhere = {"backbone": Strides(float("nan")), "folder": tmp_path if folder else None}
    with pytest.raises(AdbenchError, match="NaN or infinite"):
        extract(images, [1], **nowhere)
    assert not folder or files(tmp_path) == []


def test_evicted_features_are_read_again(images, tmp_path):
    features = extract(images, [1, 2], folder=tmp_path)
    assert len(features.files) == 2
    before = [m.clone() for m in features.maps]
    features.evict()
    for m, known in zip(features.maps, before, strict=True):
        torch.testing.assert_close(m, known, rtol=0, atol=0)
    in_memory = extract(images, [1])
    in_memory.evict()
    torch.testing.assert_close(in_memory.maps[0], before[0], rtol=0, atol=0)


def test_stages_say_what_preparing_and_the_network_took(images):
    with stages() as seconds:
        extract(decoded(images), [1])
    assert set(seconds) == {"preprocess", "backbone"}


def test_decoding_takes_as_many_threads_as_torch(images, monkeypatch):
    names: set[str] = set()
    prepare = Geometry.image

    def spy(self, image):
        names.add(threading.current_thread().name)
        return prepare(self, image)

    monkeypatch.setattr(Geometry, "image", spy)
    before = torch.get_num_threads()
    try:
        machine.set_threads(1)
        extract(Images(images.paths * 20), [1])
        assert len(names) == 1
    finally:
        machine.set_threads(before)
