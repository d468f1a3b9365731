"""`edgegnn report`: what is on the page, of studies and of profile records."""

from __future__ import annotations

from pathlib import Path

import matplotlib.figure
import msgspec
import pytest
from command_line import run, strict
from hypothesis import given
from hypothesis import strategies as st
from profile_example import record
from report_example import HOSTILE, Page, finished_study, outcomes_of, profile_of, write_records

from edgegnn.errors import PruneError
from edgegnn.profiling.record import Metric, OperatorTime, OperatorTimes, SweepPoint
from edgegnn.reporting import figures
from edgegnn.reporting.choice import chosen
from edgegnn.reporting.comparing import compared
from edgegnn.reporting.figures import COSTS
from edgegnn.reporting.model_points import of_records, of_study, plain
from edgegnn.reporting.operators import section
from edgegnn.reporting.palette import DARK, LIGHT, MARKERS, SERIES, marker_of
from edgegnn.reporting.pareto import pareto
from edgegnn.reporting.pareto_front import front, joined
from edgegnn.reporting.sweep import section as sweep_section
from edgegnn.studies import read_study

MODELS = (("fp32", 2.0, 0.81), ("int8", 1.0, 0.8), ("int4", 1.5, 0.7))
NONE = {"energy_j": None, "energy_reason": "no sensor"}
NUMBERS = st.integers(0, 6).map(float)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished study with a failed cell."""
    with pytest.MonkeyPatch.context() as patched:
        errors = {f"compress gcn cora regularized 0.9 seed {seed}": PruneError("it <fails>") for seed in (0, 1)}
        return finished_study(tmp_path_factory.mktemp("study"), patched, errors=errors)


@pytest.fixture(scope="module")
def page(study, tmp_path_factory):
    """The page of that study."""
    from edgegnn.reporting import write

    out = tmp_path_factory.mktemp("page") / "report.html"
    write([study], out)
    return Page(out.read_text(encoding="utf-8"))


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12), st.booleans())
def test_the_front_is_what_nothing_beats(points, higher):
    def beats(a, b):
        better = a[1] >= b[1] if higher else a[1] <= b[1]
        return a[0] <= b[0] and better and a != b

    expected = {i for i, b in enumerate(points) if not any(beats(a, b) for a in points)}
    found = front(points, higher_is_better=higher)
    assert set(found) == expected
    assert len(found) == len(expected)
    assert [points[i][0] for i in found] == sorted(points[i][0] for i in found)


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=8))
def test_a_difference_within_the_spread_is_none(points):
    pairs, spreads = [p[:2] for p in points], [p[2:] for p in points]
    found = front(pairs, spreads)
    assert found
    if all(cost > 6 and merit > 6 for cost, merit in spreads):
        assert len(found) == len(points)
    (one, other) = ((1.00, 0.80), (1.01, 0.78))
    assert front([one, other], [(0.02, 0.01)] * 2) == [0]  # one is more accurate, and no slower
    assert front([one, other], [(0.02, 0.05)] * 2) == [0, 1]  # nobody knows which is better
    assert front([(0.5, 0.79), one], [(0.02, 0.05)] * 2) == [0]  # as accurate for half the time
    assert joined([one, other], [0, 1]) == [one]


def test_two_builds_of_one_name_stay_apart_and_one_build_of_two_names_does_not():
    records = [profile_of(t, "a", 1.0, model_sha256=c * 64) for t in ("x86", "rpi") for c in "12"]
    records.append(profile_of("gateway", "copy-of-a", 1.0, model_sha256="1" * 64))
    entries = of_records(records)
    names = ["a (11111111)", "a (22222222)"]
    assert [e.name for e in entries] == [*names, *names, names[0]]
    (table,) = [t for t in compared(entries).tables if "latency" in t.title.lower()]
    assert [row[0] for row in table.rows] == names
    assert table.columns == ["model", "x86", "rpi", "gateway"]


def test_models_that_lost_a_fifth_have_a_panel_of_their_own():
    rows = [("none", "fp32", 2.0, 0.8), ("dq-int8", "int8", 1.0, 0.8), ("dq-int4", "int4", 0.5, 0.3)]
    records = [msgspec.structs.replace(profile_of("x86", n, p, v), recipe=q) for q, n, p, v in rows]
    entries = of_records(records)
    figure = pareto("p", "Cora", entries, COSTS[1])
    assert "Lower panel: 1 model below 80 % of the dense model's, on a scale of its own." in figure.notes
    assert not pareto("p", "Cora", entries[:2], COSTS[1]).notes
    assert [p["front"] for p in figure.data["points"]] == [False, True, True]  # drawn apart, judged together
    assert [p["checksum"] for p in figure.data["points"]] == [e.checksum for e in entries]
    errors = [msgspec.structs.replace(r, metric=Metric(name="mae", value=r.metric.value, n=9)) for r in records]
    figure = pareto("p", "Cora", of_records(errors), COSTS[1])  # of an error the one with 0.3 is the best
    assert not figure.notes
    far = msgspec.structs.replace(errors[2], metric=Metric(name="mae", value=1.1, n=9))
    figure = pareto("p", "Cora", of_records([*errors[:2], far]), COSTS[1])
    assert "Upper panel: 1 model above 125 % of the dense model's, on a scale of its own." in figure.notes


def test_a_page_stands_alone_and_can_be_read_without_seeing_it(page):
    page.check()
    assert len(page.find("svg")) == 9  # three Pareto plots, three curves for each of two recipes
    assert all(len(text) > 40 for text in page.texts["desc"])


def test_every_part_is_there(page):
    assert [text for text in page.texts["h2"] if text] == [
        "At a glance",
        "Accuracy against size, latency and energy",
        "Sparsity",
        "Tables",
        "How this was measured",
        "Not shown, and why",
        "Sources",
    ]
    assert page.texts["h1"] == ["GCN on Cora"]
    assert "Test accuracy (%) against sparsity, GCN on Cora" in page.texts["span"]
    assert "82.2 [1]" in page.texts["td"]  # published beside ours
    assert "81.00 ± 1.41" in page.texts["td"]


def test_the_protocol_and_caveats_are_said(page):
    for text in (
        "public split (seed 0), 1,000 test rows, judged by accuracy",
        "2 seeds of training (0, 1): mean ± standard deviation of the sample.",
        "the test split is read once, at the end, and nothing is chosen by it",
        "20 cells: 18 done, 2 failed.",
        "Failed: gcn cora regularized 0.9 seed 0: compressing: it <fails>",
        "* Times were measured with short windows (quick)",
        "‡ The machine had other work meanwhile (load average up to 4.0)",
        "~ Energy is estimated by a model, not measured: a model; machine.",
        "Without a result: gcn on cora, regularized 0.9 (failed).",
        "Lines: mean over seeds; bands: ± one standard deviation.",
        "Sensitivity of layers was not measured: name a checkpoint as a source",
        "No comparison of devices: everything was measured on x86 (A CPU).",
    ):
        assert page.words.count(text) == 1, text
    assert page.words.count("short windows") == 1
    assert page.words.count("load average") == 1


@pytest.mark.slow
def test_what_the_figures_show(study, tmp_path, capsys, monkeypatch):
    out = tmp_path / "report.html"
    code, text, err = run(capsys, monkeypatch, "report", study, "-o", out, "--json", "--figures", tmp_path / "figures")
    assert (code, err) == (0, "")
    found = strict(text)
    assert found["report"] == str(out)
    assert found["bytes"] == out.stat().st_size
    figures = {f["name"]: f for f in found["figures"]}
    size = {p["name"]: p for p in figures["pareto-1-size"]["points"]}
    assert size["dense"]["cost"] == 4000
    assert size["dense"]["test"] == pytest.approx(0.81)
    assert size["dense, dq-int8"]["cost"] == 1200
    assert {name for name, p in size.items() if p["front"]} == {  # dense is better by less than its spread
        "dense, dq-int8",
        "global 0.5, dq-int8",
        "regularized 0.5, dq-int8",
        "global 0.9, dq-int8",
        "regularized 0.9, dq-int8",
    }
    curve = figures["sparsity-1-test"]["test"]
    assert [(p["sparsity"], p["n"]) for p in curve["global"]] == [(0.0, 2), (0.5, 2), (0.9, 2)]
    assert [p["sparsity"] for p in curve["regularized"]] == [0.0, 0.5]  # 0.9 failed
    assert curve["global"][1]["mean"] == pytest.approx(0.76)
    assert curve["global"][1]["std"] == pytest.approx(0.02 / 2**0.5)
    assert sorted(Path(f).name for f in found["files"]) == sorted(
        f"{name}.{ending}" for name in figures for ending in ("pdf", "png", "svg")
    )
    assert all(Path(f).stat().st_size > 1000 for f in found["files"])
    assert (tmp_path / "figures" / "pareto-1-size.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "figures" / "pareto-1-size.pdf").read_bytes()[:5] == b"%PDF-"
    assert "<text" in (tmp_path / "figures" / "pareto-1-size.svg").read_text()


@pytest.mark.slow
def test_the_same_report_twice_is_the_same_file(tmp_path):
    from edgegnn.reporting import write

    records = write_records(tmp_path / "profiles", [profile_of("x86", n, p, v, **NONE) for n, p, v in MODELS[:2]])
    for name in ("a.html", "b.html"):
        write([records], tmp_path / name, figures=tmp_path / name[0])
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.slow
def test_nothing_is_written_beside_the_page(study, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, monkeypatch, "report", study)
    assert (code, err) == (0, "")
    assert "wrote report.html: 9 figures" in out
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.slow
def test_names_from_files_are_only_text(tmp_path, monkeypatch):
    from edgegnn.reporting import write

    folder = tmp_path / "study"
    folder.mkdir()
    (folder / HOSTILE).touch()
    case = f"[[case]]\nmodels = ['gcn']\ndata = [{msgspec.json.encode(HOSTILE).decode()}]\n"
    study = finished_study(folder, monkeypatch, case=case)
    bad = "</svg></style></title><script>alert(1)</script>\x01\ud83d$\\frac{"
    records = write_records(
        tmp_path / "records",
        # A record whose artifact has a name with a slash is refused.
        [
            profile_of(f"t{i}<b>", plain(bad.replace("/", "").replace("\\", "$")), 1.0 + i, energy_reason="<i>&")
            for i in range(2)
        ],
    )
    out = tmp_path / "report.html"
    write([study, records], out, title=bad)
    found = Page(out.read_text(encoding="utf-8"))
    found.check()
    shown = HOSTILE.replace("\u202e", "\N{REPLACEMENT CHARACTER}")
    assert f"Accuracy against file size, GCN on {shown}" in found.texts["h3"]
    assert "alert(1)" in found.words
    assert "\u202e" not in found.html


def test_validation_data_choose_at_a_glance(study):
    loaded = read_study(study)
    entries = of_study(outcomes_of(loaded))
    picks = {why: e.name for why, e in chosen(entries)}
    # Within a point of the dense model on validation is its dq-int8 alone, which is smaller and faster.
    assert picks == {"dense": "dense", "smallest, fastest": "dense, dq-int8"}


@pytest.mark.slow
def test_records_of_several_devices(tmp_path):
    from edgegnn.reporting import write

    records = [profile_of(t, a, p * f, v) for t, f in (("x86", 1.0), ("gateway", 3.0)) for a, p, v in MODELS]
    records += [profile_of("rpi", a, 7 * p, v, **NONE) for a, p, v in MODELS]
    records += [profile_of("pi", a, 90 * p, v, emulated="emulated: by a program", **NONE) for a, p, v in MODELS]
    records = [msgspec.structs.replace(one, data="cora") for one in records]
    out = tmp_path / "report.html"
    made = write([write_records(tmp_path / "profiles", records)], out).contents
    found = Page(out.read_text(encoding="utf-8"))
    found.check()
    drawn = [(f.name.split("-")[0], f.name.split("-")[2], f.title.partition(", ")[2]) for f in made.figures]
    everywhere = "Cora (1,000 rows)"
    assert drawn == [
        ("pareto", "size", everywhere),
        ("pareto", "latency", f"{everywhere}, on gateway"),
        ("pareto", "energy", f"{everywhere}, on gateway"),
        ("pareto", "latency", f"{everywhere}, on rpi"),
        ("pareto", "latency", f"{everywhere}, on x86"),
        ("pareto", "energy", f"{everywhere}, on x86"),
        ("devices", "latency", everywhere),
        ("devices", "energy", everywhere),
    ]
    assert "12 measurements on gateway, pi, rpi and 1 more" in found.texts["h1"]
    (latency,) = [f for f in made.figures if f.name == "devices-1-latency"]
    assert latency.data["rows"]["int8"] == {"gateway": (3.0, 0.0), "rpi": (7.0, 0.0), "x86": (1.0, 0.0)}
    assert "90 ms †" in found.texts["td"]  # in the table, marked
    assert "pi: no plot of latency: on an emulated device a time is no measurement" in found.words
    assert "rpi: no plot of energy: none was measured (no sensor)" in found.words
    assert "Measured on rpi: board of rpi" in found.texts["h3"]


def test_times_of_operators_are_drawn():
    nodes = [OperatorTime(name=f"model.convs.{i}/QSpMM", op="QSpMM", ms=1.0 + i, bytes=10, native=True) for i in (0, 1)]
    nodes += [OperatorTime(name=f"model/Add_{i}", op="Add", ms=0.1, bytes=10) for i in range(20)]
    times = OperatorTimes(inferences=40, between_ms=0.5, copy_bytes_per_s=1e10, nodes=nodes)
    assert section([record()]) is None
    made = section([record(), record(artifact="b", operators=times)])
    (figure,) = made.figures
    bars = [(bar["operator"], bar["ms"]) for bar in figure.data["operators"]]
    assert bars[:2] == [("convs.1 QSpMM", 2.0), ("convs.0 QSpMM", 1.0)]
    assert bars[-2:] == [("10 more operators", pytest.approx(1.0)), ("between operators", 0.5)]
    assert "convs.1 QSpMM" in figure.drawn.inline


def test_latency_by_the_size_of_the_graph_is_drawn():
    points = [SweepPoint(edges=e, nodes=e, p50_ms=e / 100, n=5) for e in (1000, 10_000)]
    missing = SweepPoint(edges=100_000, nodes=0, p50_ms=None, n=0, reason="too large")
    assert sweep_section([record(), record(sweep=points[:1])]) is None
    made = sweep_section([record(artifact="b", sweep=[*points, missing])])
    (figure,) = made.figures
    assert figure.data["curves"] == {"b on x86": [(1000, 10.0), (10_000, 100.0)]}
    assert "10k" in figure.drawn.inline
    assert "mathdefault" not in figure.drawn.inline


@pytest.mark.slow
def test_energies_of_different_sources_are_not_drawn_together(tmp_path):
    from edgegnn.reporting import write

    estimated = msgspec.structs.replace(record().energy_j, kind="estimated", source="a model")
    records = [profile_of("x86", "a", 1.0), profile_of("x86", "b", 2.0, energy_j=estimated)]
    made = write([write_records(tmp_path / "profiles", records)], tmp_path / "r.html").contents
    assert not [f for f in made.figures if "energy" in f.name]
    assert any("energies of different sources can't be compared" in text for text in made.left_out)


def test_quick_and_busy_measurements_are_marked_in_tables(tmp_path):
    from edgegnn.reporting import write

    how = msgspec.structs.replace(record().how, quick=True)
    device = msgspec.structs.replace(record().device, load_average=3.0)
    records = [profile_of("x86", "a", 1.0, how=how), profile_of("rpi", "a", 5.0, device=device)]
    out = tmp_path / "r.html"
    write([write_records(tmp_path / "profiles", records)], out)
    found = Page(out.read_text())
    assert {"1 ms *", "5 ms ‡"} <= set(found.texts["td"])
    assert any(text.startswith("‡ The machine had other work") for text in found.texts["li"])
    assert any(
        text.startswith("* Times of 1 of 2 models were measured with short windows") for text in found.texts["li"]
    )


def test_the_function_has_the_name_of_the_command(tmp_path):
    import edgegnn

    source = write_records(tmp_path / "p", [profile_of("x86", "only", 1.0)])
    written = edgegnn.report([str(source)], str(tmp_path / "r.html"))
    assert written.page == tmp_path / "r.html"
    assert not written.contents.figures  # one model makes no front
    words = Page(written.page.read_text()).words
    assert "no plot of size: it needs two models with a metric" in words
    assert "1 measurement on x86" in words


def test_lower_is_better_for_an_error(tmp_path):
    from edgegnn.reporting import write

    records = [profile_of("x86", n, p, metric=Metric(name="mae", value=v, n=10)) for n, p, v in MODELS]
    made = write([write_records(tmp_path / "p", records)], tmp_path / "r.html").contents
    (latency,) = [f for f in made.figures if f.name.endswith("latency")]
    assert {p["name"] for p in latency.data["points"] if p["front"]} == {"int8", "int4"}


@pytest.mark.slow
def test_two_studies_of_one_model(tmp_path, monkeypatch):
    """Their curves stay apart."""
    from edgegnn.reporting import write

    head = 'prune = ["global"]\nsparsities = [0.0, 0.5]\nseeds = [0]\ntiming = "off"\n'
    studies = [finished_study(tmp_path / name, monkeypatch, head) for name in ("one", "two")]
    made = write(studies, tmp_path / "r.html").contents
    curves = [f for f in made.figures if f.name.startswith("sparsity") and f.name.endswith("test")]
    assert [f.title for f in curves] == [f"Accuracy against sparsity, GCN on Cora ({s})" for s in studies]
    assert all([p["sparsity"] for p in f.data["test"]["global"]] == [0.0, 0.5] for f in curves)


def test_one_seed_has_no_band_and_nothing_timed_no_latency(tmp_path, monkeypatch):
    from edgegnn.reporting import write

    head = 'prune = ["global"]\nsparsities = [0.0, 0.5]\nseeds = [3]\ntiming = "off"\n'
    made = write([finished_study(tmp_path / "s", monkeypatch, head)], tmp_path / "r.html").contents
    assert [f.name for f in made.figures] == ["pareto-1-size", "sparsity-1-test", "sparsity-2-model-file"]
    assert made.figures[1].notes == ["A single seed: no band."]
    words = Page((tmp_path / "r.html").read_text()).words
    assert "no plot of latency: nothing was measured" in words
    assert 'Times and energy None: timing = "off" in the study.' in words


def test_an_axis_of_percentages_ends_where_they_do():
    for values, top in (([100, 100], 101), ([40, 99.5], 104), ([40, 60], 63)):
        axes = matplotlib.figure.Figure().add_subplot()
        axes.plot([1, 2], values)
        figures.shares_axis(axes)
        low, high = axes.get_ylim()
        assert low < min(values) <= max(values) < high < top


def test_long_names_lose_their_middle():
    assert plain("a" * 30 + "b" * 30, 9) == "aaaa…bbbb"
    assert plain("short", 9) == "short"
    assert plain("a\nb\x00\u202e") == "a\N{REPLACEMENT CHARACTER}b" + 2 * "\N{REPLACEMENT CHARACTER}"


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_colours_have_contrast(theme):
    back = luminance(theme["fig-background"])
    for name, colour in theme.items():
        if name in ("fig-background", "fig-grid"):
            continue
        high, low = sorted((back, luminance(colour)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= (4.5 if name in ("fig-ink", "fig-muted", "fig-1") else 3), name


def test_series_differ_by_shape_too():
    assert len({marker_of(n) for n in range(len(SERIES) * len(MARKERS))}) == len(SERIES) * len(MARKERS)
    assert len({marker_of(n)[1] for n in range(len(MARKERS))}) == len(MARKERS)
    assert len(set(LIGHT.values())) == len(LIGHT)
