"""Charts as SVG: panels that wrap on narrow screens, and one key for all of them.

Colours come from the style sheet of the page, by the classes ``s0`` to ``s7`` of a series and those
of the parts: ``grid``, ``axis``, ``tick``, ``label``, ``line``, ``band``, ``bar``, ``mark``,
``front``, ``number``. What it lacks is drawn in the colour of the text. Marks and dashes differ
between series, so that nothing is said by colour alone.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from adbench.reports.page.labels import places
from adbench.reports.page.scale import Axis, Scale

WIDTH, HEIGHT = 420, 300
"""Of a panel, in its own units; the page scales it."""
LEFT, RIGHT, TOP, BOTTOM = 56, 18, 28, 46
LONGEST = 52
"""Letters that fit above a panel."""
LOOKS = 8
"""Colours; further series have them again, with other marks and dashes."""
_DASHES = ("", "7 3", "2 3", "8 3 2 3", "12 4", "4 2", "1 2", "10 3 2 3 2 3")
_MARKS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.6-3.6h7.2v7.2h-7.2z",
    "M0-4.6L4.4 3.4H-4.4z",
    "M0-5L4.4 0L0 5L-4.4 0z",
    "M0 4.6L4.4-3.4H-4.4z",
    "M-4.5-1.4h3.1v-3.1h2.8v3.1h3.1v2.8h-3.1v3.1h-2.8v-3.1h-3.1z",
    "M-4-2.3L0-4.6L4-2.3V2.3L0 4.6L-4 2.3z",
    "M-4-2.4L-2.4-4L0-1.6L2.4-4L4-2.4L1.6 0L4 2.4L2.4 4L0 1.6L-2.4 4L-4 2.4L-1.6 0z",
)


@dataclass(frozen=True)
class Mark:
    """A number in a chart."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    text: str = ""
    """What it is, shown where one points at it."""
    number: str = ""
    """Written beside it, where there is room."""


