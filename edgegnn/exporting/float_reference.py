"""The artifact against the user's float model: what quantization costs, and whether every input still counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn
from torch.export import ExportedProgram
from torch_geometric.data import Data

from edgegnn.errors import ExportError
from edgegnn.exporting.formats import Form
from edgegnn.exporting.input_response import Run, check_follows, variations
from edgegnn.exporting.metamorphic import Held, Kept
from edgegnn.exporting.parity import check_parity, spread, tolerance_for, torch_outputs
from edgegnn.exporting.rounding import rounded_otherwise
from edgegnn.exporting.sample_facts import counted_outputs, labels_of
from edgegnn.exporting.samples import Sample, example_inputs, tensors_of
from edgegnn.exporting.signal_to_noise import (
    DEFAULT_LIMIT,
    Drop,
    Layer,
    check_drop,
    check_noise,
    check_outputs,
    layer_noise,
    measure_drop,
    noise_floor,
    signal_to_noise,
    twin_noise,
    worst_output,
)
from edgegnn.exporting.subgraphs import probe
from edgegnn.manifest import AgainstFloat, InputResponse, LayerNoise, Noise
from edgegnn.quantize import QuantModel, Recipe
from edgegnn.runtime.roles import EDGES, role_of
from edgegnn.tasks import Task

__all__ = ["Proof"]

Array = npt.NDArray[np.generic]
Model = nn.Module | ExportedProgram
_GRAPHS = 16
# Of the largest output, how far answers may move for nothing: by sums in another order, and by a code here and there.
_SUMS, _CODES, _COARSE_CODES = 1e-4, 0.05, 0.15


@dataclass(frozen=True)
class _Others:
    """Graphs with other values of one input.

    Attributes:
        samples: the graphs.
        expected: outputs of the model that is exported.
        plain: outputs of the same weights without quantization.
    """

    samples: list[Sample]
    expected: list[npt.NDArray[np.float32]]
    plain: list[npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Proof:
    """What an artifact is compared with.

    Attributes:
        model: what is exported.
        reference: the user's float model, where `model` was fine-tuned from it; None where it isn't known.
        task: the data.
        recipe: how the model is quantized.
        limit: the largest drop of the metric, in points; None for the default.
        fixed: the model is for one graph with its own nodes.
    """

    model: Model
    reference: Model | None
    task: Task
    recipe: Recipe
    limit: float | None = None
    fixed: bool = False

    def against_float(
        self, form: Form, names: tuple[str, ...], held_out: list[Sample], answers: list[Any]
    ) -> AgainstFloat | None:
        """Compare a form with the float model, and say what was found, for the manifest; None for a float artifact.

        Args:
            form: the artifact's.
            names: inputs of the model; the artifact has the same, without the edges of a constant graph.
            held_out: the validation split.
            answers: the artifact's outputs on it.

        Raises:
            ParityError: an input doesn't count any more, or quantization costs too much.
        """
        given = [value["name"] for value in form.io["inputs"]]

        def run(inputs: dict[str, Array]) -> Any:
            return form.run({name: value for name, value in inputs.items() if name in given})

        bases = self.bases(names, any_edges=self._takes_edges(given))
        others = self._others(bases, given)
        changed = [sample for other in others.values() for sample in other.samples]
        if not self.recipe.does.post_training:
            self._check_equal(run, changed, [out for other in others.values() for out in other.expected])
        if not self.recipe.does.quantizes:
            return None
        layers = self._layers(form, bases[0])
        plain = self._plain(held_out)
        noise = signal_to_noise(np.concatenate(plain), np.concatenate(answers)) if held_out else None
        elsewhere = [run(sample.inputs) for sample in changed]
        meant = [out for other in others.values() for out in other.plain]
        random = signal_to_noise(np.concatenate(meant), np.concatenate(elsewhere)) if changed else None
        floor = noise_floor(self.recipe)
        known, drop = self._metric(held_out, answers, plain)
        check_drop(drop, layers)
        samples = {name: other.samples for name, other in others.items()}
        followed = check_follows(bases, samples, lambda inputs: self._plain([replace(bases[0], inputs=inputs)])[0], run)
        if drop is None or drop.points > drop.limit:  # no metric, or a loss on too few rows to tell it from chance
            check_noise(noise, floor, layers, "the validation split")
            if not self.fixed:
                check_noise(random, floor, layers, "graphs with other inputs")
        if changed and not self.fixed:
            worst = worst_output(np.concatenate(meant), np.concatenate(elsewhere))
            check_outputs(worst, self.recipe, layers, "graphs with other inputs")
        return AgainstFloat(
            reference=known,
            metric=None if drop is None else drop.described(),
            signal_to_noise=Noise(
                outputs=_rounded(noise),
                other_inputs=_rounded(random),
                floor=floor,
                layers=[LayerNoise(layer=layer.name, decibels=_rounded(layer.decibels)) for layer in layers],
            ),
            inputs=[InputResponse(**each.to_dict()) for each in followed],
        )

    def properties(self, form: Form, names: tuple[str, ...]) -> list[Kept]:
        """Hold a form to the properties of the float model (`edgegnn.exporting.metamorphic`).

        Args:
            form: the artifact's.
            names: inputs of the model.

        Raises:
            ExportError: the artifact doesn't keep one.
        """
        if not self._takes_edges([value["name"] for value in form.io["inputs"]]):
            return []  # its edges are constants, or found in the model, or of several types
        if any(role_of(self.task.roles, name).of_items for name in names):
            return []  # other orders of edges have other numbers

        def limit(want: npt.NDArray[np.float32]) -> float:
            coarse = self.recipe.does.learns_bits or self.recipe.fewest_bits < 8
            share = _SUMS if not self.recipe.does.quantizes else _COARSE_CODES if coarse else _CODES
            return share * max(1.0, float(np.abs(want).max(initial=0.0)))

        def sway(sample: Sample) -> float:
            first, *others = rounded_otherwise(self.model, sample)
            return 4 * max(float(np.abs(other - first).max(initial=0.0)) for other in others)

        held = Held(
            self.task.spec.kind,
            lambda sample: self._plain([sample])[0],
            form.run,
            limit,
            sway,
            own_ranges=self.recipe.method == "dynamic",
            fixed=self.fixed,
        )
        return held.check(self.bases(names, any_edges=True))

    def _takes_edges(self, given: Sequence[str]) -> bool:
        """Whether the artifact takes the edges between nodes of one type, under any name."""
        return any(role_of(self.task.roles, name) == EDGES for name in given)

    def bases(self, names: tuple[str, ...], *, any_edges: bool) -> list[Sample]:
        """Real graphs: small ones, if the model takes any."""
        if self.task.many:
            if "batch" in names:
                return [probe(self.task, names, _GRAPHS)]
            first = self.task.index["train"].tolist()[:_GRAPHS]
            return [self._sample(f"train/{i}", names, self.task.graphs[i]) for i in first]
        if self.fixed or not any_edges:
            return [self._sample("probe", names, self.task.graphs[0])]
        return [probe(self.task, names)]

    def _sample(self, name: str, names: tuple[str, ...], graph: Data) -> Sample:
        return Sample(name, "data", example_inputs(names, graph), roles=self.task.roles)

    def _others(self, bases: list[Sample], given: list[str]) -> dict[str, _Others]:
        """The graphs with other values of each input of the artifact, where the model itself runs on them."""
        changed = [variations(base, seed) for seed, base in enumerate(bases)]
        found = {}
        for name in given:
            samples = [each.get(name, base) for each, base in zip(changed, bases, strict=True)]
            if not any(name in each for each in changed):
                continue
            try:
                expected = torch_outputs(self.model, samples)
                plain = self._plain(samples) if isinstance(self.model, QuantModel) else expected
            except ExportError:
                continue
            found[name] = _Others(samples, expected, plain)
        return found

    def _check_equal(self, run: Run, samples: list[Sample], expected: list[npt.NDArray[np.float32]]) -> None:
        """The artifact computes what its PyTorch model computes on other inputs, too."""
        if samples:
            check_parity(
                run,
                samples,
                expected,
                tolerance_for(self.recipe, expected, None, self._deviation(expected)),
                target=self.task.spec.target,
                rounding=lambda sample: rounded_otherwise(self.model, sample),
            )

    def _deviation(self, expected: list[npt.NDArray[np.float32]]) -> list[float] | None:
        """Standard deviation of each column, for outputs that are numbers."""
        spec = self.task.spec
        return spec.scale.get("std") if spec.labelled else spread(expected)

    def _plain(self, samples: list[Sample]) -> list[npt.NDArray[np.float32]]:
        """Outputs of the model with the same weights, without quantization."""
        with _points_off(self.model) as model:
            return torch_outputs(model, samples)

    def _layers(self, form: Form, base: Sample) -> list[Layer]:
        if isinstance(self.model, QuantModel):
            return layer_noise(self.model, tensors_of(base))
        return twin_noise(*form.twins, base.inputs) if form.twins is not None else []

    def _metric(self, held_out: list[Sample], answers: list[Any], plain: list[Any]) -> tuple[str, Drop | None]:
        """Words for the float model, and how far the metric drops from it to the artifact."""
        spec = self.task.spec
        if not held_out or not any(sample.label is not None for sample in held_out):
            return "the float model", None
        known = "the float model" if self.reference is None else "the float model before fine-tuning"
        limit = DEFAULT_LIMIT if self.limit is None else self.limit
        if isinstance(self.model, QuantModel) and self.reference is None:
            # Trained with its points from the start: there is no float model whose metric could be lost.
            known, limit = "its own weights without quantization", float("inf")
        plain = plain if self.reference is None else torch_outputs(self.reference, held_out)
        before, after = (counted_outputs(held_out, outputs) for outputs in (plain, answers))
        return known, measure_drop(spec.metric, labels_of(held_out), before, after, limit, spec.scale.get("std"))


@contextmanager
def _points_off(model: Model) -> Iterator[Model]:
    if not isinstance(model, QuantModel):
        yield model
        return
    with model.as_float() as plain:
        yield plain


def _rounded(decibels: float | None) -> float | None:
    return None if decibels is None else round(decibels, 2)
