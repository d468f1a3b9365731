// Hands the ops of ops.h to ONNX Runtime.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "isa.h"
#include "ops.h"

namespace ort {
const OrtApi* api = nullptr;
}

namespace edgegnn {
namespace {

constexpr size_t kMaxOps = 96;
constexpr size_t kMaxArity = 16;

struct Argument {
  ONNXTensorElementDataType type;
  OrtCustomOpInputOutputCharacteristic need;
};

// An op as the runtime sees it: OrtCustomOp has to be the first member, since the runtime gives its address back to us.
struct Entry {
  OrtCustomOp custom;
  const Op* op;
  size_t input_count;
  size_t output_count;
  Argument inputs[kMaxArity];
  Argument outputs[kMaxArity];
};

// Never freed and never changed once filled: sessions keep pointers to the entries.
Entry g_entries[kMaxOps];
size_t g_entry_count = 0;
int g_state = 0;  // 0 empty, 1 being filled, 2 filled

const Entry* entry_of(const OrtCustomOp* op) { return reinterpret_cast<const Entry*>(op); }

// A kernel: its op, then the op's own state.
struct alignas(16) Kernel {
  const Op* op;
  void* state() { return this + 1; }
};

OrtStatus* with_name(const Op* op, OrtStatus* status) {
  if (status == nullptr) return nullptr;
  char text[512];
  snprintf(text, sizeof text, "ai.edgegnn.%s: %s", op->name, ort::error_message(status));
  const OrtErrorCode code = ort::error_code(status);
  ort::release_status(status);
  return ort::create_status(code, text);
}

void destroy_kernel(void* memory) {
  auto* kernel = static_cast<Kernel*>(memory);
  if (kernel == nullptr) return;
  if (kernel->op->destroy != nullptr) kernel->op->destroy(kernel->state());
  free(kernel);
}

OrtStatus* create_kernel(const OrtCustomOp* custom, const OrtApi*, const OrtKernelInfo* info, void** out) {
  const Op* op = entry_of(custom)->op;
  const size_t bytes = sizeof(Kernel) + op->state_size;
  auto* kernel = static_cast<Kernel*>(calloc(1, bytes));
  *out = nullptr;
  if (kernel == nullptr) return out_of_memory(bytes);
  kernel->op = op;
  if (op->create != nullptr) {
    if (OrtStatus* status = op->create(kernel->state(), Info(info))) {
      destroy_kernel(kernel);
      return with_name(op, status);
    }
  }
  *out = kernel;
  return nullptr;
}

OrtStatus* compute(void* memory, OrtKernelContext* raw) {
  auto* kernel = static_cast<Kernel*>(memory);
  Context context(raw);
  return with_name(kernel->op, kernel->op->compute(kernel->state(), context));
}

ONNXTensorElementDataType type_of(char letter) {
  switch (letter) {
    case 'f': return ORT_FLOAT;
    case 'u': return ORT_UINT8;
    case 's': return ORT_INT8;
    case 'i': return ORT_INT32;
    case 'l': return ORT_INT64;
    default: abort();  // a typing mistake in an op table: no test gets past it
  }
}

size_t parse(const char* letters, Argument* out) {
  size_t count = 0;
  for (; *letters != '\0'; ++letters) {
    if (*letters == '?') {
      out[count - 1].need = ORT_OPTIONAL;
      continue;
    }
    if (count == kMaxArity) abort();
    out[count++] = {type_of(*letters), ORT_REQUIRED};
  }
  return count;
}

void fill(Entry* entry, const Op* op) {
  entry->op = op;
  entry->input_count = parse(op->inputs, entry->inputs);
  entry->output_count = parse(op->outputs, entry->outputs);
  OrtCustomOp* custom = &entry->custom;
  custom->version = ORT_API_VERSION_USED;
  custom->GetName = [](const OrtCustomOp* self) { return entry_of(self)->op->name; };
  custom->GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
  custom->GetInputType = [](const OrtCustomOp* self, size_t i) { return entry_of(self)->inputs[i].type; };
  custom->GetInputTypeCount = [](const OrtCustomOp* self) { return entry_of(self)->input_count; };
  custom->GetOutputType = [](const OrtCustomOp* self, size_t i) { return entry_of(self)->outputs[i].type; };
  custom->GetOutputTypeCount = [](const OrtCustomOp* self) { return entry_of(self)->output_count; };
  custom->KernelDestroy = destroy_kernel;
  custom->GetInputCharacteristic = [](const OrtCustomOp* self, size_t i) { return entry_of(self)->inputs[i].need; };
  custom->GetOutputCharacteristic = [](const OrtCustomOp* self, size_t i) { return entry_of(self)->outputs[i].need; };
  custom->GetInputMemoryType = [](const OrtCustomOp*, size_t) { return 0; };
  custom->GetVariadicInputMinArity = [](const OrtCustomOp*) { return 1; };
  custom->GetVariadicInputHomogeneity = [](const OrtCustomOp*) { return 1; };
  custom->GetVariadicOutputMinArity = [](const OrtCustomOp*) { return 1; };
  custom->GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
  custom->CreateKernelV2 = create_kernel;
  custom->KernelComputeV2 = compute;
  custom->GetStartVersion = [](const OrtCustomOp*) { return 1; };
  custom->GetEndVersion = [](const OrtCustomOp*) { return INT32_MAX; };
}

void fill_entries() {
  int empty = 0;
  if (!__atomic_compare_exchange_n(&g_state, &empty, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
    while (__atomic_load_n(&g_state, __ATOMIC_ACQUIRE) != 2) {
    }
    return;
  }
#define EDGEGNN_TABLE(NAME) NAME(),
  const OpTable tables[] = {EDGEGNN_OP_TABLES(EDGEGNN_TABLE)};
#undef EDGEGNN_TABLE
  for (const OpTable& table : tables) {
    for (size_t i = 0; i < table.count; ++i) {
      if (g_entry_count == kMaxOps) abort();
      fill(&g_entries[g_entry_count++], &table.ops[i]);
    }
  }
  __atomic_store_n(&g_state, 2, __ATOMIC_RELEASE);
}

}  // namespace
}  // namespace edgegnn

#define EDGEGNN_EXPORT extern "C" __attribute__((visibility("default")))

EDGEGNN_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  using namespace edgegnn;
  const OrtApi* api = base->GetApi(ORT_API_VERSION_USED);
  if (api == nullptr) return nullptr;  // older than 1.17: without a table not even an error can be made
  __atomic_store_n(&ort::api, api, __ATOMIC_RELEASE);
  if (!isa_known()) {
    char text[128];
    snprintf(text, sizeof text, "EDGEGNN_ISA names no instruction set: use %s, or unset it", isa_names());
    return ort::create_status(ORT_INVALID_ARGUMENT, text);
  }
  fill_entries();
  OrtCustomOpDomain* domain = nullptr;
  EDGEGNN_TRY(ort::create_domain("ai.edgegnn", &domain));
  OrtStatus* status = nullptr;
  for (size_t i = 0; i < g_entry_count && status == nullptr; ++i) status = ort::domain_add(domain, &g_entries[i].custom);
  if (status == nullptr) status = ort::add_domain(options, domain);
  if (status != nullptr) ort::release_domain(domain);
  return status;  // the domain stays alive with the process: sessions point to it
}

// For tests and reports: the instruction set in use, and the names of the ops, one a line.
EDGEGNN_EXPORT const char* edgegnn_isa() { return edgegnn::isa_name(); }

// The runtime's table of functions; null before a session has registered the library.
EDGEGNN_EXPORT const OrtApi* edgegnn_ort_api() { return ort::api; }

EDGEGNN_EXPORT size_t edgegnn_op_names(char* out, size_t size) {
  using namespace edgegnn;
  fill_entries();
  size_t used = 0;
  for (size_t i = 0; i < g_entry_count; ++i) {
    const char* name = g_entries[i].op->name;
    const size_t length = strlen(name);
    if (used + length + 2 > size) break;
    memcpy(out + used, name, length);
    used += length;
    out[used++] = '\n';
  }
  if (size > 0) out[used] = '\0';
  return used;
}
