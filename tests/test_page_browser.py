"""The page in Chromium: its view, keyboard, widths, colours, printing, and what it may not do."""

import csv
import io
import re
import shutil
from dataclasses import replace

import pytest
from made_page import IMAGE, METHODS, SCRIPT, board, gallery, made_page

from adbench.reports.page.render import render

sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is missing: pip install 'adbench-vision[page]'"
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip
WIDTHS = (360, 1024, 1920)
SCHEMES = ("light", "dark")
PICTURE = "record-0-1%2Ftest%2Fgood%2F001.png"
"""How an address names the second picture: its record and its name."""


@pytest.fixture(scope="module")
def browser():
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(made_page()), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def opened(browser, address, tmp_path):
    """Opens the page; at the end no script has failed, and nothing was asked for from elsewhere."""
    contexts, faults = [], []

    def open_page(fragment="", width=1024, made=None, **options):
        file = address
        if made is not None:
            path = tmp_path / f"{len(contexts)}.html"
            path.write_text(render(made), encoding="utf-8")
            file = path.as_uri()
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        context.set_default_timeout(5000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked(request.url, file))
        page.goto(file + fragment)
        return page

    def asked(url, file):
        if url.partition("#")[0] != file and not url.startswith(("data:", "blob:")):
            faults.append(url)

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def texts(page, selector):
    """Of the elements that are seen."""
    return [each.inner_text() for each in page.locator(selector).all() if each.is_visible()]


def settings_in(page, category):
    rows = f"#board tr[data-category={category!r}]:not([hidden]) th[scope=row]"
    return [text.strip() for text in texts(page, rows)]


def wait_until(page, condition):
    """The policy of the page forbids the eval of ``wait_for_function``."""
    for _ in range(100):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(condition)


def wait_until_focused(page, picture):
    """The browser tells the page in a task of its own that a dialog was closed."""
    wait_until(page, f"document.activeElement.closest('figure')?.dataset.name === {picture!r}")


def fragment_of(page):
    return page.evaluate("location.hash")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off_and_all_sections_are_there(opened, width, scheme):
    page = opened(width=width, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, paper[4:-1].split(","))) > 600) == (scheme == "light")
    for target in page.locator("nav a").all():
        target.click()
        section = page.locator(target.get_attribute("href"))
        assert section.locator("h1, h2").first.is_visible()


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1024, "light")])
def test_an_automatic_check_finds_nothing_serious(opened, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    for fragment in ("", f"#gallery?picture={PICTURE}&verdict=outside&gallery.group=all"):
        page = opened(fragment, width=width, color_scheme=scheme)
        page.locator("#records details").first.evaluate("details => details.open = true")
        found = axe.Axe().run(page).response["violations"]
        assert [(v["id"], v["nodes"][0]["html"]) for v in found if v["impact"] != "minor"] == []


def test_names_from_disk_stay_text(opened):
    page = opened()
    assert SCRIPT in page.locator("h1").inner_text()
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("script").count() == 1
    page.locator("#gallery select").nth(1).select_option(IMAGE)
    page.locator("#gallery figure:visible button").click()
    assert IMAGE in page.locator("#viewer").inner_text()


def test_a_script_that_got_into_the_page_would_not_run(browser, address):
    page = browser.new_page()
    page.goto(address)
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), "
        "{textContent: 'document.title = 1'}))"
    )
    assert page.title() != "1"
    page.close()


def test_a_click_on_a_title_sorts_and_the_address_keeps_it(opened):
    page = opened()
    best_first = settings_in(page, "grid")
    assert [name.split(",")[0] for name in best_first] == METHODS[::-1]
    head = page.locator("#board thead th[aria-sort]")
    time = page.locator("#board thead").get_by_role("button", name="time")
    time.click()  # the fastest first; later methods are slower
    assert settings_in(page, "grid") == best_first[::-1]
    assert (head.inner_text(), head.get_attribute("aria-sort")) == ("time ms", "ascending")
    page.reload()
    assert settings_in(page, "grid") == best_first[::-1]
    time.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert settings_in(page, "grid") == best_first
    time.click()
    assert (head.inner_text(), fragment_of(page)) == ("image AUROC %", "")


def test_what_is_missing_stands_last_in_both_directions(opened):
    for sort in ("2", "-2"):
        page = opened(f"#claims?claim-lines.sort={sort}")
        assert texts(page, "#claim-lines tbody th")[-1] == "b is faster"


