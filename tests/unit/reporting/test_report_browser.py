"""The report's page in headless Chromium: it is drawn, asks for nothing, fits a phone, follows the theme, prints."""

from __future__ import annotations

import html
import re

import pytest
from chromium import BROWSER, browse
from report_example import HOSTILE, Page, finished_study, profile_of, write_records

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Everything that a page can have, with long and hostile names."""
    from edgegnn.reporting import write

    folder = tmp_path_factory.mktemp("browser")
    with pytest.MonkeyPatch.context() as patched:
        (folder / "study").mkdir()
        (folder / "study" / HOSTILE).touch()
        case = f"[[case]]\nmodels = ['gcn']\ndata = ['cora', '''{HOSTILE.replace(chr(0x202E), '')}''']\n"
        (folder / "study" / HOSTILE.replace(chr(0x202E), "")).touch()
        study = finished_study(folder / "study", patched, case=case)
    long = "an-artifact-with-a-name-that-has-no-end-" * 3
    records = [profile_of(t, a, p) for t, p in (("x86", 1.0), ("rpi", 8.0)) for a in ("a", long)]
    write([study, write_records(folder / "profiles", records)], folder / "report.html")
    return folder / "report.html"


def test_it_is_drawn_and_asks_for_nothing(page):
    out, err = browse(page, "--dump-dom")
    found = Page(page.read_text(encoding="utf-8"))
    for tag in ("svg", "table", "h2", "figure", "path"):
        assert out.count(f"<{tag}") >= len(found.find(tag)) > 0, tag
    assert "alert" not in re.sub(r"&lt;.*?&gt;", "", out)  # names stayed text
    # What the page's own policy refuses is reported: every request, every script.
    assert not [line for line in err.splitlines() if "CONSOLE" in line or "Refused" in line or "violates" in line]
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//(?!www\.w3\.org)""", page.read_text())


def test_a_request_would_be_seen(page, tmp_path):
    """The check above can fail."""
    other = tmp_path / "other.html"
    other.write_text(page.read_text().replace("<main>", '<main><img src="https://example.org/a.png">'))
    _, err = browse(other, "--dump-dom")
    assert [line for line in err.splitlines() if "CONSOLE" in line or "Refused" in line or "violates" in line]


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_does_not_scroll_sideways(page, tmp_path, width):
    script = (
        "<script>const d = document.documentElement, t = [...document.querySelectorAll('.table')];"
        "parent.document.documentElement.setAttribute('data-sizes', [innerWidth, d.scrollWidth,"
        "t.some(e => e.scrollWidth > e.clientWidth),"
        "Math.round(Math.max(...[...document.querySelectorAll('td')].map(e => e.getBoundingClientRect().right))),"
        "Math.min(...[...document.querySelectorAll('figure svg text')].map(e => e.getBoundingClientRect().height))]"
        ".join(' '));</script></body>"
    )
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text).replace("</body>", script)
    # A window can't be as narrow as a phone, a frame can.
    outer = tmp_path / "outer.html"
    frame = f'<iframe style="width: {width}px; height: 800px; border: 0" srcdoc="{html.escape(text)}"></iframe>'
    outer.write_text(f"<!doctype html><meta charset=utf-8>{frame}", encoding="utf-8")
    out, _ = browse(outer, "--dump-dom", "--window-size=1600,1000")
    found = re.search(r'data-sizes="([^"]*)"', out)
    assert found is not None
    inner, scroll, table_scrolls, rightmost, smallest = found[1].split()
    assert int(scroll) <= int(inner) == width
    if width == 360:  # rows are blocks: latency and energy are on the screen
        assert table_scrolls == "false"
        assert int(rightmost) <= width
    else:
        assert table_scrolls == "true"  # the wide ones, in their own box
    assert float(smallest) >= 9  # text in figures, pixels


@pytest.mark.parametrize(("scheme", "background"), [(0, (22, 25, 29)), (1, (255, 255, 255))])
def test_dark_and_light(page, tmp_path, scheme, background):
    from PIL import Image

    picture = tmp_path / "page.png"
    browse(page, f"--screenshot={picture}", "--window-size=800,1600", f"--blink-settings=preferredColorScheme={scheme}")
    with Image.open(picture) as image:
        colours = {colour: n for n, colour in image.convert("RGB").getcolors(1 << 24)}
    assert max(colours, key=lambda colour: colours[colour]) == background
    other = (255, 255, 255) if background != (255, 255, 255) else (22, 25, 29)
    assert colours.get(other, 0) < 0.001 * sum(colours.values())  # no white panel in the dark


def test_it_prints(page, tmp_path):
    paper = tmp_path / "page.pdf"
    browse(page, f"--print-to-pdf={paper}", "--no-pdf-header-footer")
    assert paper.read_bytes().startswith(b"%PDF")
    assert len(paper.read_bytes()) > 20_000
