"""The built book as a reader meets it: every page, in a browser, at desktop and phone width."""

import os
from dataclasses import dataclass, field
from urllib.parse import urldefrag

import pytest

from churnlab import paths
from tests.book.browsing import DESKTOP, PHONE, new_page, open_page, page_names

# One worker of pytest-xdist opens the pages once for all tests (with --dist loadgroup or loadfile).
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("book")]

SCREENSHOTS = paths.BUILD / "screenshots"
GENERATED = {"genindex.html", "search.html"}
TALLEST_SHOT = 16_000  # pixels; Chromium repeats the picture beyond this
# Bytes as they lie on the disk. In November 2026 a page of prose took 0.63 MB with all it loads, and
# the search 0.8 MB, the longest notebook 1.1 MB; the theme's own icons had been 1.9 MB more.
HEAVIEST_PROSE = 850_000
HEAVIEST_NOTEBOOK = 1_400_000
HEAVIEST_HTML = 600_000
MERMAID = "mermaid.tiny.js"  # 2.6 MB, on pages with a diagram, and once for all of them

FACTS = """() => ({
    links: [...document.querySelectorAll('a[href]')].map(link => link.href),
    anchors: [...document.querySelectorAll('[id], a[name]')].map(node => node.id || node.name),
    pictures: [...document.querySelectorAll('img')].map(picture => ({
        source: picture.src,
        loaded: picture.complete && picture.naturalWidth > 0,
        text: picture.alt,
        decoration: picture.closest('[aria-hidden=true]') !== null,
    })),
    drawings: [...document.querySelectorAll('article svg[role]')]
        .filter(drawing => !drawing.closest('.svg-inline--fa, mjx-container')).map(drawing => ({
        name: drawing.getAttribute('aria-roledescription') || drawing.getAttribute('class'),
        text: drawing.querySelector('title')?.textContent || drawing.getAttribute('aria-label'),
    })),
    diagrams: document.querySelectorAll('pre.mermaid').length,
    drawnDiagrams: document.querySelectorAll('pre.mermaid svg').length,
    formulas: document.querySelectorAll('main .math').length,
    drawnFormulas: document.querySelectorAll('main .math mjx-container').length,
    headings: document.querySelectorAll('article.bd-article h1').length,
})"""

OVERFLOW = """() => {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth <= width) return [];
    const inScrollBox = node => {
        for (let box = node.parentElement; box; box = box.parentElement) {
            if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(box).overflowX)) return true;
        }
        return false;
    };
    return [...document.querySelectorAll('main *')]
        .filter(node => node.getBoundingClientRect().right > width + 1 && !inScrollBox(node))
        .map(node => node.tagName.toLowerCase() + '.' + node.className);
}"""


@dataclass
class Visit:
    """What one page did and had when it was opened."""

    facts: dict = field(default_factory=dict)
    console_errors: list[str] = field(default_factory=list)
    external_requests: list[str] = field(default_factory=list)
    failed_responses: list[str] = field(default_factory=list)
    overflowing: list[str] = field(default_factory=list)
    bytes_of: dict[str, int] = field(default_factory=dict)


def screenshot(page, name: str, width: str) -> None:
    """Keep a picture of the whole page for people to look at, if CHURNLAB_SCREENSHOTS asks for it.

    Ninety pictures take most of a minute.
    """
    if not os.environ.get("CHURNLAB_SCREENSHOTS"):
        return
    height = page.evaluate("document.documentElement.scrollHeight")
    clip = {**page.viewport_size, "x": 0, "y": 0, "height": min(height, TALLEST_SHOT)}
    path = SCREENSHOTS / width / (name.removesuffix(".html").replace("/", "-") + ".png")
    page.screenshot(path=path, full_page=True, clip=clip)


