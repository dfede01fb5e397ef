"""The pages made from code are those that the code makes."""

import re
from collections.abc import Iterator

import pytest

from scripts.docs import DOCS, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_made_page_is_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


BLOCK = re.compile(r"^(?:`([^`]+)`\n\n)?```(python|yaml|xml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Each block of a page's code with the file that it is of, which the last name said."""
    file = ""
    for named, _, code in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        file = named or file
        yield file, code


def test_the_code_of_add_a_feature_is_that_of_the_feature() -> None:
    found = list(blocks("add-a-feature.md"))
    assert len(found) > 8
    for file, code in found:
        assert code in (DOCS.parent / file).read_text(encoding="utf-8"), f"{file} has changed"
