"""Every citation of the specification (docs/spec) leads somewhere, and no rule is cited without its page.

A citation is `spec/PAGE.md §SECTION`, a rule behind its section: `spec/mapping.md §6 L1`. Several may share a page
(`spec/mapping.md §3.6, §1.4`, `spec/mapping.md §6 L1 to L4, L6`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from project_files import ROOT, project_file

SPEC = ROOT / "docs" / "spec"
CITING = ("receiver", "mapping", "exporter", "weighbridge", "tests", "bench", "faults", "config")
PAGES = {page.stem: page.read_text(encoding="utf-8") for page in SPEC.glob("*.md")}

_PART = r"(?:§\d+(?:\.\d+)?|[LUPRI]\d{1,2}\b)"
_CITED = re.compile(rf"(?<![\w/])spec/([\w-]+)\.md((?:(?:,| and| to)? {_PART})*)")
_NAMED = re.compile(rf"(?<![\w/-])(?:{'|'.join(map(re.escape, PAGES))})\.md(?= ?,? ?(?:§|[LUPRI]\d))")
# What looks like a rule of ours: none of these letters is followed by digits for anything else in the code.
_RULE = re.compile(r"(?<![\w./%\\-])(?:L[1-8]|U[1-6]|P[1-7]|R[0-3]\d|I[1-6])(?![\w/=%-])")
_ALL_ROWS = "R01 to R31 are the rows of spec/reliability.md §4"  # in a docstring: the file lists rows of faults
_OTHERS = re.compile(r"(?:RFC \d+|[\w.]+_format\.txt) §[\d.]+")  # sections of somebody else's page


def one_line(text: str) -> str:
    """The text with line breaks, and what begins a line of a comment, made one space each."""
    return re.sub(r"\s*\n\s*(?:#(?!#)|--|\*)?\s*", " ", text)


def sources() -> Iterator[tuple[str, str]]:
    """(path, text) of every file of ours that may cite the specification."""
    for folder in CITING:
        for path in sorted(project_file(folder).rglob("*")):
            if path.suffix in {".py", ".sql", ".yaml"} and "testdata" not in path.parts and path != Path(__file__):
                yield f"{folder}/{path.relative_to(project_file(folder))}", path.read_text(encoding="utf-8")


def sections(page: str) -> set[str]:
    """The numbers of a page's headings, and of paragraphs that begin with one."""
    return set(re.findall(r"^(?:#+ )?(?:- )?(\d+(?:\.\d+)?)\.? ", PAGES[page], re.MULTILINE)) | set(
        re.findall(r"^#+ (\d+)\.", PAGES[page], re.MULTILINE)
    )


def rules(page: str) -> set[str]:
    """The rules that a page states: in bold at the beginning of a list's line, or as a row of a table."""
    return set(re.findall(r"(?:\*\*|^\| )([LUPRI]\d{1,2})\b", PAGES[page], re.MULTILINE))


def unresolved(text: str) -> list[str]:
    """The parts of a text's citations that no page has."""
    wrong = []
    for page, parts in _CITED.findall(one_line(text)):
        if page not in PAGES:
            wrong.append(f"spec/{page}.md")
            continue
        section = ""
        for part in re.findall(_PART, parts):
            if part.startswith("§"):
                section = part
                if part[1:] not in sections(page):
                    wrong.append(f"spec/{page}.md {part}")
            elif part not in rules(page) or not section:
                wrong.append(f"spec/{page}.md {section} {part}")
    return wrong


def bare(text: str) -> list[str]:
    """Rules and sections that are named without their page, and pages without their folder."""
    flat = one_line(text)
    rest = _OTHERS.sub("", _CITED.sub("", flat.replace(_ALL_ROWS, "") if _ALL_ROWS in flat else flat))
    found = _NAMED.findall(rest) + re.findall(r"§[\d.]*\d", rest)
    if _ALL_ROWS not in flat:
        found += _RULE.findall(rest)
    return found


def test_every_citation_leads_to_a_heading_or_a_rule() -> None:
    wrong = {path: found for path, text in sources() if (found := unresolved(text))}
    assert wrong == {}
    assert sum(len(_CITED.findall(text)) for _, text in sources()) > 100


def test_no_rule_is_cited_without_its_page() -> None:
    wrong = {path: found for path, text in sources() if (found := bare(text))}
    assert wrong == {}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("spec/mapping.md §3.5", []),
        ("see spec/mapping.md §6 L1 to L4, L6)", []),
        ("(spec/sampling.md\n    §2.7)", []),
        ("# (spec/sampling.md\n# §2.7, §3)", []),
        ("spec/mapping.md §77", ["spec/mapping.md §77"]),
        ("spec/mapping.md §6 L9", ["spec/mapping.md §6 L9"]),
        ("spec/mapping.md L1", ["spec/mapping.md  L1"]),
        ("spec/nowhere.md §1", ["spec/nowhere.md"]),
    ],
)
def test_a_wrong_citation_is_seen(text: str, wrong: list[str]) -> None:
    assert unresolved(text) == wrong


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("spec/mapping.md §6 L1", []),
        ("RFC 9110 §8.4", []),
        ("as L1 has it", ["L1"]),
        ("(§3.3)", ["§3.3"]),
        ("mapping.md §3.3", ["mapping.md", "§3.3"]),
        (f"R04 stops. {_ALL_ROWS}.", []),
        ("R04 stops", ["R04"]),
    ],
)
def test_a_bare_citation_is_seen(text: str, wrong: list[str]) -> None:
    assert bare(text) == wrong


def exists(name: str) -> bool:
    """Whether the repository holds a file, or files of a pattern with `*`."""
    folder, _, last = name.rstrip("/").rpartition("/")
    return any(project_file(folder).glob(last))


def test_the_specification_speaks_of_the_project_only() -> None:
    """No paths of a workplace, no file that the repository does not hold, and its own pages are cited rightly."""
    for page, text in PAGES.items():
        assert not re.search(r"\.\./shared|/(?:work|home)/|this folder|\bsources/|(?<![\w/])sql/", text), page
        code = re.findall(r"`((?:receiver|mapping|exporter|weighbridge|tests|bench|faults|docs)/[\w./*-]+)`", text)
        assert [path for path in code if not exists(path)] == [], page
        assert [link for link in re.findall(r"\]\(([^)#:]+)\)", text) if not (SPEC / link).exists()] == [], page
        assert unresolved(re.sub(rf"(?<![\w/-])({'|'.join(PAGES)})\.md(?= §)", r"spec/\1.md", text)) == [], page