def test_a_filtered_view_can_be_sent(opened):
    page = opened()
    page.get_by_role("combobox", name="Category", exact=True).select_option("grid")
    page.get_by_role("combobox", name="Backbone").select_option("lite0")
    page.locator("summary", has_text="Columns").click()
    page.get_by_label("memory").uncheck()
    page.locator("summary", has_text="Columns").click()
    sent = opened(fragment_of(page))
    for each in (page, sent):
        assert settings_in(each, "grid") == [f"{m}, lite0" for m in METHODS[3::-2]]
        assert settings_in(each, "bottle") == []
        assert each.locator("#board-count").inner_text() == "2 of 16 rows are shown."
        assert "memory" not in " ".join(texts(each, "#board thead th"))
    sent.get_by_role("button", name="Show all").click()
    assert len(settings_in(sent, "bottle")) == len(METHODS)


@pytest.mark.parametrize(
    "words",
    [
        "board.category=nothere",
        "board.dataset=nothere",
        "verdict=foo",
        "board.selected=yes&board.rows=999",
        "board.selected=yes",
        "board.hidden=setting,nothere",
        "board.sort=nothere",
        "gallery.group=7&gallery.defect=nothere&picture=nothere",
        "theme=blue&another=1",
    ],
)
def test_what_the_page_has_not_is_dropped_from_an_address(opened, words):
    fresh, page = opened(), opened(f"#leaderboard?{words}")
    assert fragment_of(page) == "#leaderboard"
    for selector in ("#board th", "#verdicts tbody th", "#gallery figcaption"):
        assert texts(page, selector) == texts(fresh, selector)
    assert page.locator("#board-count").inner_text() == "16 of 16 rows are shown."


def test_what_the_page_has_stays_in_an_address_beside_what_it_has_not(opened):
    page = opened("#?board.hidden=nothere,ms&board.category=grid&board.method=nothere")
    assert fragment_of(page) == "#?board.hidden=ms&board.category=grid"


def test_a_browser_that_lets_no_more_addresses_be_written_shows_the_view(opened):
    page = opened()
    page.evaluate("void (history.replaceState = () => { throw new DOMException() })")
    page.get_by_role("combobox", name="Category", exact=True).select_option("grid")
    assert settings_in(page, "bottle") == []


def test_names_that_differ_in_case_or_spaces_are_told_apart(opened):
    names = ["grid", "Grid", "two  words"]
    page = opened(made=made_page(board=board(categories=names)))
    choice = page.get_by_role("combobox", name="Category", exact=True)
    assert len(texts(page, "#board tr.group")) == 4
    for name in names:
        choice.select_option(label=name)
        assert page.locator("#board tbody:visible").count() == 1
        assert len(settings_in(page, name)) == len(METHODS)


def test_a_selection_is_the_same_after_another_record_was_added(opened):
    page = opened()
    page.get_by_role("checkbox", name="Select crd, resnet, grid of mvtec").check()
    more = board(methods=["another", *METHODS])
    later = opened(fragment_of(page), made=made_page(board=more))
    picked = later.locator("#board tr.picked")
    assert picked.count() == 1
    assert picked.get_attribute("data-method") == "crd"
    assert picked.get_attribute("data-category") == "grid"


def test_rows_that_are_selected_can_be_shown_alone(opened):
    page = opened()
    page.get_by_role("checkbox", name="Select crd, resnet, grid of mvtec").check()
    page.get_by_role("checkbox", name="Select padim, lite0, bottle of mvtec").check()
    page.get_by_label("Selected rows only").check()
    sent = opened(fragment_of(page))
    assert settings_in(sent, "grid") == ["crd, resnet"]
    assert settings_in(sent, "bottle") == ["padim, lite0"]
    assert "2 selected" in sent.locator("#board-count").inner_text()


def test_links_to_a_place_keep_the_view(opened):
    page = opened("#leaderboard?board.category=grid")
    page.locator("nav").get_by_role("link", name="Records").click()
    wait_until(page, "location.hash === '#records?board.category=grid'")
    assert settings_in(page, "bottle") == []
    page.locator("#board tr[data-category=grid] a").first.click()
    wait_until(page, "document.querySelector('details.record[open]') !== null")
    assert "adbench run method=crd" in page.locator("details.record[open]").inner_text()


def test_the_chosen_verdict_is_shown_in_all_tables(opened):
    page = opened()
    page.get_by_role("combobox", name="Verdict").select_option("outside")
    assert texts(page, "#lines-han tbody th") == ["padim"]
    assert texts(page, "#claim-lines tbody th") == ["b is faster"]
    assert page.locator("#table-roth").is_hidden()
    assert page.locator("#verdict-count").inner_text() == "2 of 7 lines are shown."


