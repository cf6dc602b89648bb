"""The HTML of the page, read as a browser reads it, without a browser."""

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from made_page import IMAGE, SCRIPT, gallery, made_page

from adbench.reports.page.render import TEMPLATE, render

SECTIONS = [
    "about", "verdicts", "leaderboard", "speed", "sweeps", "curves", "thresholds", "defects",
    "gallery", "records",
]  # fmt: skip


class Reader(HTMLParser):
    """Tags, texts and addresses."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.texts, self.script = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, text):
        if self.lasttag == "script" and not self.script:
            self.script = text
        self.texts.append(text)

    def all(self, attribute):
        return [own[attribute] for _, own in self.tags if attribute in own]


@pytest.fixture(scope="module")
def read():
    return Reader(render(made_page()))


def test_sections_stand_in_their_order_and_the_navigation_names_each(read):
    assert [own["id"] for tag, own in read.tags if tag == "section"] == SECTIONS
    links = [link.removeprefix("#") for link in read.all("href")]
    assert set(SECTIONS) <= set(links)
    assert set(links) <= {*read.all("id")}


@pytest.mark.fault("name", shows="inert")
def test_nothing_is_loaded_from_elsewhere(read):
    assert {tag for tag, _ in read.tags}.isdisjoint({"link", "iframe", "object", "base", "form"})
    assert all(address.startswith("data:image/") for address in read.all("src"))
    assert all(address.startswith("#") for address in read.all("href"))
    style = "".join(read.texts)
    assert "@import" not in style
    assert "url(" not in style


@pytest.mark.fault("name", shows="inert")
def test_names_are_text_and_no_tag_comes_from_them(read):
    assert IMAGE in "".join(read.texts)
    assert SCRIPT in "".join(read.texts)
    assert [tag for tag, _ in read.tags].count("script") == 1
    assert not any(name.startswith("on") for _, own in read.tags for name in own)


@pytest.mark.fault("name", shows="inert")
def test_the_policy_lets_this_one_script_run(read):
    (policy,) = [own["content"] for _, own in read.tags if own.get("http-equiv")]
    digest = base64.b64encode(hashlib.sha256(read.script.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


YOUNG = [
    r"light-dark\(", r":has\(", r"@scope", r"@starting-style", r"::details-content",
    r"\.aria[A-Z]\w* *=", r"\.to(Sorted|Reversed|Spliced)\(", r"groupBy", r"withResolvers",
    r"\.(keys|values|entries)\(\)\.\w+", r"\.(union|intersection|difference|isSubsetOf)\(",
    r"^ *&", r"structuredClone", r"fromAsync", r"URL\.(canParse|parse)\(", r"\.checkVisibility",
]  # fmt: skip
"""What Firefox 115 or Safari 16.4 has not, and without which a part of the page would fail."""


@pytest.mark.parametrize("young", YOUNG)
def test_nothing_is_needed_that_browsers_of_2023_have_not(young):
    texts = [path.read_text() for path in TEMPLATE.iterdir() if path.suffix in (".css", ".js")]
    assert len(texts) > 5
    assert not any(re.search(young, text, re.MULTILINE) for text in texts)


def test_options_keep_their_spaces(read):
    assert all("value" in own for tag, own in read.tags if tag == "option")


def test_a_choice_has_each_name_that_differs_in_case():
    groups = gallery()
    pictures = [replace(groups[0].pictures[0], defect=name) for name in ("bent", "Bent")]
    page = made_page(gallery=[replace(groups[0], pictures=pictures)])
    values = [own["value"] for tag, own in Reader(render(page)).tags if tag == "option"]
    assert {"bent", "Bent"} <= set(values)


def test_ids_are_the_only_ones_of_their_name(read):
    assert len(read.all("id")) == len(set(read.all("id")))


def test_what_there_is_none_of_leaves_no_empty_section():
    page = made_page(
        tables=[], claims=[], tables_left="", speed=None, sweeps=[], curves=[], curves_left="",
            gallery=[], thresholds=([], []),
        defects=[], defects_note="", pictures_note="There are no pictures.",
    )  # fmt: skip
    read = Reader(render(page))
    found = [own["id"] for tag, own in read.tags if tag == "section"]
    assert found == ["about", "leaderboard", "gallery", "records"]
    assert "There are no pictures." in "".join(read.texts)
    assert set(read.all("href")) <= {f"#{name}" for name in read.all("id")}


def test_the_best_stands_first_and_rows_without_a_number_last():
    html = render(made_page())
    grid = re.search(r"<bdi>grid</bdi>.*?</tbody>", html, re.DOTALL).group()
    values = [float(value) for value in re.findall(r'data-value="(9[\d.]+)" data-low', grid)[::2]]
    assert values == sorted(values, reverse=True)
