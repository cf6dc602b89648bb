"""Procedural photographs of two products, sound and damaged, with the exact mask of each damage.

``denim`` is a texture without pose, ``flange`` a machined part in nearly the same pose each time.
Some defects change the texture (a stain, a scratch); others are sound texture in the wrong place (a
hole that is drilled elsewhere). A defect draws from a generator of its own, so that ``good`` from
an equal generator is the same photograph without the defect. Arithmetic is float64 and all random
draws are uniform, so that pixels do not depend on the machine.
"""

from collections.abc import Callable

import numpy as np

Rng = np.random.Generator
Drawing = tuple[np.ndarray, np.ndarray]
"""An (s, s, 3) float64 picture in [0, 1] and the (s, s) bool mask of its defect."""


def denim(rng: Rng, size: int, defect: str) -> Drawing:
    """A 3/1 twill of blue warp over white weft, at random phase, slightly turned and warped."""
    y, x = _grid(size)
    harm = rng.spawn(1)[0]
    turn = _between(rng, -0.05, 0.05)
    threads = 30
    u = (
        threads * (x * np.cos(turn) - y * np.sin(turn))
        + _between(rng, 100, 104)
        + 0.25 * _noise(rng, size, 4)
    )
    v = (
        threads * (x * np.sin(turn) + y * np.cos(turn))
        + _between(rng, 100, 104)
        + 0.25 * _noise(rng, size, 4)
    )
    centre = (_between(harm, 0.25, 0.75), _between(harm, 0.25, 0.75))
    mask = np.zeros((size, size), bool)

    if defect == "pulled":
        reach = _between(harm, 0.05, 0.09)
        bump = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * reach**2))
        pull = _between(harm, 1.0, 1.8) * _sign(harm)
        u = u + pull * bump
        mask = bump * abs(pull) > 0.25
    i, j = np.floor(u), np.floor(v)
    warp = _round(u - i) * (
        1 - 0.95 * _bump((v + i) % 4)
    )  # height of the warp: on top but for one weft in four
    weft = _round(v - j) * (0.25 + 0.7 * _bump((u + j) % 4))
    yarns = rng.random((2, 256))  # each thread has its own shade
    warp_shade = 0.85 + 0.3 * yarns[0][i.astype(int) % 256] + 0.05 * _noise(rng, size, 40)
    weft_shade = 0.9 + 0.2 * yarns[1][j.astype(int) % 256]
    if defect == "broken_thread":
        length, thread = (
            _between(harm, 0.1, 0.25),
            np.floor(u[int(centre[0] * size), int(centre[1] * size)]),
        )
        mask = (i == thread) & (np.abs(y - centre[0]) < length / 2)
        warp = np.where(mask, 0, warp)
    blue, white = np.array([0.23, 0.31, 0.47]), np.array([0.74, 0.73, 0.70])
    on_top = (warp > weft)[..., None]
    picture = np.where(on_top, blue * warp_shade[..., None], white * weft_shade[..., None])
    picture = picture * (0.35 + 0.65 * np.maximum(warp, weft))[..., None]

    if defect == "stain":
        mask, depth = _blob(harm, size, centre, _between(harm, 0.05, 0.11))
        picture = picture * (
            1 - _between(harm, 0.25, 0.5) * depth[..., None] * np.array([0.6, 0.8, 1.0])
        )
    elif defect == "hole":
        mask, depth = _blob(harm, size, centre, _between(harm, 0.018, 0.04))
        picture = picture * (1 - 0.85 * depth[..., None])
    elif defect == "fibre":
        mask, cover = _stroke(harm, size, centre, _between(harm, 0.12, 0.3), 0.0035)
        picture = picture + cover[..., None] * 0.6 * (np.array([0.75, 0.68, 0.55]) - picture)
    return _photograph(rng, picture), mask


