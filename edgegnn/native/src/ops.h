// The list of the library's ops: a source that defines some has a function that returns their table, named here.
#pragma once

#include "glue.h"

#define EDGEGNN_OP_TABLES(X) \
  X(csr_ops)                 \
  X(spmm_ops)                \
  X(channels_ops)            \
  X(attention_ops)           \
  X(edge_attention_ops)      \
  X(edge_mlp_ops)            \
  X(edge_product_ops)        \
  X(gated_sum_ops)           \
  X(qspmm_ops)               \
  X(quantize_ops)            \
  X(qgemm_ops)               \
  X(neighbour_ops)

namespace edgegnn {

#define EDGEGNN_DECLARE_TABLE(NAME) OpTable NAME();
EDGEGNN_OP_TABLES(EDGEGNN_DECLARE_TABLE)
#undef EDGEGNN_DECLARE_TABLE

}  // namespace edgegnn