@pytest.fixture(scope="module")
def visits(browser, book, site) -> dict[str, Visit]:
    """Every page of the book, opened once at desktop width and once at phone width."""
    page = new_page(browser)
    visit = Visit()

    def note_console(message):
        if message.type == "error":
            visit.console_errors.append(message.text)

    def note_request(request):
        if not request.url.startswith((site, "data:", "blob:")):
            visit.external_requests.append(request.url)

    def note_response(response):
        if response.status >= 400:
            visit.failed_responses.append(f"{response.status} {response.url}")
        size = response.headers.get("content-length")
        visit.bytes_of[response.url.partition("?")[0]] = int(size or 0)

    page.on("console", note_console)
    page.on("pageerror", lambda error: visit.console_errors.append(str(error)))
    page.on("request", note_request)
    page.on("response", note_response)

    visits = {}
    for name in page_names(book):
        visits[name] = visit = Visit()
        page.set_viewport_size(DESKTOP)
        open_page(page, f"{site}/{name}")
        visit.facts = page.evaluate(FACTS)
        screenshot(page, name, "desktop")
        page.set_viewport_size(PHONE)
        page.wait_for_timeout(150)  # the theme lays the page out again
        visit.overflowing = page.evaluate(OVERFLOW)
        screenshot(page, name, "phone")
    page.close()
    return visits


def collected(visits: dict[str, Visit], what: str) -> dict[str, list[str]]:
    """The pages for which a list of findings is not empty."""
    return {name: getattr(visit, what) for name, visit in visits.items() if getattr(visit, what)}


def test_the_book_has_its_pages(visits):
    assert {"book/index.html", "book/glossary.html", "book/status.html"} <= set(visits)
    notebooks = {f"notebooks/{path.stem}.html" for path in paths.NOTEBOOKS.glob("*.ipynb")}
    assert {name for name in visits if name.startswith("notebooks/")} == notebooks


def test_every_page_has_one_title(visits):
    titles = {name: visit.facts["headings"] for name, visit in visits.items()}
    assert {name: n for name, n in titles.items() if n != 1 and name not in GENERATED} == {}


def test_no_page_has_an_error_in_the_console(visits):
    assert collected(visits, "console_errors") == {}


def test_no_page_asks_another_host_for_anything(visits):
    assert collected(visits, "external_requests") == {}


def test_no_page_asks_for_a_file_that_is_not_there(visits):
    assert collected(visits, "failed_responses") == {}


def test_every_internal_link_leads_to_a_page_and_its_anchor(visits, book, site):
    broken = []
    for name, visit in visits.items():
        for link in visit.facts["links"]:
            address, anchor = urldefrag(link)
            if not address.startswith(site + "/"):
                continue
            target = address.removeprefix(site + "/").partition("?")[0] or "index.html"
            if not (book / target).is_file():
                broken.append(f"{name}: {link}")
            elif anchor and target in visits and anchor not in visits[target].facts["anchors"]:
                broken.append(f"{name}: {link} (no such anchor)")
    assert broken == []


def test_no_link_leads_out_of_the_book_to_a_file_of_this_machine(visits):
    links = [link for visit in visits.values() for link in visit.facts["links"]]
    assert [link for link in links if link.startswith("file:")] == []


def test_every_picture_loads(visits):
    broken = {
        name: [picture["source"] for picture in visit.facts["pictures"] if not picture["loaded"]]
        for name, visit in visits.items()
    }
    assert {name: sources for name, sources in broken.items() if sources} == {}


def test_every_picture_and_diagram_has_a_text(visits):
    silent = []
    for name, visit in visits.items():
        for picture in visit.facts["pictures"]:
            text = picture["text"].strip()
            # Sphinx writes the file's name where there is no text.
            if not picture["decoration"] and (not text or text.endswith((".png", ".svg", ".jpg"))):
                silent.append(f"{name}: {picture['source']}")
        for drawing in visit.facts["drawings"]:
            if not drawing["text"]:
                silent.append(f"{name}: {drawing['name']}")
    assert silent == []


def test_diagrams_and_formulas_are_drawn(visits):
    for name, visit in visits.items():
        assert visit.facts["drawnDiagrams"] == visit.facts["diagrams"], name
        assert visit.facts["drawnFormulas"] == visit.facts["formulas"], name


def test_no_page_is_wider_than_a_phone(visits):
    assert collected(visits, "overflowing") == {}


