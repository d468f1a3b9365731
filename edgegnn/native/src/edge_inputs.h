// Inputs by edge, as the ops read and check them.
#pragma once

#include "csr.h"
#include "edges.h"
#include "spmm.h"

namespace edgegnn {

// Reads `features` [E, D] and `perm`, inputs `at` and `perm_at`.
static inline OrtStatus* read_features(const Context& context, size_t at, size_t perm_at, int64_t entries, EdgeFeatures* out) {
  Tensor features;
  EDGEGNN_TRY(context.input(at, "features", &features));
  EDGEGNN_TRY(read_perm(context, perm_at, entries, &out->perm));
  if (features.rank != 2 || features.dims[0] != entries || features.dims[1] < 1) {
    return invalid("features must have the shape [E, D], for E = %lld entries and D of 1 or more", static_cast<long long>(entries));
  }
  out->values = features.as<float>();
  out->width = features.dims[1];
  return nullptr;
}

static inline OrtStatus* said(int faults, const Csr& csr, int64_t columns, const EdgeFeatures& features) {
  if ((faults & FAULT_COL) != 0) return out_of_range("col", csr.col, csr.entries, columns);
  if ((faults & FAULT_PERM) != 0) return out_of_range("perm", features.perm, csr.entries, csr.entries);
  return faults == FAULT_NONE ? nullptr : out_of_memory(0);
}

}  // namespace edgegnn
