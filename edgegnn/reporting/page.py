"""Write the page."""

from __future__ import annotations

from pathlib import Path

from edgegnn.reporting.contents import Contents
from edgegnn.reporting.model_points import plain
from edgegnn.reporting.palette import DARK, LIGHT, css_variables

__all__ = ["render"]


def render(contents: Contents) -> str:
    """The HTML page; everything but our own template, styles and drawings is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    import edgegnn

    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(here),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Control characters of names in files; our own markup is Markup, and stays as it is.
        finalize=lambda value: plain(value) if type(value) is str else value,
    )
    return environment.get_template("page.html.j2").render(
        contents=contents,
        style=(here / "page.css").read_text(encoding="utf-8"),
        light=css_variables(LIGHT),
        dark=css_variables(DARK),
        version=edgegnn.__version__,
    )