def exported(page, name, group="leaderboard"):
    buttons = page.get_by_role("group", name=f"This table as text: {group}", exact=True)
    buttons.get_by_role("button", name=name).click()
    text = page.locator("#export textarea").input_value()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    saved = download.value.path().read_bytes().decode()
    assert saved.replace("\r\n", "\n") == text
    page.keyboard.press("Escape")
    assert page.locator("#export").is_hidden()
    return saved


def test_csv_holds_what_is_shown_with_intervals(opened):
    page = opened("#?board.category=grid&board.hidden=aupro,memory&board.sort=-ms")
    rows = list(csv.DictReader(io.StringIO(exported(page, "CSV"))))
    assert [row["method"] for row in rows] == METHODS[::-1]
    assert {row["category"] for row in rows} == {"grid"}
    assert (rows[-1]["image AUROC %"], rows[-1]["image AUROC % low"]) == ("90.2", "88.7")
    assert not any("AUPRO" in title or "memory" in title for title in rows[0])


def with_cells(**changes):
    """The page, where the first setting has other cells on every category."""
    made = board()
    rows = [
        replace(row, cells=row.cells | changes) if row.method == METHODS[0] else row
        for row in made.rows
    ]
    return made_page(board=replace(made, rows=rows))


def test_csv_has_the_same_digits_for_a_number_and_its_ends(opened):
    cell = board().rows[0].cells["image_auroc"]
    long = replace(cell, text="99.5", value=99.49875000000001, low=95.48758977476591, high=99.9)
    page = opened("#?board.method=crd&board.category=grid", made=with_cells(image_auroc=long))
    (row,) = csv.DictReader(io.StringIO(exported(page, "CSV")))
    title = "image AUROC %"
    assert (row[title], row[f"{title} low"], row[f"{title} high"]) == (
        "99.49875",
        "95.48759",
        "99.9",
    )


def test_ties_and_intervals_stay_in_markdown_and_latex(opened):
    page = opened("#?board.category=grid")
    markdown = exported(page, "Markdown")
    assert "**96.2** (94.7\N{EN DASH}97.7)" in markdown
    assert "≈ 94.2 (92.7\N{EN DASH}95.7)" in markdown
    latex = exported(page, "LaTeX")
    assert r"\textbf{96.2} (94.7--97.7)" in latex
    assert r"$\approx$ 94.2 (92.7--95.7)" in latex


def test_hostile_texts_of_the_first_cells_stay_text_in_markdown_and_latex(opened):
    heads = ["[b]ottle", "*a", "a\nb  c ~~x~~ $y$ &lt; ✓"]
    page = opened(made=made_page(board=board(methods=["crd"], categories=heads)))
    page.evaluate("document.getElementById('board').dataset.lead = 'category method'")
    markdown = exported(page, "Markdown")
    assert len(markdown.splitlines()) == 2 + 4
    assert r"| a b c \~\~x\~\~ \$y\$ \&lt; ✓ |" in markdown
    latex = exported(page, "LaTeX")
    assert "amssymb" in latex.splitlines()[0]
    assert {"{[}b]ottle", "{*}a"} <= {line.split(" & ")[0] for line in latex.splitlines()}
    assert r"\textasciitilde{}x" in latex


def test_a_file_is_still_there_when_a_slow_browser_saves_it(opened):
    page = opened()
    page.evaluate("void (URL.revokeObjectURL = () => { document.body.dataset.gone = 'yes' })")
    exported(page, "CSV")
    assert page.evaluate("document.body.dataset.gone") is None


def test_csv_is_no_formula_and_markdown_and_latex_are_escaped(opened):
    page = opened()
    found = list(csv.reader(io.StringIO(exported(page, "CSV", "claims"))))
    assert found[1][2] == "'-0.2 [-7.1, +6.8]"
    markdown = exported(page, "Markdown", f"A table {IMAGE}")
    assert r"own \<img src=x onerror=alert(1)\>" in markdown
    assert len({line.count("|") for line in markdown.splitlines()}) == 1
    latex = exported(page, "LaTeX")
    assert r"\textless{}img src=x" in latex
    assert r"\textbf{10.0}" in latex
    assert r"image AUROC \%" in latex


