"""A made-up page, of which every name is hostile: markup that must stay text."""

import base64
import io
from dataclasses import replace

from markupsafe import Markup
from PIL import Image

from adbench.reports.page.model import (
    NOTHING,
    SYMBOLS,
    Board,
    BoardCell,
    BoardRow,
    Chart,
    ClaimLine,
    Column,
    DefectLine,
    GalleryGroup,
    Page,
    Picture,
    PublishedTable,
    RecordView,
    VerdictLine,
)

IMAGE = "<img src=x onerror=alert(1)>"
SCRIPT = "</script><script>alert(2)</script>"
COLUMNS = [
    Column("image_auroc", "image AUROC", "%", 1, True, "How well images are told apart."),
    Column("pixel_auroc", "pixel AUROC", "%", 1, True, "How well pixels are told apart."),
    Column("aupro", "AUPRO", "%", 1, True, "Overlap of regions up to 30% false alarms."),
    Column("ms", "time", "ms", 1, False, "Median for one image."),
    Column("memory", "memory", "MB", 1, False, "Of the fitted state."),
]
METHODS = ["crd", "padim", "patchcore", f"own {IMAGE}"]
CATEGORIES = ["bottle", "grid", SCRIPT]
HEAD = ["setting", "category", "metric", "measured", "95% interval", "published", "difference"]


def board(methods=METHODS, categories=CATEGORIES):
    """Every setting on every category and in the mean; later methods are better and slower."""
    rows = [
        _row(method, category, place, number)
        for number, category in enumerate(["mean", *categories])
        for place, method in enumerate(methods)
    ]
    return Board(COLUMNS, rows, ["mvtec"], list(categories), list(methods), ["lite0", "resnet"])


def _row(method, category, place, number):
    values = {
        "image_auroc": 90.0 + 2 * place + number / 10,
        "pixel_auroc": 95.0 + place,
        "aupro": 85.0 + place,
        "ms": 10.0 * (place + 1),
        "memory": 0.5 * (place + 1),
    }
    cells = {name: _cell(name, value, place) for name, value in values.items()}
    if category == "mean":
        cells["memory"] = BoardCell(
            NOTHING, None, None, None, False, False, *["no mean of memory"] * 2
        )
    backbone = "lite0" if place % 2 else "resnet"
    anchor = "" if category == "mean" else f"record-{place}-{number}"
    return BoardRow(
        f"{method}, {backbone}",
        method,
        "mvtec",
        category,
        method,
        backbone,
        anchor,
        cells,
        category == "mean",
    )


def _cell(name, value, place):
    accuracy = name in ("image_auroc", "pixel_auroc")
    low, high = (value - 1.5, value + 1.5) if accuracy else (None, None)
    best = place == (3 if accuracy or name == "aupro" else 0)
    return BoardCell(f"{value:.1f}", value, low, high, best, accuracy and place == 2, "")


def chart(name, title):
    """Two panels, each of one line."""
    panel = (
        '<svg viewBox="0 0 420 300" role="img" aria-labelledby="{n}-t"><title id="{n}-t">{t}'
        '</title><path class="axis" d="M56 28V254H402" fill="none" stroke="currentColor"/>'
        '<path class="line s0" d="M60 240L200 80L400 40" fill="none" stroke="currentColor"/>'
        '<text class="label" x="200" y="290">{t}</text></svg>'
    )
    panels = Markup("").join(Markup(panel).format(n=f"{name}-{i}", t=title) for i in range(2))
    svg = Markup('<div class="panels">{}</div>').format(panels)
    table = (["setting", "x"], [[IMAGE, "1.5"], ["crd", "0.5"]])
    return Chart(name, title, f"Caption with {IMAGE}.", svg, table, ["A note."])