@dataclass(frozen=True)
class Series:
    """Marks of one kind."""

    look: int
    marks: Sequence[Mark]
    joined: bool = True
    marked: bool = True
    front: bool = False
    """A thin line of no kind of its own, such as a diagonal or a front."""
    barred: bool = False
    """Whether intervals are bars where marks are joined; else they are a band."""
    aside: float = 0.0
    """Units by which all is drawn to the right, so that bars stand side by side."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]


def drawing(
    name: str, about: str, panels: Sequence[Panel], key: Sequence[tuple[int, str]]
) -> Markup:
    """All panels and one key.

    Args:
        name: An id that no other drawing of the page has.
        about: What is drawn, in words.
        panels: In their order.
        key: The look of each series and its name.
    """
    drawn = Markup("").join(
        _panel(f"{name}-{number}", about, panel) for number, panel in enumerate(panels)
    )
    entries = Markup("").join(_entry(look, text) for look, text in key)
    named = Markup('<ul class="key">{}</ul>').format(entries) if key else Markup("")
    return Markup('<div class="panels">{}</div>{}').format(drawn, named)


def _panel(name: str, about: str, panel: Panel) -> Markup:
    across = Scale(panel.x, LEFT, WIDTH - RIGHT)
    up = Scale(panel.y, HEIGHT - BOTTOM, TOP)
    parts = [
        Markup('<text class="label head" x="{}" y="16" font-weight="600">{}</text>').format(
            LEFT, _short(panel.title)
        ),
        *(_across(across, value, text) for value, text in across.ticks()),
        *(_up(up, value, text) for value, text in up.ticks()),
        _frame(panel),
        *(_series(s, across, up) for s in panel.series),
        *_numbers(panel.series, across, up),
    ]
    return Markup(
        '<svg viewBox="0 0 {w} {h}" role="img" aria-labelledby="{n}-t {n}-d" font-size="12">'
        '<title id="{n}-t">{t}</title><desc id="{n}-d">{d}</desc>{parts}</svg>'
    ).format(w=WIDTH, h=HEIGHT, n=name, t=panel.title, d=about, parts=Markup("").join(parts))


def _short(title: str) -> str:
    """A title that fits above its panel; the whole one is told where one points at it."""
    return title if len(title) <= LONGEST else f"{title[: LONGEST - 1]}\N{HORIZONTAL ELLIPSIS}"


def _across(scale: Scale, value: float, text: str) -> Markup:
    x = round(scale(value), 1)
    return Markup(
        '<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{low}" stroke="currentColor" '
        'stroke-opacity=".14"/><text class="tick" x="{x}" y="{at}" text-anchor="middle" '
        'fill="currentColor">{text}</text>'
    ).format(x=x, top=TOP, low=HEIGHT - BOTTOM, at=HEIGHT - BOTTOM + 17, text=text)


def _up(scale: Scale, value: float, text: str) -> Markup:
    y = round(scale(value), 1)
    return Markup(
        '<line class="grid" x1="{left}" x2="{right}" y1="{y}" y2="{y}" stroke="currentColor" '
        'stroke-opacity=".14"/><text class="tick" x="{at}" y="{base}" text-anchor="end" '
        'fill="currentColor">{text}</text>'
    ).format(left=LEFT, right=WIDTH - RIGHT, y=y, at=LEFT - 7, base=y + 4, text=text)


def _frame(panel: Panel) -> Markup:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return Markup(
        '<path class="axis" d="M{left} {top}V{low}H{right}" fill="none" stroke="currentColor"/>'
        '<text class="label" x="{centre}" y="{foot}" text-anchor="middle" '
        'fill="currentColor">{x}</text>'
        '<text class="label" transform="translate(13 {middle}) rotate(-90)" text-anchor="middle" '
        'fill="currentColor">{y}</text>'
    ).format(
        left=LEFT,
        top=TOP,
        low=HEIGHT - BOTTOM,
        right=WIDTH - RIGHT,
        centre=(LEFT + WIDTH - RIGHT) / 2,
        foot=HEIGHT - 9,
        middle=middle,
        x=panel.x.title,
        y=panel.y.title,
    )


def _series(series: Series, across: Scale, up: Scale) -> Markup:
    look, shape = series.look % LOOKS, _shape(series.look)
    parts = []
    marks = series.marks
    if series.joined and len(marks) > 1:
        band = [m for m in marks if m.low is not None and m.high is not None]
        if len(band) == len(marks) and not (series.front or series.barred):
            there = [(across(m.x), up(m.high or 0.0)) for m in band]
            back = [(across(m.x), up(m.low or 0.0)) for m in reversed(band)]
            parts.append(
                Markup('<path class="band s{}" d="{}z" fill-opacity=".15"/>').format(
                    look, _way([*there, *back])
                )
            )
        kind = "front" if series.front else f"line s{look}"
        way = _way([(across(m.x) + series.aside, up(m.y)) for m in marks])
        dashes = "3 3" if series.front else _DASHES[shape]
        parts.append(
            Markup(
                '<path class="{}" d="{}" fill="none" stroke="currentColor" stroke-dasharray="{}"/>'
            ).format(kind, way, dashes or "none")
        )
    if series.marked:
        bar = series.barred or not series.joined
        parts += [_mark(m, series.look, across(m.x) + series.aside, up, bar) for m in marks]
    return Markup("").join(parts)


def _mark(mark: Mark, look: int, across: float, up: Scale, bar: bool) -> Markup:
    x, y = round(across, 1), round(up(mark.y), 1)
    look, shape = look % LOOKS, _shape(look)
    parts = [Markup("")]
    if bar and mark.low is not None and mark.high is not None:
        parts.append(
            Markup('<path class="bar s{}" d="M{} {}V{}" stroke="currentColor"/>').format(
                look, x, round(up(mark.low), 1), round(up(mark.high), 1)
            )
        )
    parts.append(
        Markup('<path class="mark s{}" transform="translate({} {})" d="{}">{}</path>').format(
            look,
            x,
            y,
            _MARKS[shape],
            Markup("<title>{}</title>").format(mark.text) if mark.text else "",
        )
    )
    return Markup("").join(parts)


def _numbers(series: Sequence[Series], across: Scale, up: Scale) -> list[Markup]:
    """The numbers beside marks; where there is no room for one, a pointer still tells it."""
    marks = [mark for one in series if one.marked for mark in one.marks]
    points = [(across(mark.x), up(mark.y)) for mark in marks]
    found = places(points, [mark.number for mark in marks])
    return [
        Markup('<text class="number" x="{:.1f}" y="{:.1f}" fill="currentColor">{}</text>').format(
            *place, mark.number
        )
        for mark, place in zip(marks, found, strict=True)
        if place is not None
    ]


def _shape(look: int) -> int:
    """The place of a series' mark and dashes; those of one colour differ."""
    return (look + 3 * (look // LOOKS)) % LOOKS


def _entry(look: int, text: str) -> Markup:
    shape = _shape(look)
    return Markup(
        '<li><svg viewBox="0 0 34 14" width="34" height="14" aria-hidden="true">'
        '<path class="line s{look}" d="M1 7H33" fill="none" stroke="currentColor" '
        'stroke-dasharray="{dashes}"/><path class="mark s{look}" transform="translate(17 7)" '
        'd="{mark}"/></svg> {text}</li>'
    ).format(look=look % LOOKS, dashes=_DASHES[shape] or "none", mark=_MARKS[shape], text=text)


def _way(points: Sequence[tuple[float, float]]) -> str:
    """A path through the points, without those that lie on a straight way between others."""
    rounded = [(round(x, 1), round(y, 1)) for x, y in points]
    kept = [point for point, _ in itertools.groupby(rounded)]
    straight = [
        here
        for before, here, after in zip([None, *kept], kept, [*kept[1:], None], strict=False)
        if before is None or after is None or not _on_a_line(before, here, after)
    ]
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in straight)


def _on_a_line(
    before: tuple[float, float], here: tuple[float, float], after: tuple[float, float]
) -> bool:
    (x0, y0), (x1, y1), (x2, y2) = before, here, after
    return (x0 == x1 == x2) or (y0 == y1 == y2)