def test_the_gallery_is_filtered_and_opened_and_browsed(opened):
    page = opened()
    assert page.locator("#gallery figure:visible").count() == 4
    page.get_by_role("combobox", name="Decision").select_option("found")
    page.get_by_role("combobox", name="Category and setting").select_option("all")
    assert page.locator("#gallery-count").inner_text() == "3 of 6 pictures are shown."
    page.locator("#gallery figure:visible button").first.click()
    viewer = page.locator("#viewer")
    assert "Picture 1 of 3" in viewer.inner_text()
    wait_until(page, "document.getElementById('viewer-image').naturalWidth === 640")
    page.keyboard.press("ArrowRight")
    assert "Picture 2 of 3" in viewer.inner_text()
    sent = opened(fragment_of(page))
    assert "Picture 2 of 3" in sent.locator("#viewer").inner_text()
    caption = viewer.locator("figcaption").inner_text()
    assert sent.locator("#viewer figcaption").inner_text() == caption
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert "Picture 3 of 3" in viewer.inner_text()
    page.keyboard.press("Escape")
    assert viewer.is_hidden()
    wait_until_focused(page, "test/bent/005.png")


@pytest.mark.parametrize("words", ["", "&gallery.defect=bent", "&gallery.group=record-3-3"])
def test_the_picture_of_an_address_is_shown_whatever_is_filtered(opened, words):
    page = opened(f"#gallery?picture={PICTURE}{words}")
    viewer = page.locator("#viewer")
    assert "Picture 2 of 4" in viewer.inner_text()
    viewer.get_by_role("button", name="Previous").click()
    assert "Picture 1 of 4" in viewer.inner_text()
    page.keyboard.press("Escape")
    wait_until_focused(page, "test/crack/000.png")


def test_the_picture_of_an_address_is_the_same_after_another_was_added(opened):
    groups = gallery()
    page = opened(f"#gallery?picture={PICTURE}", made=made_page(gallery=groups[::-1]))
    assert "test/good/001.png" in page.locator("#viewer figcaption").inner_text()


def test_a_picture_is_larger_than_a_narrow_screen_and_scrolls(opened):
    page = opened(f"#gallery?picture={PICTURE}", width=360)
    assert page.locator("#viewer-image").bounding_box()["width"] >= 720
    box, frame = page.locator("#viewer").bounding_box(), page.locator("#viewer .frame")
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360
    frame.focus()
    page.keyboard.press("ArrowRight")
    wait_until(page, "document.querySelector('#viewer .frame').scrollLeft > 0")
    assert "Picture 2 of 4" in page.locator("#viewer").inner_text()


def test_the_keyboard_passes_a_long_table_at_once(opened):
    page = opened(made=made_page(board=board(categories=[f"c{i}" for i in range(6)])))
    skip = page.get_by_role("link", name="Skip the table")
    assert skip.count() == 1  # the other tables are short
    assert skip.evaluate("e => getComputedStyle(e).clipPath") != "none"
    skip.focus()
    assert skip.evaluate("e => getComputedStyle(e).clipPath") == "none"
    assert skip.evaluate("e => e.getBoundingClientRect().top") > 0
    page.keyboard.press("Enter")
    wait_until(page, "location.hash === '#board-end'")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('table, .scroll')?.id") != "board"
    assert page.evaluate(
        "!!(document.getElementById('board').compareDocumentPosition(document.activeElement) & 4)"
    )


@pytest.mark.parametrize("media", ["screen", "print"])
def test_reasons_stand_below_the_table_once_each(opened, media):
    none, number = board().rows[0].cells["memory"], board().rows[0].cells["ms"]
    made = with_cells(
        memory=replace(none, reason="not known", note="not known"),
        ms=replace(number, reason="mean of bottle, grid; slow; very", note="slow; very"),
        aupro=replace(number, reason="mean of bottle, grid"),
    )
    page = opened(made=made)
    page.emulate_media(media=media)
    notes = texts(page, "#board-notes li")
    assert sorted(notes) == ["no mean of memory", "not known", "slow; very"]
    row = page.locator("#board tr[data-method=crd][data-category=grid]")
    signs = [int(re.search(r"\d+$", text).group()) for text in row.locator("sup").all_inner_texts()]
    assert [notes[sign - 1] for sign in signs] == ["slow; very", "not known"]


def test_a_note_does_not_bring_what_is_missing_to_the_front(opened):
    none = replace(board().rows[0].cells["memory"], reason="not known", note="not known")
    for sort in ("memory", "-memory"):
        page = opened(f"#?board.sort={sort}", made=with_cells(memory=none))
        assert settings_in(page, "grid")[-1].startswith(METHODS[0])


