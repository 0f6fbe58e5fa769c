"""The book for every reader: by ear, in the dark, on paper and on a phone."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from fontTools.ttLib import TTFont

from tests.book.browsing import PHONE, open_page, page_names

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("book")]

WIDE = {"width": 1440, "height": 900}
PAPER = {"width": 680, "height": 962}  # A4, 15 mm of margin
# By the end of a page's name, because notebooks may get another number.
LOOKED_AT = {
    "the first page": "book/index",
    "how to use the course": "book/how-to-use",
    "a lesson with a quiz and tables": "-preprocessing",
    "a lesson with pictures": "-model-training",
    "the glossary": "book/glossary",
    "the status": "book/status",
    "a script": "scripts_generated/preprocessing",
}

COLUMNS_OF_CODE = """code => {
    const style = getComputedStyle(code), text = document.createElement('span');
    text.textContent = 'x'.repeat(100);
    code.append(text);
    const letter = text.getBoundingClientRect().width / 100;
    text.remove();
    const room = code.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
    return Math.floor(room / letter + 0.01);
}"""
CUT_OFF = """() => [...document.querySelectorAll('article pre, article .cell_output')]
    .filter(box => box.checkVisibility() && box.scrollWidth > box.clientWidth + 1)
    .map(box => box.textContent.trim().slice(0, 60))"""
SHOWN = """selectors => [...document.querySelectorAll(selectors)]
    .filter(node => node.checkVisibility()).map(node => node.className)"""
ICON_CLASSES = "() => [...document.querySelectorAll('[class*=fa-]')].map(n => n.className)"


def page_of(book: Path, ending: str) -> str:
    """The one page whose name ends like this."""
    names = [name for name in page_names(book) if name.endswith(f"{ending}.html")]
    assert len(names) == 1, f"{names} end in {ending}"
    return names[0]


def barriers(page) -> list[str]:
    """What axe finds on a page, however small: which rule, where, and why."""
    found = Axe().run(page).response["violations"]
    return [
        f"{violation['id']} ({violation['impact']}): {node['target'][0]}: {node['failureSummary']}"
        for violation in found
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ending", LOOKED_AT.values(), ids=LOOKED_AT)
def test_a_page_keeps_nobody_out(page, site, book, ending, scheme):
    page.set_viewport_size(WIDE)
    page.emulate_media(color_scheme=scheme)
    open_page(page, f"{site}/{page_of(book, ending)}")
    assert page.get_attribute("html", "data-theme") == scheme
    assert barriers(page) == []


def test_a_lesson_on_a_phone_keeps_nobody_out(page, site, book):
    page.set_viewport_size(PHONE)
    open_page(page, f"{site}/{page_of(book, '-model-training')}")
    assert barriers(page) == []


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("<img src='../_static/mark.svg'>", "image-alt (critical)"),
        ("<button></button>", "button-name (critical)"),
        ("<p style='color: #999; background: #fff'>Pale.</p>", "color-contrast (serious)"),
        ("<table><tr><th></th></tr><tr><td>1</td></tr></table>", "empty-table-header (minor)"),
    ],
)
def test_a_planted_barrier_is_found(page, site, fault, rule):
    open_page(page, f"{site}/book/status.html")
    page.evaluate(
        "fault => document.querySelector('article').insertAdjacentHTML('beforeend', fault)", fault
    )
    assert [found.split(":")[0] for found in barriers(page)] == [rule]


def test_every_icon_of_a_page_has_its_glyph(page, site, book):
    rules = (book / "_static" / "icons.css").read_text(encoding="utf-8")
    glyphs = set()
    for font in (book / "_static").glob("icons-*.woff"):
        glyphs |= set(TTFont(font).getBestCmap())
    page.goto(f"{site}/{page_of(book, '-preprocessing')}")
    classes = {name for names in page.evaluate(ICON_CLASSES) for name in names.split()}
    icons = {
        name for name in classes if re.fullmatch("fa-(?!solid|brands|regular|lg)[a-z-]+", name)
    }
    assert {"fa-bars", "fa-list", "fa-magnifying-glass"} <= icons
    for icon in icons:
        code = re.search(rf"\.{icon}:before[^{{]*\{{content:\"\\(\w+)\"", rules)
        assert code and int(code[1], 16) in glyphs, icon


def columns(page, code: str) -> int:
    """How many characters fit into a line of code of the open page without scrolling."""
    shown = f"boxes => boxes.filter(box => box.checkVisibility()).map({COLUMNS_OF_CODE})"
    return min(page.locator(code).evaluate_all(shown))


def test_a_line_of_100_characters_fits_beside_both_sidebars(page, site, book):
    page.set_viewport_size(WIDE)
    open_page(page, f"{site}/{page_of(book, '-preprocessing')}")
    assert len(page.evaluate(SHOWN, ".bd-sidebar-primary, .bd-sidebar-secondary")) == 2
    assert page.locator(".cell_input pre").count() > 5
    assert columns(page, ".cell_input pre") >= 100


def test_a_line_of_100_characters_fits_on_the_page_of_a_script(page, site):
    page.set_viewport_size(WIDE)
    open_page(page, f"{site}/scripts_generated/preprocessing.html")
    assert columns(page, "article .highlight pre") >= 100


def test_on_paper_there_is_all_code_and_no_navigation(page, site, book):
    page.set_viewport_size(PAPER)
    open_page(page, f"{site}/{page_of(book, '-model-training')}")
    assert page.evaluate(CUT_OFF), "on the screen of this width code scrolls"
    page.emulate_media(media="print")
    page.wait_for_timeout(150)
    assert page.evaluate(CUT_OFF) == []
    navigation = "nav, .bd-sidebar, .bd-header-article, .prev-next-footer, .copybtn"
    assert page.evaluate(SHOWN, navigation) == []
    folded = page.locator("details.hide .cell_input pre")
    assert folded.count() > 0
    assert folded.first.bounding_box()["height"] > 20


def test_a_wide_table_and_a_wide_picture_scroll_in_their_own_box_on_a_phone(page, site, book):
    page.set_viewport_size(PHONE)
    open_page(page, f"{site}/{page_of(book, '-model-training')}")
    boxes = page.evaluate(
        """() => ['table.dataframe', '.course-picture img'].map(selector => {
            const inner = [...document.querySelectorAll(selector)]
                .sort((a, b) => b.offsetWidth - a.offsetWidth)[0];
            let box = inner.parentElement;
            while (box && getComputedStyle(box).overflowX !== 'auto') box = box.parentElement;
            return {inner: inner.offsetWidth, box: box?.offsetWidth, scrolls: box?.scrollWidth};
        })"""
    )
    for box in boxes:
        assert box["box"] < 360 < box["inner"] <= box["scrolls"]


def test_a_cell_of_production_leads_to_its_line_and_a_cell_of_the_page_looks_different(
    page, site, book
):
    name = page_of(book, "-preprocessing")
    open_page(page, f"{site}/{name}")
    styles = page.evaluate(
        """() => ['.tag_book-only', ':not([class*=tag_])'].map(kind => getComputedStyle(
            document.querySelector(`.cell${kind} .cell_input`)).borderLeftStyle)"""
    )
    assert styles == ["dashed", "solid"]
    assert page.locator(".tag_book-only .course-production").count() == 0
    mark = page.locator(".course-production a", has_text="preprocessing.py").last
    code = mark.locator("xpath=ancestor::div[contains(@class, 'cell_input')]//pre").inner_text()
    number = int(mark.inner_text().split()[-1])
    mark.click()
    page.wait_for_url(f"**/scripts_generated/preprocessing.html#L-{number}")
    line = page.locator(f"#L-{number}").inner_text().strip()
    assert line and line in code


def test_a_first_use_of_a_term_leads_to_the_glossary(page, site, book):
    open_page(page, f"{site}/{page_of(book, '-preprocessing')}")
    links = page.locator("a.course-term")
    terms = links.evaluate_all("links => links.map(link => link.hash)")
    assert len(terms) == len(set(terms)) > 2
    links.first.click()
    page.wait_for_url("**/book/glossary.html#term-*")
    assert page.locator(f"[id='{terms[0][1:]}']").is_visible()