def flange(rng: Rng, size: int, defect: str) -> Drawing:
    """A turned steel flange with four bolt holes and a keyway, lit from a changing side."""
    y, x = _grid(size)
    harm = rng.spawn(1)[0]
    cy, cx = 0.5 + _between(rng, -0.012, 0.012), 0.5 + _between(rng, -0.012, 0.012)
    scale, turn, light = (
        _between(rng, 0.985, 1.015),
        _between(rng, -0.3, 0.3),
        _between(rng, -2.7, -2.0),
    )
    dy, dx = (y - cy) / scale, (x - cx) / scale
    down, right = (
        dy * np.cos(turn) - dx * np.sin(turn),
        dx * np.cos(turn) + dy * np.sin(turn),
    )  # in the part's frame
    r = np.sqrt(down**2 + right**2)
    outer, inner, circle, bolt = 0.38, 0.14, 0.265, 0.036
    bearings = np.pi / 4 + np.pi / 2 * np.arange(4)
    chosen = int(harm.random() * 4)

    def disc(bearing: float, radius: float, reach: float) -> np.ndarray:
        away = (right - reach * np.cos(bearing)) ** 2 + (down - reach * np.sin(bearing)) ** 2
        return _edge((radius - np.sqrt(away)) * size)

    holes = [disc(b, bolt, circle) for b in bearings]
    mask = np.zeros((size, size), bool)
    if defect == "missing_hole":
        mask = holes.pop(chosen) > 0.5
    elif defect == "misplaced_hole":
        moved = disc(bearings[chosen] + _between(harm, 0.3, 0.5) * _sign(harm), bolt, circle)
        mask = (holes[chosen] > 0.5) | (moved > 0.5)
        holes[chosen] = moved
    keyway = _edge((0.03 - np.abs(right)) * size) * _edge((0.175 - r) * size) * (down < 0)
    metal = _edge((outer - r) * size) * _edge((r - inner) * size) * (1 - keyway)
    for hole in holes:
        metal = metal * (1 - hole)
    if defect == "chip":
        bite = disc(
            _between(harm, -3.14, 3.14),
            _between(harm, 0.018, 0.04),
            outer - _between(harm, -0.008, 0.008),
        )
        mask = (bite > 0.5) & (metal > 0.5)
        metal = metal * (1 - bite)

    grooves = np.interp(
        r * 220, np.arange(128), rng.random(128)
    )  # turning marks: a shade per radius
    facing = (dx * np.cos(light) + dy * np.sin(light)) / r
    chamfers = _ring(r, outer - 0.008, 0.008) - _ring(r, inner + 0.008, 0.008)
    face = 0.37 + 0.10 * grooves + 0.015 * _noise(rng, size, 12)
    face = (
        face + 0.22 * facing**2 + 0.22 * facing * chamfers
    )  # turned metal shines towards and away from the light
    picture = face[..., None] * np.array([0.97, 0.99, 1.03])
    if defect in ("scratch", "rust"):
        at, reach = (
            turn + bearings[chosen] + np.pi / 4 + _between(harm, -0.35, 0.35),
            _between(harm, 0.2, 0.33),
        )
        place = (cy + reach * np.sin(at), cx + reach * np.cos(at))  # between two bolt holes
        if defect == "scratch":
            mask, cover = _stroke(harm, size, place, _between(harm, 0.06, 0.16), 0.002)
            picture = picture + cover[..., None] * _between(harm, 0.12, 0.3) * _sign(harm)
        else:
            mask, depth = _blob(harm, size, place, _between(harm, 0.02, 0.045))
            picture = picture + 0.7 * depth[..., None] * (np.array([0.42, 0.27, 0.17]) - picture)
        mask = mask & (metal > 0.5)

    shadow = _edge((outer + 0.01 - np.sqrt((y - cy - 0.02) ** 2 + (x - cx - 0.012) ** 2)) / 0.03)
    belt = 0.16 + 0.02 * _noise(rng, size, 60) + 0.02 * _noise(rng, size, 5)
    ground = (belt * (1 - 0.6 * shadow))[..., None] * np.array([0.95, 1.0, 1.02])
    return _photograph(rng, ground + metal[..., None] * (picture - ground)), mask