def test_a_name_turns_no_text_beside_it_round(opened):
    turned = "\u202edear"
    groups = [replace(group, dataset=turned) for group in gallery()]
    made = replace(board(), datasets=[turned])
    made = replace(made, rows=[replace(row, dataset=turned) for row in made.rows])
    page = opened("#verdicts", made=made_page(board=made, gallery=groups))
    for title in page.locator("#board tr.group span").all():
        dataset, category = title.locator("bdi").all()
        assert dataset.bounding_box()["x"] < category.bounding_box()["x"]
    option = page.locator("#gallery option").first.text_content()
    assert re.match("\u2068.?dear\u2069 · \u2068bottle\u2069 · ", option)


def test_every_name_ends_the_element_that_its_direction_is_kept_in(opened):
    page = opened("#gallery?gallery.group=all")
    page.locator("#gallery figure:visible button").nth(2).click()
    kept = page.evaluate(
        """name => {
            const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), kept = [];
            while (texts.nextNode()) {
                const text = texts.currentNode, element = text.parentElement;
                if (!text.data.includes(name) || element.closest("script, option, svg")) continue;
                const isolated = getComputedStyle(element).unicodeBidi.includes("isolate");
                kept.push(isolated && !text.nextSibling ? "" : element.outerHTML);
            }
            return kept;
        }""",
        IMAGE,
    )
    assert len(kept) > 20
    assert set(kept) == {""}


def test_the_keyboard_alone_does_it(opened):
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    reached = set()
    for _ in range(400):
        page.keyboard.press("Tab")
        now = page.evaluate(
            "(() => { const e = document.activeElement; return e === document.body ? '' : "
            "[e.tagName, e.id, e.dataset.export, e.dataset.choice, e.closest('th')?.dataset.name]"
            ".join(' ') })()"
        )
        if not now:
            break
        reached.add(now)
        if now.endswith(" ms"):
            page.keyboard.press("Enter")
    wanted = {"BUTTON", "SELECT", "SUMMARY", "A", "INPUT", "DIV", "PRE"}
    assert wanted <= {each.split(" ")[0] for each in reached}
    assert "board.sort=ms" in fragment_of(page)
    assert page.evaluate(
        "[...document.querySelectorAll('button, select, summary, main a, input')]"
        ".every(each => each.tabIndex >= 0)"
    )


def test_without_scripts_all_tables_are_read_and_no_dead_control_is_seen(opened):
    page = opened(java_script_enabled=False)
    for table in page.locator("#verdicts table, #leaderboard table").all():
        assert table.is_visible()
    assert page.locator("#gallery figure:visible").count() == 6
    controls = page.locator("button, select, input")
    assert not any(control.is_visible() for control in controls.all())


def test_controls_wait_for_the_script_to_run(opened):
    page = opened()
    assert page.locator("#theme").is_visible()
    page.evaluate("document.documentElement.classList.remove('scripted')")
    controls = page.locator(".needs-script, .needs-script *, .exports button")
    assert controls.count() > 20
    assert not any(control.is_visible() for control in controls.all())


def test_the_other_colours_by_a_button(opened):
    page = opened(color_scheme="light")
    before = page.evaluate("getComputedStyle(document.body).color")
    page.get_by_role("button", name="Dark colours").click()
    assert page.evaluate("getComputedStyle(document.body).color") != before
    assert "theme=dark" in fragment_of(page)


@pytest.mark.parametrize("fragment", ["", "#?theme=dark"])
def test_on_paper_there_are_no_controls_and_no_dark(opened, fragment):
    page = opened(fragment, color_scheme="dark")
    page.emulate_media(media="print")
    controls = page.locator(".tools button, select, #theme")
    assert not any(control.is_visible() for control in controls.all())
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert page.evaluate("getComputedStyle(document.documentElement).color") == "rgb(27, 29, 32)"
    assert page.locator("#board").evaluate("e => e.parentElement.scrollHeight") == (
        page.locator("#board").evaluate("e => e.parentElement.clientHeight")
    )
    assert page.pdf().startswith(b"%PDF")


def test_nothing_moves(opened):
    moving = opened().evaluate(
        "[...document.querySelectorAll('*')].map(e => getComputedStyle(e)).filter("
        "s => s.animationName !== 'none' || s.transitionDuration !== '0s' "
        "|| s.scrollBehavior !== 'auto').length"
    )
    assert moving == 0
