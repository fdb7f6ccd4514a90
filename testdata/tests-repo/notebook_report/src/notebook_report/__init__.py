"""Read what an executed notebook says, from the HTML page that nbconvert made."""

from .page import Figure, NoSuchNumber, Page, find_page

__all__ = ["Figure", "NoSuchNumber", "Page", "find_page"]
