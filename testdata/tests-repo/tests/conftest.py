from pathlib import Path

import pytest
from notebook_report import Page, find_page


@pytest.fixture(scope="session")
def page() -> Page:
    """The notebook's page, put into input/ before the tests run."""
    return Page.read(find_page(Path(__file__).parent.parent / "input"))
