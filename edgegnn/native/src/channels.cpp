// SpMMChannels.

#include "channels.h"

#include "csr.h"
#include "ops.h"
#include "spmm.h"

namespace edgegnn {
namespace {

struct Offset {
  int64_t value;
};

OrtStatus* create(void* state, const Info& info) {
  static_cast<Offset*>(state)->value = info.attribute("offset", static_cast<int64_t>(0));
  return nullptr;
}

OrtStatus* spmm_channels(void* state, Context& context) {
  Tensor x;
  Tensor w;
  Tensor d;
  Csr csr;
  const int32_t* perm = nullptr;
  const int64_t offset = static_cast<const Offset*>(state)->value;
  EDGEGNN_TRY(context.input(0, "x", &x));
  EDGEGNN_TRY(context.input(1, "w", &w));
  EDGEGNN_TRY(context.input(2, "d", &d));
  EDGEGNN_TRY(read_csr(context, 3, 7, &csr));
  EDGEGNN_TRY(read_perm(context, 6, csr.entries, &perm));
  if (x.rank != 3) return invalid("x must have the shape [C, P, F]");
  const int64_t width = x.dims[2];
  if (w.rank != 2 || w.dims[0] != csr.entries || offset < 0 || offset > w.dims[1] || w.dims[1] - offset < width) {
    return invalid("w must have the shape [E, W] for E = %lld entries, with %lld columns from column %lld on",
                   static_cast<long long>(csr.entries), static_cast<long long>(width), static_cast<long long>(offset));
  }
  if (d.rank != 2 || d.dims[0] != csr.entries || d.dims[1] < 1 || x.dims[1] < 1 ||
      (d.dims[1] != 1 && x.dims[1] != 1 && d.dims[1] != x.dims[1])) {
    return invalid("d must have the shape [E, P] or [E, 1] for E = %lld entries, and x one plane or P",
                   static_cast<long long>(csr.entries));
  }
  const int64_t planes = d.dims[1] > x.dims[1] ? d.dims[1] : x.dims[1];
  const int64_t dims[3] = {csr.rows, planes, width};
  void* y = nullptr;
  EDGEGNN_TRY(context.output(0, dims, 3, &y));
  if (csr.rows * width == 0) return check_range("col", csr.col, csr.entries, x.dims[0]);
  const ChannelsArgs args = {x.as<float>(), x.dims[1],  width,   x.dims[0],   w.as<float>() + offset, w.dims[1],             d.as<float>(),
                             d.dims[1],     csr.indptr, csr.col, csr.entries, perm,                   static_cast<float*>(y), planes};
  int faults = FAULT_NONE;
  EDGEGNN_TRY(over_rows(context, csr, planes * width * static_cast<int64_t>(sizeof(float)), EDGEGNN_PICK(channels_rows), args, &faults));
  if ((faults & FAULT_COL) != 0) return out_of_range("col", csr.col, csr.entries, x.dims[0]);
  return faults == FAULT_NONE ? nullptr : out_of_range("perm", perm, csr.entries, csr.entries);
}

constexpr Op kOps[] = {{"SpMMChannels", "fffiiiil", "f", spmm_channels, sizeof(Offset), create}};

}  // namespace

OpTable channels_ops() { return table_of(kOps); }

}  // namespace edgegnn
