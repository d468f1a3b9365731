"""Which of torch's operators a file of a stranger may call: those that only compute.

An operator counts by its schema: it takes and gives tensors, numbers and settings, and every text that it takes beside
a tensor is one of the settings that are named here. Operators that torch keeps for itself (`_name`) count when they are
named here.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["computes"]

# Options with a fixed set of values ("mean", "same"), and texts that are shown or compared.
_TEXTS = frozenset(
    [
        "a",
        "approximate",
        "assert_msg",
        "b",
        "center",
        "driver",
        "equation",
        "indexing",
        "idx",
        "item",
        "key",
        "interpolation",
        "mode",
        "norm",
        "ord",
        "p",
        "pad_mode",
        "padding",
        "padding_side",
        "reduce",
        "rounding_mode",
        "s",
        "self",
        "separator",
        "side",
        "string",
        "substr",
        "el",
        "type",
        "UPLO",
    ]
)
_TEXT = re.compile(r"^(?!Dict).*\bstr\b")
_TYPES = re.compile(
    r"(?:Optional|List|Dict|Tuple|Union|Tensor|SymInt|int|float|bool|number|Scalar|complex|str|Any|AnyListType|"
    r"ScalarType|Layout|Device|MemoryFormat|NoneType|t\d*|tVal|k|key|AnyEnumType|\(\)|[\[\], ?.()*]|!|\|)*"
)
_PRIVATE = frozenset(
    [
        "__and__",
        "__or__",
        "__xor__",
        "__lshift__",
        "__rshift__",
        "__iand__",
        "__ior__",
        "__not__",
        "__is__",
        "__isnot__",
        "__contains__",
        "__getitem__",
        "__range_length",
        "__derive_index",
        "__round_to_zero_floordiv",
        "_adaptive_avg_pool2d",
        "_assert_async",
        "_assert_scalar",
        "_assert_tensor_metadata",
        "_cast_Float",
        "_cdist_forward",
        "_convert_indices_from_coo_to_csr",
        "_convolution",
        "_euclidean_dist",
        "_functional_assert_async",
        "_functional_assert_scalar",
        "_functional_sym_constrain_range",
        "_functional_sym_constrain_range_for_size",
        "_is_all_true",
        "_is_any_true",
        "_local_scalar_dense",
        "_log_softmax",
        "_native_batch_norm_legit",
        "_native_batch_norm_legit_functional",
        "_native_batch_norm_legit_no_training",
        "_pdist_forward",
        "_safe_softmax",
        "_scaled_dot_product_attention_math",
        "_scaled_dot_product_efficient_attention",
        "_scaled_dot_product_flash_attention_for_cpu",
        "_shape_as_tensor",
        "_softmax",
        "_size_if_not_equal",
        "_to_copy",
        "_trilinear",
        "_unique2",
        "_unsafe_view",
        "_weight_norm",
        "_weight_norm_interface",
        "_infer_size",
        "_set_item",
    ]
)
# Compute nothing: files, output, the process's state, other memory, and sparse tensors whose indices aren't checked.
_OTHERS = frozenset(
    [
        "from_file",
        "save",
        "load",
        "manual_seed",
        "seed",
        "set_",
        "set",
        "set_data",
        "resize_",
        "resize_as_",
        "resize",
        "resize_as",
        "record_stream",
        "set_grad_enabled",
        "warn",
        "wait",
        "fork",
        "get_gradients",
        "backward",
        "requires_grad_",
        "retain_grad",
        "rename_",
        "swap_",
        "sparse_resize_",
        "sparse_resize_and_clear_",
        "sparse_coo_tensor",
        "sparse_csr_tensor",
        "sparse_csc_tensor",
        "sparse_bsr_tensor",
        "sparse_bsc_tensor",
        "empty_quantized",
        "pin_memory",
        "is_pinned",
    ]
)


def computes(torch: Any, name: str, overload: str | None = None) -> bool:
    """Whether an operator `aten::name` does nothing but compute.

    Args:
        torch: the module.
        name: the operator's.
        overload: the one that is called, "" for the only one; None: all that the operator has.
    """
    if name in _OTHERS or (name.startswith("_") and name not in _PRIVATE):
        return False
    schemas = torch._C._jit_get_schemas_for_operator(f"aten::{name}")
    if overload is not None:
        schemas = [schema for schema in schemas if schema.overload_name == overload]
    return bool(schemas) and all(_fits(schema) for schema in schemas)


def _fits(schema: Any) -> bool:
    kinds = [str(value.type) for value in (*schema.arguments, *schema.returns)]
    plain = not any("Tensor" in kind for kind in kinds)  # Python's own: len, list, format
    for argument in schema.arguments:
        kind = str(argument.type)
        if "Generator" in kind:
            continue  # no file can hold one
        if not _TYPES.fullmatch(kind) or (_TEXT.search(kind) and not plain and argument.name not in _TEXTS):
            return False
    return True
