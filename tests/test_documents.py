"""The documents tell the truth about the tree: what they link to and what they name is there."""

import re
from pathlib import Path

import pytest

from gridbay.cli import job_reference

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
PACKAGES = ("market", "infra", "scheduler", "billing", "monitoring", "portal_api", "provider_agent", "gridbay")
NAMED = re.compile(rf"`((?:{'|'.join(PACKAGES)})/[\w/]*(?:\.py|/))`")
BARE = re.compile(r"`(\w+\.py)`")
FILES = {
    path.name for package in ("benchmarks", "docs", "tests", *PACKAGES) for path in (ROOT / package).glob("**/*.py")
}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_is_there(document: Path) -> None:
    text = document.read_text()
    missing = [link for link in LINK.findall(text) if not (document.parent / link).exists()]
    missing += [name for name in NAMED.findall(text) if not (ROOT / name).exists()]
    missing += [name for name in BARE.findall(text) if name not in FILES]
    assert missing == []


def test_the_reference_of_job_yaml_is_the_schema() -> None:
    page = ROOT / "docs" / "job-yaml.md"
    assert page.read_text() == job_reference.markdown(), "run: python -m gridbay.cli.job_reference > docs/job-yaml.md"
