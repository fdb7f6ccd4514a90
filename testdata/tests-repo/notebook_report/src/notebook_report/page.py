"""The page of one notebook."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from pathlib import Path

from bs4 import BeautifulSoup, Tag

TRACEBACK = "Traceback (most recent call last)"
PNG = b"\x89PNG\r\n\x1a\n"


class NoSuchNumber(LookupError):
    """The notebook printed no line "label: number"."""


@dataclass(frozen=True)
class Figure:
    """One image of the page."""

    source: str
    alt: str

    @property
    def embedded(self) -> bool:
        """Whether the image is in the page itself, so that it shows offline."""
        return self.source.startswith("data:image/")

    def png(self) -> bytes:
        """The image's bytes; ValueError when it is no embedded PNG."""
        head, _, body = self.source.partition(",")
        if head != "data:image/png;base64":
            raise ValueError(f"not an embedded PNG: {head[:60]}")
        try:
            data = base64.b64decode(body, validate=False)
        except binascii.Error as err:
            raise ValueError(f"broken base64: {err}") from err
        if not data.startswith(PNG):
            raise ValueError("the data is no PNG")
        return data


class Page:
    """An executed notebook as a reader sees it."""

    def __init__(self, html: str) -> None:
        self._soup = BeautifulSoup(html, "html.parser")

    @classmethod
    def read(cls, path: Path) -> Page:
        """Parse the file at path."""
        return cls(path.read_text(encoding="utf-8"))

    @property
    def heading(self) -> str:
        """The first heading, without the anchor sign that nbconvert adds."""
        found = self._soup.find("h1")
        return found.get_text().rstrip("¶").strip() if found else ""

    @property
    def output(self) -> str:
        """All that the cells have printed to stdout or shown as plain text."""
        return "\n".join(self._texts('[data-mime-type="text/plain"]'))

    @property
    def tracebacks(self) -> list[str]:
        """The outputs of cells that raised."""
        return [text for text in self._texts() if TRACEBACK in text]

    @property
    def figures(self) -> list[Figure]:
        """Every image in the cells' outputs."""
        images = self._soup.select(".jp-OutputArea-output img")
        return [Figure(str(i.get("src", "")), str(i.get("alt", ""))) for i in images]

    @property
    def lite(self) -> tuple[int, int] | None:
        """Cells and genes of a lite run's data, as its banner says; None on other pages."""
        banner = self._soup.select_one("div[role=note]")
        if banner is None:
            return None
        match = re.search(r"^LITE: (\d+) (?:of \d+ )?cells, (\d+) (?:of \d+ )?genes", banner.get_text())
        if match is None:
            raise NoSuchNumber(f"the banner says no shape: {banner.get_text()!r}")
        return int(match.group(1)), int(match.group(2))

    def number(self, label: str) -> float:
        """The number in the printed line "label: number"."""
        match = re.search(rf"^{re.escape(label)}: (-?\d+(?:\.\d+)?)\b", self.output, re.MULTILINE)
        if match is None:
            raise NoSuchNumber(f"the notebook printed no line {label!r} with a number")
        return float(match.group(1))

    def table(self, column: str) -> dict[str, str]:
        """The first data frame that has the column: its index to that column."""
        for table in self._soup.select("table.dataframe"):
            heads = [th.get_text(strip=True) for th in table.select("thead tr:first-child th")]
            if column in heads:
                return dict(self._rows(table, heads.index(column)))
        raise LookupError(f"no data frame with a column {column!r}")

    @staticmethod
    def _rows(table: Tag, at: int) -> list[tuple[str, str]]:
        rows = [tr.find_all(["th", "td"]) for tr in table.select("tbody tr")]
        return [(r[0].get_text(strip=True), r[at].get_text(strip=True)) for r in rows]

    def _texts(self, kind: str = "") -> list[str]:
        return [pre.get_text() for pre in self._soup.select(f".jp-OutputArea-output{kind} pre")]


def find_page(directory: Path) -> Path:
    """The one HTML file in the directory."""
    pages = sorted(directory.glob("*.html"))
    if len(pages) != 1:
        names = ", ".join(p.name for p in pages) or "none"
        raise FileNotFoundError(f"expected one page in {directory}, found {names}")
    return pages[0]
