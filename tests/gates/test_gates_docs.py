"""The documents: links lead somewhere, records are numbered and have a status, the changelog has its heading."""

import re
from pathlib import Path

import pytest

LINK = re.compile(r"\[[^\]]+\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def broken_links(project: Path) -> list[str]:
    """Relative links of the documents that lead nowhere."""
    pages = [*project.glob("*.md"), *(project / "docs").rglob("*.md"), *(project / "models").rglob("*.md")]
    return [
        f"{page.relative_to(project)}: {target}"
        for page in sorted(pages)
        for target in LINK.findall(page.read_text())
        if not (page.parent / target).exists()
    ]


def faulty_records(project: Path) -> list[str]:
    """Decision records that are misnumbered or do not say their status, context, decision and consequences."""
    records = sorted((project / "docs" / "adr").glob("*.md"))
    found = []
    for number, page in enumerate(records, start=1):
        text = page.read_text()
        wanted = [f"# {number}. ", "\nStatus: ", "\n## Context\n", "\n## Decision\n", "\n## Consequences\n"]
        if not page.name.startswith(f"{number:04d}-") or not all(part in text for part in wanted):
            found.append(page.name)
    return found


def test_every_link_leads_somewhere(root):
    assert broken_links(root) == []


def test_every_record_has_its_number_and_parts(root):
    assert faulty_records(root) == []


@pytest.mark.parametrize("text", ["# 2. Planted\n", "# 1. Planted\n\nStatus: accepted\n"])
def test_a_faulty_page_is_found(text, tmp_path):
    (tmp_path / "docs" / "adr").mkdir(parents=True)
    (tmp_path / "docs" / "adr" / "0001-planted.md").write_text(
        f"{text}\n[gone](nowhere.md) [here](0001-planted.md#x)\n"
    )
    assert broken_links(tmp_path) == ["docs/adr/0001-planted.md: nowhere.md"]
    assert faulty_records(tmp_path) == ["0001-planted.md"]


def test_the_glossary_names_the_nouns_of_the_records(root):
    """Every kind of thing that the hand-over types name in their class names is explained."""
    glossary = (root / "docs" / "glossary.md").read_text().lower()
    nouns = {"series", "instance", "frame", "segment", "volume", "analysis", "delivery", "job", "claim", "identity"}
    assert {noun for noun in nouns if f"**{noun}**" not in glossary} == set()


def test_the_changelog_has_a_heading_for_results_that_may_change(root):
    newest = (root / "CHANGELOG.md").read_text().split("\n## ")[1]
    assert "\n### Results may change\n" in newest
