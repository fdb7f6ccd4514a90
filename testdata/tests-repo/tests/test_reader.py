"""The reader itself. No marker: `-m single_cell` does not select these."""

import pytest
from notebook_report import Figure, NoSuchNumber, Page, find_page

AREA = '<div class="jp-OutputArea-output" data-mime-type="{}"><pre>{}</pre></div>'
PRINTED = AREA.format("text/plain", "Cells kept: 12 of 20\n")


def test_number_takes_the_first_number_of_the_line() -> None:
    assert Page(PRINTED).number("Cells kept") == 12


def test_number_that_was_not_printed() -> None:
    with pytest.raises(NoSuchNumber, match="Genes kept"):
        Page(PRINTED).number("Genes kept")


def test_traceback_is_found() -> None:
    raised = AREA.format("application/vnd.jupyter.stderr", "Traceback (most recent call last)\nValueError")
    assert Page(PRINTED).tracebacks == []
    assert len(Page(PRINTED + raised).tracebacks) == 1


def test_figure_that_is_not_in_the_page() -> None:
    figure = Figure("https://example.org/plot.png", "")
    assert not figure.embedded
    with pytest.raises(ValueError, match="not an embedded PNG"):
        figure.png()


@pytest.mark.parametrize(
    ("words", "shape"),
    [
        ("LITE: 500 of 700 cells, 600 of 765 genes", (500, 600)),
        ("LITE: 700 cells, 765 genes, small enough as they are", (700, 765)),
    ],
)
def test_lite_is_what_the_banner_says(words: str, shape: tuple[int, int]) -> None:
    assert Page(f'<div role="note">{words}</div>').lite == shape


def test_lite_is_not_said() -> None:
    assert Page(PRINTED).lite is None
    with pytest.raises(NoSuchNumber, match="no data"):
        Page('<div role="note">LITE: no data was read</div>').lite  # noqa: B018


def test_no_page(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="found none"):
        find_page(tmp_path)
