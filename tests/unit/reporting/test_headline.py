"""The headline of a report, and its picture."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from command_line import run
from report_example import Page, finished_study, outcomes_of, profile_of, write_records

from edgegnn.errors import UsageError
from edgegnn.profiling.record import Metric
from edgegnn.reporting import headline, write
from edgegnn.reporting.card import draw_card
from edgegnn.reporting.model_points import of_records, of_study
from edgegnn.studies import read_study


def records(**changes):
    """A float model, and a quantized one: half as long, a third of the size, half a point less."""
    made = [profile_of("x86", "a", 2.0, 0.8), profile_of("x86", "b", 1.0, 0.795, **changes)]
    small = msgspec.structs.replace(made[1].memory_bytes, model_file=267)
    dense = msgspec.structs.replace(made[0], recipe="none", data="cora")
    return [dense, msgspec.structs.replace(made[1], recipe="dq-int8", data="cora", memory_bytes=small)]


def numbers(made):
    return {step.axis: f"{step.large} {step.spread}".strip() + f" {step.words}" for step in made.steps}


def test_of_a_study_seed_by_seed(tmp_path, monkeypatch):
    study = finished_study(tmp_path, monkeypatch)
    made = headline.of_study("GCN on Cora", of_study(outcomes_of(read_study(study))))
    assert made is not None
    assert (made.before, made.after, made.device) == ("fp32", "dq-int8", "A CPU")
    # Both seeds lose one point exactly: the spread of the loss is none, though the two seeds differ by two points.
    assert numbers(made) == {
        "file size": "3.3x smaller",
        "latency": "1.5x ± 0.0 faster",
        "accuracy": "\N{MINUS SIGN}1.0 ± 0.0 points",
        "energy": "1.0x ± 0.0 as before",
    }
    assert [step.unsure for step in made.steps] == [False, False, False, True]
    assert made.caveats == ("* short windows", "‡ busy machine", "~ energy estimated by a model")
    assert "over 2 seeds" in made.why


def test_of_two_records():
    (made,) = headline.of_records(of_records(records()))
    assert made.subject == "Cora (1,000 rows)"
    assert numbers(made) == {
        "file size": "3.0x smaller",
        "latency": "2.0x faster",
        "accuracy": "\N{MINUS SIGN}0.5 points",
        "energy": "1.0x as before",
    }
    repeated = records()
    repeated = [
        msgspec.structs.replace(r, latency_ms=msgspec.structs.replace(r.latency_ms, repeats=[p * f for f in (1, 1.1)]))
        for r, p in zip(repeated, (2.0, 1.0), strict=True)
    ]
    (made,) = headline.of_records(of_records(repeated))
    assert numbers(made)["latency"] == "2.0x ± 0.2 faster"
    assert "over processes" in made.why


def test_a_slower_model_is_said_to_be_slower():
    slow, fast = records()[1], records()[0]
    swapped = [msgspec.structs.replace(slow, recipe="none"), msgspec.structs.replace(fast, recipe="dq-int8")]
    (made,) = headline.of_records(of_records(swapped))
    assert numbers(made)["file size"] == "3.0x larger"
    assert numbers(made)["latency"] == "2.0x slower"
    assert [(step.worse, step.unsure) for step in made.steps] == [(True, False)] * 2 + [(False, False), (False, True)]


def test_of_an_error_the_change_is_a_share_of_it():
    of_errors = [
        msgspec.structs.replace(r, metric=Metric(name="mae", value=v, n=9))
        for r, v in zip(records(), (0.5, 0.6), strict=True)
    ]
    (made,) = headline.of_records(of_records(of_errors))
    assert numbers(made)["MAE"] == "+20.0 %"
    assert [step.worse for step in made.steps] == [False, False, True, False]


def test_a_difference_that_two_runs_may_have_is_no_gain():
    close = records()
    faster = msgspec.structs.replace(close[1].latency_ms, p50=1.93)
    (made,) = headline.of_records(of_records([close[0], msgspec.structs.replace(close[1], latency_ms=faster)]))
    step = made.steps[1]
    assert (step.large, step.doubt) == ("1.0x", "(runs differ by as much)")
    assert made.steps[0].doubt == ""


def test_energies_of_two_sources_and_emulated_times_are_no_step():
    energy = records()[0].energy_j
    other = records(energy_j=msgspec.structs.replace(energy, source="another meter"))
    (made,) = headline.of_records(of_records(other))
    assert "energy" not in numbers(made)
    (made,) = headline.of_records(of_records(records(emulated="by a program")))
    assert list(numbers(made)) == ["file size", "accuracy"]
    assert made.device == ""


def test_two_float_models_make_no_headline():
    pair = records()
    twin = msgspec.structs.replace(pair[0], artifact="c", model_sha256="c" * 64)
    assert headline.of_records(of_records([*pair, twin])) == []


def test_the_page_and_the_card(tmp_path):
    from PIL import Image

    source = write_records(tmp_path / "p", records())
    made = write([source], tmp_path / "r.html", card=tmp_path / "card.png")
    assert made.card == tmp_path / "card.png"
    page = Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    page.check()
    assert "Cora (1,000 rows): fp32 → dq-int8" in page.texts["h3"]
    assert page.texts["b"] == ["3.0x", "2.0x", "\N{MINUS SIGN}0.5", "1.0x"]
    with Image.open(io.BytesIO(Path(made.card).read_bytes())) as image:
        assert image.size == (1200, 630)
        assert len(image.convert("RGB").getcolors(1 << 24)) > 10
    drawn = draw_card(made.contents.headlines[0], "edgegnn").svg.decode()
    assert all(f">{text}<" in drawn for text in ("3.0x", "2.0x", "\N{MINUS SIGN}0.5"))


def test_a_card_that_is_there_is_kept(tmp_path, capsys, monkeypatch):
    (tmp_path / "card.png").touch()
    source = write_records(tmp_path / "p", records())
    code, _, err = run(
        capsys, monkeypatch, "report", source, "-o", tmp_path / "r.html", "--card", tmp_path / "card.png"
    )
    assert code == 2
    assert "card.png exists: choose another place with --card, or replace it with --force" in err


def test_a_card_without_a_headline_is_refused(tmp_path):
    source = write_records(tmp_path / "p", records()[:1])
    with pytest.raises(UsageError, match="nothing for --card: it needs a float model and a smaller one"):
        write([source], tmp_path / "r.html", card=tmp_path / "card.png")
    with pytest.raises(UsageError, match=r"a card is a \.png or a \.svg"):
        write([source], tmp_path / "r.html", card=tmp_path / "card.gif")
    assert not list(tmp_path.glob("r.html"))
