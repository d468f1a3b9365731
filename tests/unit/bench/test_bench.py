"""EdgeGNN-Bench: tasks, data from seeds, files of results, comparing, pictures, and the command's checks."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from bench_example import bundle, points, row, task_file
from torch_geometric.data import HeteroData

from edgegnn.bench import generated
from edgegnn.bench.card import draw_card, speedups
from edgegnn.bench.comparing import compare_bundles, geometric_mean
from edgegnn.bench.files import Score, read_bundle, write_json
from edgegnn.bench.long_run import draw_long_run, judge_long_run
from edgegnn.bench.output import write_results
from edgegnn.bench.readme import task_readme
from edgegnn.bench.runners import RUNNERS, choose_runners
from edgegnn.bench.tasks import TASKS, choose
from edgegnn.cli.bench import asked, duration
from edgegnn.devices import load_target
from edgegnn.errors import DataError, UsageError
from edgegnn.exporting.samples import Sample
from edgegnn.exporting.subgraphs import part_of
from edgegnn.quantize import recipe
from edgegnn.runtime.roles import ROLES


def test_tasks_are_chosen_in_the_benchmarks_order() -> None:
    assert [task.name for task in choose(["proteins-gin, cora-gcn"])] == ["cora-gcn", "proteins-gin"]
    assert choose([]) == list(TASKS.values())
    with pytest.raises(UsageError, match=r"unknown task 'cora-gnc' \(did you mean cora-gcn\?\)"):
        choose(["cora-gnc"])
    assert all(recipe(task.recipe).name == task.recipe for task in TASKS.values())
    assert [task.name for task in TASKS.values() if task.open] == ["traffic-gru"]


def test_generated_data_depend_on_the_seed_alone() -> None:
    makers = ("citations", "payments", "clouds", "traffic", "proteins", "molecules")
    for name in makers:
        make = getattr(generated, name)
        one, same, other = make(0), make(0), make(1)
        one, same, other = (g[3] if isinstance(g, list) else g for g in (one, same, other))
        assert torch.equal(one.x, same.x), name
        assert one.x.shape != other.x.shape or not torch.equal(one.x, other.x), name
    library = generated.library(0)
    assert isinstance(library, HeteroData)
    assert library["paper"].x.dtype == torch.float32
    for relation in generated.RELATIONS:
        edges = library[relation].edge_index
        assert int(edges[0].max()) < library[relation[0]].num_nodes
        assert int(edges[1].max()) < library[relation[2]].num_nodes


def test_part_of_a_graph_of_several_types_without_labels() -> None:
    node, edges = ROLES["node"], ROLES["edges"]
    inputs = {
        "x.a": np.zeros((3, 2), np.float32),
        "x.b": np.zeros((2, 2), np.float32),
        "edge_index.ab": np.array([[0, 2], [1, 0]]),
    }
    roles = {
        "x.a": node.sized("num_nodes.a"),
        "x.b": node.sized("num_nodes.b"),
        "edge_index.ab": edges.sized("num_edges.ab", ("num_nodes.a", "num_nodes.b")),
    }
    part = part_of(Sample("probe", "data", inputs, roles=roles), np.array([0, 1, 4]), "part")
    assert part.inputs["x.a"].shape == (2, 2)
    assert part.inputs["edge_index.ab"].tolist() == [[0], [0]]


def test_quality_of_errors_and_accuracies() -> None:
    accuracy, error = Score(name="accuracy", value=0.8, n=10), Score(name="mae", value=0.2, n=10)
    assert Score(name="accuracy", value=0.6, n=10).share_of(accuracy) == pytest.approx(0.75)
    assert Score(name="mae", value=0.4, n=10).share_of(error) == pytest.approx(0.5)
    assert Score(name="mae", value=0.0, n=10).share_of(Score(name="mae", value=0.0, n=10)) == 1.0


def test_results_are_read_as_written_and_not_when_changed(tmp_path: Path) -> None:
    made = bundle(row("cora-gcn", "edgegnn", 1.0), row("cora-gcn", "eager", 8.0))
    path = tmp_path / "results.json"
    write_json(made, path)
    assert read_bundle(path) == made
    changed = path.read_text().replace('"p50": 8.0', '"p50": 800.0')
    assert changed != path.read_text()
    path.write_text(changed)
    with pytest.raises(DataError, match="was changed after it was written"):
        read_bundle(path)
    path.write_text(json.dumps({"format": "edgegnn-profile/1"}))
    with pytest.raises(DataError, match="is not the results of `edgegnn bench`"):
        read_bundle(path)
    with pytest.raises(DataError, match="can't read"):
        read_bundle(tmp_path / "none.json")


def test_comparing_makes_ratios_of_the_same_data_only() -> None:
    old = bundle(row("cora-gcn", "edgegnn", 4.0), row("cora-gat", "edgegnn", 9.0), row("bbbp-gine", "edgegnn", 1.0))
    new = bundle(row("cora-gcn", "edgegnn", 1.0), row("cora-gat", "edgegnn", 1.0), quick=True)
    found = compare_bundles(old, new)
    assert [pair.ratio for pair in found.pairs] == [4.0, 9.0]
    assert found.ratio == pytest.approx(6.0)
    assert found.missing == ("bbbp-gine, edgegnn: in the older results only",)
    assert "the newer results have short windows (--quick)" in found.notes
    other = task_file("cora-gcn").data.__class__(name="citations", public=False, seed=0, sha256="e" * 64)
    apart = compare_bundles(old, bundle(row("cora-gcn", "edgegnn", 1.0), tasks=[task_file("cora-gcn", data=other)]))
    assert apart.pairs[0].ratio is None
    assert apart.pairs[0].notes == ("the data differ: no ratio is made",)
    assert geometric_mean([]) is None


def test_two_runners_alone_are_compared_whatever_they_are_called() -> None:
    found = compare_bundles(bundle(row("cora-gcn", "eager", 4.0)), bundle(row("cora-gcn", "edgegnn", 2.0)))
    assert found.pairs[0].runners == ("eager", "edgegnn")
    assert found.ratio == pytest.approx(2.0)


def test_the_card_is_a_picture_of_1200_by_630() -> None:
    rows = [row(name, runner, p50) for name in TASKS for runner, p50 in (("edgegnn", 0.5), ("eager", 6.0))]
    made = bundle(*rows)
    assert speedups(made, "eager") == dict.fromkeys(TASKS, 12.0)
    card = draw_card(made, "c" * 64)
    assert struct.unpack(">II", card.png[16:24]) == (1200, 630)
    text = card.svg.decode()
    for words in ("12x", "vs PyG eager", "A CPU", "edgegnn INT8", "results cccccccccccc"):
        assert words in text, words
    alone = draw_card(bundle(row("cora-gcn", "edgegnn", 0.5)), "c" * 64).svg.decode()
    assert "500 µs" in alone
    assert "vs " not in alone


def test_what_is_below_the_quality_counts_in_no_mean() -> None:
    good, bad = row("cora-gcn", "edgegnn", 1.0), row("proteins-gin", "edgegnn", 1.0, share=0.9, valid=False)
    made = bundle(good, row("cora-gcn", "eager", 4.0), bad, row("proteins-gin", "eager", 400.0))
    assert speedups(made, "eager") == {"cora-gcn": 4.0, "proteins-gin": 400.0}
    assert speedups(made, "eager", valid=True) == {"cora-gcn": 4.0}
    assert "below 99 %" in draw_card(made, "c" * 64).svg.decode()


def test_names_in_a_card_are_no_mathematics() -> None:
    made = bundle(row("cora-gcn", "edgegnn", 1.0), tasks=[task_file(title="Nodes: $x^2$ <b>")])
    assert "$x^2$ &lt;b&gt;" in draw_card(made, "c" * 64).svg.decode()


def test_a_long_run_that_slows_down_is_named() -> None:
    steady = judge_long_run(points(*[100.0] * 20))
    assert (steady.throttled, steady.kept) == (False, 1.0)
    assert steady.words == "not throttled: 100% of the first throughput at the end, 50 → 69 °C"
    hot = judge_long_run(points(*[100.0] * 10, *[70.0] * 10))
    assert hot.throttled
    assert hot.words.startswith("throttled by heat: 70%")
    unknown = judge_long_run(points(*[100.0] * 10, *[70.0] * 10, temperature=None))
    assert unknown.words == "slowed down: 70% of the first throughput at the end, no temperature sensor"
    firmware = judge_long_run(points(*[100.0] * 10, throttled="4"))
    assert firmware.words.startswith("throttled by the firmware (throttled)")


def test_pictures_and_results_are_written(tmp_path: Path) -> None:
    made = bundle(row("cora-gcn", "edgegnn", 1.0, sustained=points(100.0, 90.0)), sustained_s=2.0)
    written = write_results(made, tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"results.json", "card.svg", "card.png", "sustained.svg", "sustained.png"}
    assert {path.name for path in written.pictures} == names - {"results.json"}
    assert "90% kept" in draw_long_run(made).svg.decode()
    for seconds, unit in ((20.0, "seconds"), (600.0, "minutes")):
        drawn = draw_long_run(msgspec.structs.replace(made, sustained_s=seconds)).svg.decode()
        assert f"inferences a second, over {unit}" in drawn


def test_the_readme_of_a_task_says_what_counts() -> None:
    page = task_readme(task_file())
    assert "at least 0.7920 counts (99% of it)" in page
    assert "| `x` | float32 | [num_nodes, 3] | node |" in page
    error = task_readme(task_file(fp32=Score(name="mae", value=0.099, n=10), target="values"))
    assert "at most 0.1000 counts" in error


def test_runners_are_chosen_and_refused() -> None:
    assert [runner.name for runner in choose_runners([])] == ["edgegnn"]
    assert [runner.name for runner in choose_runners(["eager,c", "edgegnn"])] == ["eager", "c", "edgegnn"]
    with pytest.raises(UsageError, match=r"unknown runner 'eagre' \(did you mean eager\?\)"):
        choose_runners(["eagre"])
    with pytest.raises(UsageError, match="there is no module nowhere"):
        choose_runners(["nowhere:open_model"])
    far = load_target("rpi")
    assert RUNNERS["edgegnn"].refusal(far) == ""
    missing = dataclasses.replace(RUNNERS["openvino"], module="nosuchmodule")
    assert "needs the Python package nosuchmodule: pip install openvino" in missing.refusal(load_target("local"))
    assert RUNNERS["eager"].refusal(far) == "eager runs on this machine only, not on rpi"


def test_the_time_of_a_long_run() -> None:
    assert [duration(text) for text in ("10m", "90s", "90", "1.5h")] == [600.0, 90.0, 90.0, 5400.0]
    for text in ("ten", "0", "25h", "-5m", "1d"):
        with pytest.raises(UsageError, match="--sustained is a time like 10m"):
            duration(text)


def test_the_command_in_results_names_no_place_of_this_machine() -> None:
    said = asked(choose(["cora-gcn"]), choose_runners(["eager"]), "rpi", threads=1, quick=True, sustained="10m")
    assert said == "edgegnn bench --runner eager --tasks cora-gcn --target rpi --threads 1 --quick --sustained 10m"


def test_a_task_may_have_another_split_of_a_public_set(tmp_path):
    """By scaffold, BBBP's fp32 quality is hardly above chance."""
    from edgegnn.bench.prepare import data_source

    facts = task_file()
    assert data_source(tmp_path, facts).split is None
    other = msgspec.structs.replace(facts.data, name="bbbp", split=TASKS["bbbp-gine"].split)
    found = data_source(tmp_path, msgspec.structs.replace(facts, data=other))
    assert (found.data, found.split, found.split_seed) == ("bbbp", "random", 0)