def picture(number, defect, verdict, wrong=False, size=(640, 320)):
    """A grey picture with a name of its own."""
    file = io.BytesIO()
    Image.new("L", size, 40 + 20 * number).save(file, format="WebP")
    src = "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
    name = f"test/{defect}/{number:03}.png"
    return Picture(src, *size, f"{name}, {verdict}", name, defect, verdict, wrong, "1.25", "1.50")


def gallery():
    """Two groups, with misses first."""
    first = [
        picture(0, "crack", "missed", wrong=True),
        picture(1, "good", "false alarm", wrong=True),
        picture(2, IMAGE, "found"),
        picture(3, "good", "passed"),
    ]
    second = [picture(4, "crack", "found"), picture(5, "bent", "found")]
    return [
        GalleryGroup("mvtec", "bottle", "crd, lite0", "record-0-1", "Threshold 1.50.", 1, first),
        GalleryGroup("mvtec", SCRIPT, f"own {IMAGE}", "record-3-3", "Threshold 1.50.", 0, second),
    ]


def record(anchor, heading):
    """A record with three stages."""
    return RecordView(
        anchor,
        heading,
        [("image AUROC", "92.50 (88.00 to 95.00)")],
        [("method", IMAGE), ("lambda_", "5.0")],
        [("weights", "sha256 5793…"), ("torch", "2.14.1"), ("machine", "AMD EPYC, 2 cores")],
        [("preprocess", 3.27, 0.3), ("backbone", 5.1, 0.5), ("distance", 2.2, 0.2)],
        [("state", "0.1 MB")],
        "adbench run method=crd category=bottle",
    )


def made_page(**changes):
    """The page, with some parts in another way."""
    kinds = ["within", "outside", "inconclusive", "none"]
    lines = [
        VerdictLine(
            method, "grid", "image AUROC", f"{90 + place}.0", "[88.0, 95.0]", "97.5",
            f"{place - 7.5:+.1f}", f"{kind} the band", kind, SYMBOLS[kind],
        )
        for place, (method, kind) in enumerate(zip(METHODS, kinds, strict=True))
    ]  # fmt: skip
    head = [*HEAD, "verdict"]
    rows = board()
    page = Page(
        title=f"Detectors {SCRIPT}",
        made="2026-11-26",
        version="0.1.0",
        command=f"adbench report results={IMAGE}",
        about=["Four methods were measured on three categories.", f"One has the name {IMAGE}."],
        pictures_note="6 of 6 pictures are shown; pictures=N shows more.",
        tables=[
            PublishedTable("han", f"A table {IMAGE}", "Han & Yan", head, lines, ["Why."], "Rest."),
            PublishedTable("roth", "Another table", "Roth", head, lines[:1], [], ""),
        ],
        tables_left="Nothing was measured of 3 tables.",
        claims=[
            ClaimLine(IMAGE, "97.2 against 95.6", "-0.2 [-7.1, +6.8]", "supported", "within",
                      SYMBOLS["within"], "A note."),
            ClaimLine("b is faster", "3 times", NOTHING, "contradicted", "outside",
                      SYMBOLS["outside"], ""),
        ],
        board=rows,
        speed=chart("speed-chart", "Speed against accuracy"),
        sweeps=[chart("sweep-0", f"ratio {SCRIPT}")],
        curves=[chart("curves-0", "bottle"), chart("curves-1", "grid")],
        curves_left="Every method reaches an image AUROC of 100 on cable (mvtec).",
        thresholds=(["category", "setting", "defects found"], [["mvtec: bottle", IMAGE, "80%"]]),
        defects=[DefectLine("mvtec", "grid", "bent", 12, 4, 0.25, 0.0, f"own {IMAGE}"),
                 DefectLine("mvtec", "bottle", IMAGE, 20, 4, 0.125, 0.1, "crd, resnet")],
        defects_note="Each setting decides by its best threshold.",
        gallery=gallery(),
        records=[record(row.anchor, f"{row.setting}, {row.category}")
                 for row in rows.rows if row.anchor],
    )  # fmt: skip
    return replace(page, **changes)
