"""A minimal SVG writer for the chart: text, lines and boxes."""

from __future__ import annotations

from xml.etree import ElementTree

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
INK, FAINT, RULE, PAPER = "#1f2933", "#69757f", "#dfe4e8", "#ffffff"


class Canvas:
    """A canvas. Coordinates and sizes are in pixels, from the upper left."""

    def __init__(self, width: float, height: float, title: str) -> None:
        size = {"width": _px(width), "height": _px(height), "viewBox": f"0 0 {_px(width)} {_px(height)}"}
        self._root = ElementTree.Element(
            "svg", {"xmlns": "http://www.w3.org/2000/svg", "role": "img", "font-family": FONT, **size}
        )
        ElementTree.SubElement(self._root, "title").text = title
        self.box(0.5, 0.5, width - 1, height - 1, PAPER, radius=8, stroke=RULE)

    def text(
        self, x: float, y: float, words: str, *, size: float = 12, color: str = INK, anchor: str = "start",
        bold: bool = False,
    ) -> None:  # fmt: skip
        """Draw text. `anchor` is the part of the text that is at x: start, middle or end."""
        attributes = {"x": _px(x), "y": _px(y), "font-size": _px(size), "fill": color, "text-anchor": anchor}
        if bold:
            attributes["font-weight"] = "600"
        ElementTree.SubElement(self._root, "text", attributes).text = words

    def line(self, x1: float, y1: float, x2: float, y2: float, *, color: str = RULE) -> None:
        coordinates = {"x1": _px(x1), "y1": _px(y1), "x2": _px(x2), "y2": _px(y2)}
        ElementTree.SubElement(self._root, "line", {**coordinates, "stroke": color})

    def box(
        self, x: float, y: float, width: float, height: float, color: str, *, radius: float = 2, stroke: str = "none"
    ) -> None:
        coordinates = {"x": _px(x), "y": _px(y), "width": _px(width), "height": _px(height), "rx": _px(radius)}
        ElementTree.SubElement(self._root, "rect", {**coordinates, "fill": color, "stroke": stroke})

    def __str__(self) -> str:
        ElementTree.indent(self._root)
        return ElementTree.tostring(self._root, encoding="unicode") + "\n"


def _px(length: float) -> str:
    return f"{length:.1f}".removesuffix(".0")
