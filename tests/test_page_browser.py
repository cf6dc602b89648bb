"""The page in Chromium: its view, keyboard, widths, colours, printing, and what it may not do."""

import csv
import io
import shutil

import pytest
from made_page import IMAGE, METHODS, SCRIPT, made_page

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
def opened(browser, address):
    """Opens the page; at the end no script has failed, and nothing was asked for from elsewhere."""
    contexts, faults = [], []

    def open_page(fragment="", width=1024, **options):
        context = browser.new_context(viewport={"width": width, "height": 800}, **options)
        context.set_default_timeout(5000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: asked(request.url))
        page.goto(address + fragment)
        return page

    def asked(url):
        if url.partition("#")[0] != address and not url.startswith(("data:", "blob:")):
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
    for fragment in ("", "#gallery?picture=picture-0-1&verdict=outside&gallery.group=all"):
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
    page.wait_for_function("location.hash === '#records?board.category=grid'")
    assert settings_in(page, "bottle") == []
    page.locator("#board tr[data-category=grid] a").first.click()
    page.wait_for_function("document.querySelector('details.record[open]') !== null")
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
    assert page.evaluate("document.getElementById('viewer-image').naturalWidth") == 640
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
    assert page.evaluate("document.activeElement.closest('figure').id") == "picture-1-1"


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


def test_the_other_colours_by_a_button(opened):
    page = opened(color_scheme="light")
    before = page.evaluate("getComputedStyle(document.body).color")
    page.get_by_role("button", name="Dark colours").click()
    assert page.evaluate("getComputedStyle(document.body).color") != before
    assert "theme=dark" in fragment_of(page)


def test_on_paper_there_are_no_controls_and_no_dark(opened):
    page = opened(color_scheme="dark")
    page.emulate_media(media="print")
    controls = page.locator(".tools button, select, #theme")
    assert not any(control.is_visible() for control in controls.all())
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
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
