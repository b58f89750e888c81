import family_pages
import pytest
from family_pages import FOLDER, Example, Family

FAMILIES = family_pages.families()
EXAMPLES = [example for family in FAMILIES for example in family.examples]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_formula_counts_the_edges_of_the_plan(example: Example) -> None:
    assert example.plan.nnz == example.count


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.plugin)
def test_the_page_is_what_the_script_writes(family: Family) -> None:
    assert (FOLDER / f"{family.plugin}.md").read_text(encoding="utf-8") == family_pages.page(family)
    assert (FOLDER / f"{family.plugin}.png").is_file()
