"""From a table of SMILES to an INT8 artifact that is asked about a new molecule. Needs `edgegnn[molecules]`.

    python molecules.py [molecules.csv]

The table has a column `smiles` and a column for each value to predict. Without one, a small table is made: alkanes,
alcohols, amines and acids with the logP that rdkit computes, in the place of your measurements.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from rdkit import Chem
from rdkit.Chem.Crippen import MolLogP
from torch_geometric.utils import from_smiles

import edgegnn


def make_table(path: Path) -> None:
    """Write a table of 135 small molecules."""
    chains = ["C" * n for n in range(2, 11)] + ["CC(C)" + "C" * n for n in range(1, 7)]
    groups = ["", "O", "N", "C(=O)O", "C=O", "Cl", "OC", "C(=O)N", "c1ccccc1"]
    names = [chain + group for chain in chains for group in groups]
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["smiles", "logp"])
        rows.writerows([name, f"{MolLogP(Chem.MolFromSmiles(name)):.3f}"] for name in names)


if __name__ == "__main__":
    table = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("molecules.csv")
    if not table.exists():
        make_table(table)

    edgegnn.train(
        "gin",
        str(table),
        output="molecules.pt",
        architecture={"hidden": 32, "layers": 3},
        settings={"epochs": 40},
        force=True,
    )
    exported = edgegnn.export(
        "molecules.pt", quant="dq-int8", settings={"epochs": 10}, output="molecules-int8", force=True
    )
    print("test split:", exported.manifest["metric"])

    model = edgegnn.runtime.open("molecules-int8", guard="off")
    for smiles in ("CCCCCCO", "CC(=O)Oc1ccccc1C(=O)O"):
        graph = from_smiles(smiles)
        batch = np.zeros(graph.num_nodes, dtype=np.int64)  # all atoms belong to molecule 0
        value = model(x=graph.x.numpy().astype(np.float32), edge_index=graph.edge_index.numpy(), batch=batch)
        print(f"{smiles}: {value[0, 0]:.2f}")
