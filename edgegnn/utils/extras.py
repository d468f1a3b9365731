"""Optional packages: which extra of the installation brings them, and whether they are there (nothing is imported)."""

from __future__ import annotations

from importlib.util import find_spec

from edgegnn.errors import EdgeGNNError, UsageError

__all__ = ["EXTRAS", "missing", "need"]

# Extra of the installation -> the modules it brings.
EXTRAS = {
    "cluster": ("ray", "grpc"),
    "molecules": ("rdkit",),
    "report": ("jinja2", "matplotlib"),
    "tune": ("optuna",),
}


def missing(extra: str) -> tuple[str, ...]:
    """Return the modules of an extra that are not installed."""
    return tuple(module for module in EXTRAS[extra] if find_spec(module) is None)


def need(extra: str, what: str, error: type[EdgeGNNError] = UsageError) -> None:
    """Refuse early where an optional package is missing.

    Args:
        extra: a key of `EXTRAS`.
        what: what needs it, the start of the message: "edgegnn tune needs".
        error: what is raised.

    Raises:
        UsageError: (or `error`) a module of the extra is not installed.
    """
    if lacking := missing(extra):
        raise error(f"{what} {lacking[0]}: pip install 'edgegnn[{extra}]'")
