"""The Markdown pages: their links lead somewhere, the files they name exist, and "DESIGN §n" is a section of DESIGN."""

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PRODUCT = ("assets", "calibration", "commands", "export", "model", "package", "runtime", "training")
FOLDERS = (*PRODUCT, "benchmarks", "docs", "examples", "tests")
PAGES = sorted([*CHECKOUT.glob("*.md"), *(page for folder in FOLDERS for page in (CHECKOUT / folder).rglob("*.md"))])
SOURCES = sorted(
    path
    for folder in FOLDERS
    for path in (CHECKOUT / folder).rglob("*")
    if path.suffix in (".py", ".md", ".cu", ".cuh", ".cpp", ".hpp")
)

FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
# [text](target) and ![text](target "title").
LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)>\s]+)>?[^)]*\)")
HEADING = re.compile(r"^#+ +(.*?) *#*$", re.MULTILINE)
# A path of the checkout in backticks: `runtime/secc.py`, `docs/engines.md`, but not `runtime/drivers/KIND.py`.
NAMED = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]*[a-z][\w-]*\.\w+)`")
# May be broken over two lines, with the mark of a comment between.
SECTION = re.compile(r"DESIGN[\s#/*]+§(\d+)")
READING = re.compile(r"(Eq\. \d+|S\d+) as[\s#/*]+read[\s#/*]+in[\s#/*]+DESIGN[\s#/*]+§(\d+)")


def name(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def anchor(heading: str) -> str:
    """As GitHub makes it of a heading: `## 2. Where *things* live` → 2-where-things-live."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    return {anchor(heading) for heading in HEADING.findall(text)} | set(re.findall(r'<a (?:id|name)="([^"]+)"', text))


def design_sections() -> dict[int, str]:
    """Text of each section of DESIGN by its number."""
    parts = re.split(r"^## (\d+)\. ", (CHECKOUT / "docs" / "DESIGN.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def dead_links(page: Path) -> list[str]:
    dead = []
    for target in LINK.findall(FENCED.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, fragment = target.partition("#")
        there = page.parent / file if file else page
        if not there.exists() or (fragment and there.suffix == ".md" and fragment not in anchors(there)):
            dead.append(target)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    assert dead_links(page) == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    named = NAMED.findall(page.read_text(encoding="utf-8"))
    assert [file for file in named if not (CHECKOUT / file).exists()] == []


def test_the_sites_pages_exist() -> None:
    pages = re.findall(r"^  - .*: (\S+\.md)$", (CHECKOUT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert pages
    assert [page for page in pages if not (CHECKOUT / "docs" / page).exists()] == []


def test_references_to_design_are_to_its_sections() -> None:
    sections = design_sections()
    assert list(sections) == list(range(1, len(sections) + 1))
    dead, found = [], 0
    for path in [*SOURCES, *CHECKOUT.glob("*.md")]:
        text = path.read_text(encoding="utf-8")
        numbers = [int(number) for number in SECTION.findall(text)]
        found += len(numbers)
        dead += [f"{name(path)}: DESIGN §{number}" for number in numbers if number not in sections]
        for equation, number in READING.findall(text):
            if equation not in sections.get(int(number), ""):
                dead.append(f"{name(path)}: {equation} in DESIGN §{number}")
    assert found >= 10
    assert dead == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A *first* heading\n[a](page.md#a-first-heading) [b](#b) [c](c.md) [d](https://d.org) ![e](e.png)\n"
    )
    assert dead_links(page) == ["#b", "c.md", "e.png"]