PRODUCTS: dict[str, tuple[Callable[[Rng, int, str], Drawing], list[str]]] = {
    "denim": (denim, ["broken_thread", "fibre", "hole", "pulled", "stain"]),
    "flange": (flange, ["chip", "misplaced_hole", "missing_hole", "rust", "scratch"]),
}
"""What draws each category, and its defect types."""


def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixel centres, from 0 to 1."""
    centres = (np.arange(size) + 0.5) / size
    return np.meshgrid(centres, centres, indexing="ij")


def _between(rng: Rng, low: float, high: float) -> float:
    return low + (high - low) * rng.random()


def _sign(rng: Rng) -> float:
    return 1.0 if rng.random() < 0.5 else -1.0


def _edge(distance: np.ndarray) -> np.ndarray:
    """0 outside to 1 inside, a smooth step over a distance of 1."""
    t = np.clip(distance + 0.5, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def _ring(r: np.ndarray, at: float, width: float) -> np.ndarray:
    return np.clip(1 - np.abs(r - at) / width, 0, 1)


def _round(across: np.ndarray) -> np.ndarray:
    """Height of a thread over its width, 0 to 1."""
    return np.asarray(np.sqrt(np.clip(1 - (2 * across - 1) ** 2, 0, 1)))


def _bump(phase: np.ndarray) -> np.ndarray:
    """1 at phase 3.5, falling to 0 at 2.8 and (through 4, which is 0) at 0.2."""
    return np.clip(1 - (np.abs(phase - 3.5) / 0.7) ** 2, 0, 1) + np.clip(
        1 - (np.abs(phase + 0.5) / 0.7) ** 2, 0, 1
    )


def _noise(rng: Rng, size: int, cells: int) -> np.ndarray:
    """Smooth noise of mean 0 and deviation 1: cubic B-splines on random heights.

    It has ``cells`` bumps along a side.
    """
    at = (np.arange(size) + 0.5) / size * cells
    away = np.abs(at[:, None] - (np.arange(cells + 4) - 1.5))
    near, far = 2 / 3 - away**2 + away**3 / 2, np.clip(2 - away, 0, None) ** 3 / 6
    spline = np.where(away < 1, near, far)
    field = spline @ rng.random((cells + 4, cells + 4)) @ spline.T
    return np.asarray((field - field.mean()) / field.std())


def _blob(
    rng: Rng, size: int, centre: tuple[float, float], radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """The mask of an irregular spot, and its depth from 0 to 1."""
    y, x = _grid(size)
    away = np.sqrt((y - centre[0]) ** 2 + ((x - centre[1]) * _between(rng, 0.75, 1.3)) ** 2)
    depth = _edge((radius * (1 + 0.25 * _noise(rng, size, 14)) - away) / (0.35 * radius))
    return depth > 0.5, depth


def _stroke(
    rng: Rng, size: int, centre: tuple[float, float], length: float, width: float
) -> tuple[np.ndarray, np.ndarray]:
    """The mask of a thin bent line through ``centre``, and how much of each pixel it covers."""
    y, x = _grid(size)
    turn, bend = _between(rng, -3.14, 3.14), _between(rng, -2.5, 2.5)
    along = (x - centre[1]) * np.cos(turn) + (y - centre[0]) * np.sin(turn)
    across = (y - centre[0]) * np.cos(turn) - (x - centre[1]) * np.sin(turn) - bend * along**2
    cover = _edge((width - np.abs(across)) * size) * _edge((length / 2 - np.abs(along)) * size / 4)
    return cover > 0.25, cover


def _photograph(rng: Rng, picture: np.ndarray) -> np.ndarray:
    """Uneven light, exposure and sensor noise."""
    size = len(picture)
    light = 1 + 0.03 * _noise(rng, size, 2) + _between(rng, -0.06, 0.06)
    return np.clip(picture * light[..., None] + 0.03 * (rng.random(picture.shape) - 0.5), 0, 1)
