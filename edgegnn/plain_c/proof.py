"""`edgegnn verify` of an artifact with a C form: c/ and web/ are compared with the model, compiled and run, too."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import edgegnn
from edgegnn.errors import ArtifactError, ExportError
from edgegnn.manifest import typed_manifest
from edgegnn.plain_c.compiler import Program, compile_model, find_compiler
from edgegnn.plain_c.generate import PlainC
from edgegnn.plain_c.own import fitting_samples, own_code, stale_files, with_samples
from edgegnn.plain_c.web.proof import prove_web
from edgegnn.runtime import Artifact, VerifyReport, open_artifact
from edgegnn.runtime import verify as verify_model
from edgegnn.runtime.proof import judge
from edgegnn.runtime.samples import Sample

__all__ = ["CProof", "prove_code", "verify"]


def verify(path: Path, *, runtime: str | None = None) -> VerifyReport:
    """Prove an artifact, and its C form where it has one.

    Args:
        path: its folder or zip.
        runtime: as in `open_artifact`.

    Raises:
        ArtifactError: it can't be opened, or its model can't be loaded or run.
    """
    opened = open_artifact(path, runtime=runtime)
    report, proof = verify_model(opened), prove_code(opened)
    if proof is None:
        return report
    problems = [f"C form: {proof.problem}"] if proof.problem else []
    problems += [f"web form: {proof.web_problem}"] if proof.web_problem else []
    return replace(report, problems=(*report.problems, *problems), c_form=proof.said, web_form=proof.web_said)


@dataclass(frozen=True)
class CProof:
    """What `verify` found of the C form.

    Attributes:
        problem: what doesn't hold, in one line; "" where it holds, or can't be told.
        said: what was done, or why nothing was.
        web_problem: the same of the WebAssembly form.
        web_said: the same of it; "" where there is none.
    """

    problem: str
    said: str
    web_problem: str = ""
    web_said: str = ""


def prove_code(artifact: Artifact) -> CProof | None:
    """Compile the C form that this edgegnn makes of an artifact's model, and run the shipped graphs.

    Files in c/ that differ from it are not run: they are stale, or by another edgegnn.

    Returns:
        None for an artifact without a C form.
    """
    facts = typed_manifest(artifact.manifest.raw)
    if facts.c is None:
        return None
    try:
        code = own_code(artifact)
        used, beyond = fitting_samples(artifact, code)
    except ArtifactError as error:
        return CProof(str(error), "")
    stale = stale_files(artifact, code)
    if stale and facts.versions.get("edgegnn") != edgegnn.__version__:
        return CProof(
            "", f"not run: another edgegnn ({facts.versions.get('edgegnn', 'unknown')[:20]}) wrote {stale[0]}"
        )
    if stale:
        return CProof(
            f"{stale[0]} is not what model.onnx gives: c/ is stale or changed, export with --format c again", ""
        )
    proof = _compiled(artifact, code, used, beyond)
    if facts.web is None:
        return proof
    problem, said = prove_web(artifact, code, used, beyond)
    return replace(proof, web_problem=problem, web_said=said)


def _compiled(artifact: Artifact, code: PlainC, used: tuple[Sample, ...], beyond: int) -> CProof:
    """Compile the C form and run the shipped graphs within its limits."""
    compiler = find_compiler()
    if compiler is None:
        return CProof("", "not run: no C compiler here (apt-get install gcc, or pip install 'edgegnn[cross]')")
    try:
        with tempfile.TemporaryDirectory(prefix="edgegnn-c-") as place:
            program = Program(code, compile_model(code, Path(place), compiler))
            outputs = [program.run(sample.inputs) for sample in used]
    except ExportError as error:
        return CProof(str(error), "")
    problems = judge(with_samples(artifact, used, beyond).manifest, list(used), outputs).problems
    left = f", {beyond} are beyond its limits" * bool(beyond)
    return CProof(problems[0] if problems else "", f"compiled and run on {len(used)} graphs{left}")
