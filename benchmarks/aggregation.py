"""Summing over neighbours: our kernels against PyTorch's and ONNX Runtime's, and against what the machine can do.

    python benchmarks/aggregation.py            # about 15 minutes on 2 cores; --quick: 2 minutes
    python benchmarks/aggregation.py --quick --threads 2

Graphs are made here, seeded: power-law in-degrees with 100,000 nodes and 2 million edges (sources uniform: the worst
case for caches; --skewed-sources for the same law), the sizes of Cora and of molecules. All contenders get the same
numbers, and every result is checked against float64 sums before it is timed. ONNX Runtime's sessions, ours too, run
with inputs and outputs bound; PyTorch allocates its result, as it does for a user. Sums start from CSR where the
contender takes one (torch CSR, ours); what CSR costs is the second table. Peers in C (`peers.c`): a plain serial
counting sort, and the time it takes just to read all rows that an aggregation reads, the machine's limit.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import aggregation_cases as cases
import compiled
import torch
from common import environment, write
from graphs import Graph, cora_size, large, molecules, power_law
from tables import Goal, goals_table, ms, table, times
from timing import FULL, QUICK, Plan, take_turns
from workers import Row, Rows, finder, ratio, run_workers, say, unquiet

LARGE = "100k/2M"
WIDTHS = (16, 64, 128)
GROWTH = (10_000, 100_000, 1_000_000, 10_000_000)
TABLE_NODES = 2_000  # 512 KB of float32 rows: in the L2 cache of any machine this is for
DEGREE = 20
GROWING = (cases.TORCH_CSR, cases.SPMM, cases.SPMM_WEIGHTED, cases.QSPMM, cases.QSPMM_WEIGHTED)
WRONG = {"codes": 1.0, "float": 10.0}  # one step; 1e-4 of the largest sum


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="fewer turns and graphs; the result is marked")
    parser.add_argument(
        "--skewed-sources", action="store_true", help="out-degrees of the large graph follow the law too"
    )
    parser.add_argument("--worker", nargs=2, metavar=("THREADS", "FILE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        measure(int(args.worker[0]), Rows(Path(args.worker[1])), quick=args.quick, skewed=args.skewed_sources)
        return
    if compiled.load() is None:
        print("no C compiler: the counting sort and the bandwidth of random rows are left out")
    flags = [f for f, on in (("--quick", args.quick), ("--skewed-sources", args.skewed_sources)) if on]
    rows = run_workers(args.threads, flags)
    result = {
        "environment": environment(),
        "threads": args.threads,
        "quick": args.quick,
        "quiet": not unquiet(rows),
        "skewed_sources": args.skewed_sources,
        "goals": [vars(g) for g in (*goals(rows, max(args.threads)), *shares(rows, max(args.threads)))],
        "rows": rows,
    }
    print(report(rows, args.threads))
    name = "quick/" * args.quick + "aggregation" + "-skewed" * args.skewed_sources
    print(f"\nwritten to {write(name, result)}")


# Measuring ------------------------------------------------------------


def measure(threads: int, out: Rows, *, quick: bool, skewed: bool) -> None:
    """Everything with one thread count."""
    torch.set_num_threads(threads)
    plan = QUICK if quick else FULL
    big = large(skewed_sources=skewed)
    small = [cora_size(), molecules(128), molecules(1)]
    widths = {big.name: (64,) if quick else WIDTHS, small[0].name: (64,) if quick else WIDTHS}
    for graph in (big, *small):
        for width in widths.get(graph.name, (64,)):
            out.add(_timed("sum", graph, cases.sums(graph, width, threads), threads, plan, width=width))
    for graph in (big, *small):
        out.add(_timed("csr", graph, cases.sorts(graph, threads), threads, plan))
    for edges in GROWTH[: 3 if quick else 4]:
        for kind, nodes in (("table", TABLE_NODES), ("degree", edges // DEGREE)):
            graph = power_law(nodes, edges, name=f"{kind} {edges}")
            made = cases.sums(graph, 64, threads, only=GROWING)
            out.add(_timed(f"growth-{kind}", graph, made, threads, plan, width=64))
            made = cases.sorts(graph, threads, only=(cases.SORT_C, cases.CSR_UNSORTED))
            out.add(_timed(f"growth-{kind}", graph, made, threads, plan))
    for width in widths[LARGE]:
        for label, size in (("f32", 4), ("u8", 1)):
            found = compiled.read_rows(big.csr[1], big.nodes, width * size, threads, 3 if quick else 9)
            if found is not None:
                say(f"{threads} threads, reading {width * size}-byte rows: {found:.2f} ms")
                row = {"kind": "roof", "graph": big.name, "width": width, "threads": threads, "contender": label}
                out.add([{**row, "min_ms": found, "gb_per_s": big.edges * width * size / found / 1e6}])


def _timed(
    kind: str,
    graph: Graph,
    made: dict[str, cases.Contender | str],
    threads: int,
    plan: Plan,
    **fields: Any,
) -> list[Row]:
    """Check and time the contenders of one case; a row each, also for those that are not there or wrong."""
    common = {"kind": kind, "graph": graph.name, "nodes": graph.nodes, "edges": graph.edges, "threads": threads}
    rows: dict[str, Row] = {name: {**common, **fields, "contender": name} for name in made}
    calls = {}
    for name, contender in made.items():
        if isinstance(contender, str):
            rows[name]["missing"] = contender
            continue
        try:
            contender.call()
            rows[name]["error"] = error = contender.error()
        except Exception as failure:
            rows[name]["missing"] = f"{type(failure).__name__}: {str(failure).splitlines()[0][:300]}"
            continue
        if error <= WRONG["codes" if "→u8" in name else "float"]:
            calls[name] = contender.call
        else:
            rows[name]["missing"] = f"wrong result: {error:g} times what may differ"
    for name, timing in take_turns(calls, plan).items():
        rows[name] |= timing.to_dict()
    done = ", ".join(f"{n} {ms(rows[n]['median_ms'])}" for n in calls)
    say(f"{threads} threads, {kind}, {graph.name}, {fields}: {done}")
    return list(rows.values())


# Reporting ------------------------------------------------------------


def goals(rows: list[Row], threads: int) -> list[Goal]:
    """The ratios that were set for this project, on the large graph."""
    find = finder(rows)

    def at(contender: str, width: int = 64, count: int = threads) -> float | None:
        return find(kind="sum", graph=LARGE, width=width, threads=count, contender=contender)

    def csr(contender: str) -> float | None:
        return find(kind="csr", graph=LARGE, threads=threads, contender=contender)

    found = []
    for ours, limits in ((cases.SPMM, (180, 28, 3.5)), (cases.QSPMM, (900, 140, 17))):
        for peer, limit in zip((cases.ORT_SCATTER, cases.TORCH_SCATTER, cases.TORCH_CSR), limits, strict=True):
            found.append(Goal(f"{ours}, F = 64", peer, ratio(at(peer), at(ours)), limit))
    for width, limit in ((64, 4.7), (128, 9)):
        found.append(
            Goal(f"{cases.QSPMM}, F = {width}", cases.SPMM, ratio(at(cases.SPMM, width), at(cases.QSPMM, width)), limit)
        )
    weighted = ratio(at(cases.SPMM_WEIGHTED), at(cases.QSPMM_WEIGHTED))
    found.append(Goal(f"{cases.QSPMM_WEIGHTED}, F = 64", cases.SPMM_WEIGHTED, weighted, 3))
    found.append(
        Goal("CooToCsr, 2M unsorted edges", cases.SORT_C, ratio(csr(cases.SORT_C), csr(cases.CSR_UNSORTED)), 2)
    )
    if threads > 1:
        for ours in (cases.SPMM, cases.SPMM_WEIGHTED, cases.QSPMM, cases.QSPMM_WEIGHTED):
            faster = ratio(at(ours, count=1), at(ours))
            found.append(Goal(f"{ours}, F = 64, {threads} threads", "1 thread", faster, 1.7))
    return found


def shares(rows: list[Row], threads: int) -> list[Goal]:
    """How much of the bandwidth of random rows the kernels use: time just to read the rows / time of the kernel."""
    medians, roofs = finder(rows), finder(rows, "min_ms")
    found = []
    for width in WIDTHS[1:]:
        for label, ours in (("f32", cases.SPMM), ("u8", cases.QSPMM)):
            where = {"graph": LARGE, "width": width, "threads": threads}
            used = ratio(roofs(kind="roof", contender=label, **where), medians(kind="sum", contender=ours, **where))
            found.append(Goal(f"{ours}, F = {width}, {threads} threads", "reading the rows", used, 0.7))
    for ours in (cases.SPMM, cases.QSPMM):
        spent = [v for v in _ns_an_edge(rows, "growth-table", ours, threads).values() if v is not None]
        even = min(spent) / max(spent) if len(spent) > 1 else None
        found.append(Goal(f"{ours}, {TABLE_NODES:,} nodes: dearest edge", "cheapest, 10k to 10M edges", even, 0.5))
    return found


def _ns_an_edge(rows: list[Row], kind: str, contender: str, threads: int) -> dict[int, float | None]:
    """Edges -> nanoseconds an edge."""
    find = finder(rows)
    graphs = dict.fromkeys((r["graph"], r["edges"]) for r in rows if r["kind"] == kind)
    spent = {e: find(kind=kind, graph=g, threads=threads, contender=contender) for g, e in graphs}
    return {e: None if v is None else 1e6 * v / e for e, v in spent.items()}


def report(rows: list[Row], threads: list[int]) -> str:
    """All tables."""
    parts = []
    for count in threads:
        parts.append(f"\n## Sums over neighbours, median ms, {count} threads\n\n{_sums_table(rows, count)}")
        parts.append(f"\n## Edge list to CSR, median ms, {count} threads\n\n{_csr_table(rows, count)}")
    parts.append(f"\n## Ratios, {max(threads)} threads\n\n{_ratio_table(rows, max(threads))}")
    parts.append(f"\n## Nanoseconds an edge, F = 64, {max(threads)} threads\n\n{_growth_table(rows, max(threads))}")
    parts.append(f"\n## Random-row bandwidth, {LARGE}\n\n{_roof_table(rows, threads)}")
    parts.append(f"\n## To reach, {max(threads)} threads\n\n{goals_table(goals(rows, max(threads)))}")
    parts.append(goals_table(shares(rows, max(threads)), share=True))
    missing = sorted({f"{r['contender']}: {r['missing']}" for r in rows if "missing" in r})
    if missing:
        parts.append("\nEmpty cells: " + "; ".join(missing))
    return "\n".join([*unquiet(rows), *parts, *unquiet(rows)])


def _cases(rows: list[Row], kind: str) -> list[tuple[str, Any, int]]:
    """Graph, width and edges of each case of a kind, in the order measured."""
    return list(dict.fromkeys((r["graph"], r.get("width"), r["edges"]) for r in rows if r["kind"] == kind))


def _load(rows: list[Row], **where: Any) -> str:
    found = [r for r in rows if "load" in r and all(r.get(k) == v for k, v in where.items())]
    others = [r["others"] for r in found if r["others"] is not None]
    return f"{found[0]['load']:.1f}" + (f" / {100 * max(others):.0f} %" if others else "") if found else ""


def _sums_table(rows: list[Row], threads: int) -> str:
    find = finder(rows)
    lines = []
    for graph, width, _ in _cases(rows, "sum"):
        where = {"kind": "sum", "graph": graph, "width": width, "threads": threads}
        values = [ms(find(**where, contender=c)) for c in cases.SUMS]
        lines.append([f"{graph}, F = {width}", _load(rows, **where), *values])
    return table(["graph", "load / others", *cases.SUMS], lines)


def _csr_table(rows: list[Row], threads: int) -> str:
    find = finder(rows)
    lines = []
    for graph, _, edges in _cases(rows, "csr"):
        where = {"kind": "csr", "graph": graph, "threads": threads}
        values = [ms(find(**where, contender=c)) for c in cases.SORTS]
        lines.append([f"{graph}, {edges:,} edges", _load(rows, **where), *values])
    return table(["graph", "load / others", *cases.SORTS], lines)


def _ratio_table(rows: list[Row], threads: int) -> str:
    find = finder(rows)
    lines = []
    for graph, width, _ in _cases(rows, "sum"):
        found = {c: find(kind="sum", graph=graph, width=width, threads=threads, contender=c) for c in cases.SUMS}
        line = [f"{graph}, F = {width}"]
        for ours in (cases.SPMM, cases.QSPMM):
            for peer in (cases.TORCH_SCATTER, cases.TORCH_CSR, cases.ORT_SCATTER):
                line.append(times(ratio(found[peer], found[ours])))
        line.append(times(ratio(found[cases.SPMM], found[cases.QSPMM])))
        line.append(times(ratio(found[cases.SPMM_WEIGHTED], found[cases.QSPMM_WEIGHTED])))
        lines.append(line)
    peers = ("torch scatter_add", "torch CSR", "ORT Scatter")
    head = [f"{ours} / {peer}" for ours in ("f32", "u8") for peer in peers]
    return table(["graph", *head, "u8 / f32", "weighted u8 / f32"], lines)


def _growth_table(rows: list[Row], threads: int) -> str:
    names = (*GROWING, cases.SORT_C, cases.CSR_UNSORTED)
    lines = []
    for kind, what in (("growth-table", f"{TABLE_NODES:,} nodes"), ("growth-degree", f"{DEGREE} edges a node")):
        columns = [_ns_an_edge(rows, kind, name, threads) for name in names]
        for edges in columns[0]:
            spent = [column[edges] for column in columns]
            lines.append([f"{what}, {edges:,} edges", *("" if v is None else f"{v:.2f}" for v in spent)])
        if columns[0]:
            known = [[v for v in column.values() if v is not None] for column in columns]
            lines.append([f"{what}: largest / smallest", *(times(max(v) / min(v)) if v else "" for v in known)])
    return table(["graph", *names], lines)


def _roof_table(rows: list[Row], threads: list[int]) -> str:
    medians, fastest = finder(rows), finder(rows, "min_ms")
    lines = []
    for roof in (r for r in rows if r["kind"] == "roof"):
        where = {"kind": "sum", "graph": roof["graph"], "width": roof["width"], "threads": roof["threads"]}
        kernel = cases.SPMM if roof["contender"] == "f32" else cases.QSPMM
        used = [ratio(roof["min_ms"], find(contender=kernel, **where)) for find in (medians, fastest)]
        lines.append(
            [
                f"{kernel}, F = {roof['width']}",
                roof["threads"],
                ms(roof["min_ms"]),
                f"{roof['gb_per_s']:.1f}",
                *(ms(find(contender=kernel, **where)) for find in (medians, fastest)),
                *("" if u is None else f"{100 * u:.0f} %" for u in used),
            ]
        )
    head = ["kernel", "threads", "reading ms", "GB/s", "median ms", "min ms", "share, median", "share, min"]
    return table(head, lines) if lines else f"not measured with {threads} threads: no C compiler"


if __name__ == "__main__":
    main()