def test_no_page_is_heavier_than_it_needs_to_be(visits):
    heavy = {}
    for name, visit in visits.items():
        total = sum(size for url, size in visit.bytes_of.items() if not url.endswith(MERMAID))
        assert total > 300_000, f"{name}: the styles alone are more"
        limit = HEAVIEST_NOTEBOOK if name.startswith("notebooks/") else HEAVIEST_PROSE
        if total > limit and not name.startswith("scripts_generated/"):
            heavy[name] = total, sorted(visit.bytes_of.items(), key=lambda item: -item[1])[:3]
    assert heavy == {}


def test_no_page_is_longer_than_a_browser_likes(visits, site):
    long = {name: visit.bytes_of[f"{site}/{name}"] for name, visit in visits.items()}
    assert {name: size for name, size in long.items() if size > HEAVIEST_HTML} == {}


def test_the_root_leads_to_the_first_page(page, site):
    page.goto(f"{site}/index.html")
    page.wait_for_url("**/book/index.html")
    assert "notebook" in page.inner_text("article h1")


def test_next_and_previous_lead_through_the_book_and_back(page, site):
    page.goto(f"{site}/notebooks/03-preprocessing.html")
    page.click("a.right-next")
    page.wait_for_url("**/notebooks/04-model-training.html")
    page.click("a.left-prev")
    page.wait_for_url("**/notebooks/03-preprocessing.html")


def test_the_search_finds_a_term_of_the_glossary(page, site):
    page.goto(f"{site}/book/index.html", wait_until="networkidle")
    page.keyboard.press("Control+k")
    box = page.locator("input[name=q]:visible").first
    box.fill("quarantine")
    box.press("Enter")
    page.wait_for_url("**/search.html*")
    page.wait_for_selector("#search-results li")
    page.wait_for_function("() => !document.querySelector('#search-progress')?.textContent.trim()")
    assert "Glossary" in page.inner_text("#search-results")


def test_a_solution_is_folded_until_the_reader_opens_it(page, site, visits):
    for name in visits:
        if not name.startswith("notebooks/"):
            continue
        page.goto(f"{site}/{name}")
        solution = page.locator(".cell.tag_solution").first
        if solution.count() == 0:
            continue
        code = solution.locator(".cell_input")
        stub = page.locator(".cell.tag_exercise-stub").first
        assert "Write your code here" in stub.inner_text()
        assert not code.is_visible()
        solution.locator("summary").click()
        assert code.is_visible()
        return
    pytest.fail("No notebook of the book has an exercise with a solution.")


def test_a_quiz_is_answered_by_the_keyboard_and_says_whether_it_was_right(page, site):
    page.goto(f"{site}/notebooks/03-preprocessing.html")
    quiz = page.locator(".course-quiz").first
    right, wrong, answer = (quiz.locator(x) for x in (".said-right", ".said-wrong", "details p"))
    assert not (right.is_visible() or wrong.is_visible() or answer.is_visible())
    quiz.locator("input").first.focus()
    page.keyboard.press("Space")
    assert wrong.is_visible() and not right.is_visible()
    page.keyboard.press("ArrowDown")
    assert right.is_visible() and not wrong.is_visible()
    quiz.locator("summary").focus()
    page.keyboard.press("Enter")
    assert answer.is_visible()


def test_a_link_to_a_script_opens_it_in_the_book(page, site, visits):
    name, link = next(
        (name, link)
        for name, visit in visits.items()
        if name.startswith("notebooks/")
        for link in visit.facts["links"]
        if "/scripts_generated/" in link
    )
    page.goto(link)
    assert page.inner_text("article h1").endswith(".py"), name
    assert "def " in page.inner_text("article .highlight"), name


def test_the_dark_theme_can_be_chosen_and_stays(page, site):
    page.goto(f"{site}/book/index.html", wait_until="networkidle")
    for _ in range(3):
        page.locator("button.theme-switch-button:visible").first.click()
        if page.get_attribute("html", "data-theme") == "dark":
            break
    page.goto(f"{site}/book/glossary.html")
    assert page.get_attribute("html", "data-mode") == "dark"
