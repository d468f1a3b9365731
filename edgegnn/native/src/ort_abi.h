// The part of ONNX Runtime's C ABI that this library uses, declared by hand (API version 17).
//
// OrtApi is a table of function pointers that only ever grows, so a slot keeps its number for good. Nothing here needs a header or a
// symbol of ONNX Runtime: the runtime hands the table over when it loads the library. tests/test_native_abi.py fails loudly when
// the installed runtime disagrees with a declaration in this file.
#pragma once

#include <stddef.h>
#include <stdint.h>

struct OrtStatus;               // null is success; anything else belongs to whoever receives it
struct OrtSessionOptions;
struct OrtCustomOpDomain;
struct OrtKernelInfo;
struct OrtKernelContext;
struct OrtShapeInferContext;
struct OrtValue;
struct OrtTensorTypeAndShapeInfo;

enum : uint32_t { ORT_API_VERSION_USED = 17 };  // onnxruntime 1.17 and everything after it

enum OrtErrorCode : int { ORT_FAIL = 1, ORT_INVALID_ARGUMENT = 2 };

enum ONNXTensorElementDataType : int {
  ORT_UNDEFINED = 0,
  ORT_FLOAT = 1,
  ORT_UINT8 = 2,
  ORT_INT8 = 3,
  ORT_INT32 = 6,
  ORT_INT64 = 7,
};

enum OrtCustomOpInputOutputCharacteristic : int { ORT_REQUIRED = 0, ORT_OPTIONAL = 1 };

struct OrtApi {
  void (*slots[275])();  // as many as version 17 has for us; read through the functions of namespace ort
};

struct OrtApiBase {
  const OrtApi* (*GetApi)(uint32_t version);
  const char* (*GetVersionString)();
};

// Field order is the ABI. Fields from GetMayInplace on are read by API 18 and later: null.
struct OrtCustomOp {
  uint32_t version;
  void* (*CreateKernel)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*);
  const char* (*GetName)(const OrtCustomOp*);
  const char* (*GetExecutionProviderType)(const OrtCustomOp*);
  ONNXTensorElementDataType (*GetInputType)(const OrtCustomOp*, size_t);
  size_t (*GetInputTypeCount)(const OrtCustomOp*);
  ONNXTensorElementDataType (*GetOutputType)(const OrtCustomOp*, size_t);
  size_t (*GetOutputTypeCount)(const OrtCustomOp*);
  void (*KernelCompute)(void*, OrtKernelContext*);
  void (*KernelDestroy)(void*);
  OrtCustomOpInputOutputCharacteristic (*GetInputCharacteristic)(const OrtCustomOp*, size_t);
  OrtCustomOpInputOutputCharacteristic (*GetOutputCharacteristic)(const OrtCustomOp*, size_t);
  int (*GetInputMemoryType)(const OrtCustomOp*, size_t);
  int (*GetVariadicInputMinArity)(const OrtCustomOp*);
  int (*GetVariadicInputHomogeneity)(const OrtCustomOp*);
  int (*GetVariadicOutputMinArity)(const OrtCustomOp*);
  int (*GetVariadicOutputHomogeneity)(const OrtCustomOp*);
  OrtStatus* (*CreateKernelV2)(const OrtCustomOp*, const OrtApi*, const OrtKernelInfo*, void**);
  OrtStatus* (*KernelComputeV2)(void*, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(const OrtCustomOp*, OrtShapeInferContext*);  // null: it crashes 1.17 to 1.22
  int (*GetStartVersion)(const OrtCustomOp*);
  int (*GetEndVersion)(const OrtCustomOp*);
  size_t (*GetMayInplace)(int**, int**);
  void (*ReleaseMayInplace)(int*, int*);
  size_t (*GetAliasMap)(int**, int**);
  void (*ReleaseAliasMap)(int*, int*);
};

static_assert(sizeof(void*) != 8 || sizeof(OrtCustomOp) == 26 * 8, "OrtCustomOp has one word a field");

namespace ort {

extern const OrtApi* api;  // set by RegisterCustomOps, before any kernel exists

// One inline function a slot: EDGEGNN_ORT_SLOT(name here, slot number, result, (parameters), (arguments)).
#define EDGEGNN_ORT_SLOT(NAME, SLOT, RESULT, PARAMETERS, ARGUMENTS)          \
  static inline RESULT NAME PARAMETERS {                                     \
    return reinterpret_cast<RESULT(*) PARAMETERS>(api->slots[SLOT])ARGUMENTS; \
  }

EDGEGNN_ORT_SLOT(create_status, 0, OrtStatus*, (OrtErrorCode code, const char* text), (code, text))
EDGEGNN_ORT_SLOT(error_code, 1, OrtErrorCode, (const OrtStatus* status), (status))
EDGEGNN_ORT_SLOT(error_message, 2, const char*, (const OrtStatus* status), (status))
EDGEGNN_ORT_SLOT(create_domain, 26, OrtStatus*, (const char* name, OrtCustomOpDomain** out), (name, out))
EDGEGNN_ORT_SLOT(domain_add, 27, OrtStatus*, (OrtCustomOpDomain* domain, const OrtCustomOp* op), (domain, op))
EDGEGNN_ORT_SLOT(add_domain, 28, OrtStatus*, (OrtSessionOptions* options, OrtCustomOpDomain* domain), (options, domain))
EDGEGNN_ORT_SLOT(tensor_data, 51, OrtStatus*, (OrtValue* value, void** out), (value, out))
EDGEGNN_ORT_SLOT(rank, 61, OrtStatus*, (const OrtTensorTypeAndShapeInfo* info, size_t* out), (info, out))
EDGEGNN_ORT_SLOT(dimensions, 62, OrtStatus*, (const OrtTensorTypeAndShapeInfo* info, int64_t* dims, size_t n), (info, dims, n))
EDGEGNN_ORT_SLOT(type_and_shape, 65, OrtStatus*, (const OrtValue* value, OrtTensorTypeAndShapeInfo** out), (value, out))
EDGEGNN_ORT_SLOT(attribute_float, 85, OrtStatus*, (const OrtKernelInfo* info, const char* name, float* out), (info, name, out))
EDGEGNN_ORT_SLOT(attribute_int, 86, OrtStatus*, (const OrtKernelInfo* info, const char* name, int64_t* out), (info, name, out))
EDGEGNN_ORT_SLOT(input_count, 88, OrtStatus*, (const OrtKernelContext* context, size_t* out), (context, out))
EDGEGNN_ORT_SLOT(output_count, 89, OrtStatus*, (const OrtKernelContext* context, size_t* out), (context, out))
EDGEGNN_ORT_SLOT(input, 90, OrtStatus*, (const OrtKernelContext* context, size_t i, const OrtValue** out), (context, i, out))
EDGEGNN_ORT_SLOT(output, 91, OrtStatus*, (OrtKernelContext* context, size_t i, const int64_t* dims, size_t n, OrtValue** out), (context, i, dims, n, out))
EDGEGNN_ORT_SLOT(release_status, 93, void, (OrtStatus* status), (status))
EDGEGNN_ORT_SLOT(release_info, 99, void, (OrtTensorTypeAndShapeInfo* info), (info))
EDGEGNN_ORT_SLOT(release_domain, 101, void, (OrtCustomOpDomain* domain), (domain))
EDGEGNN_ORT_SLOT(constant_input, 249, OrtStatus*, (const OrtKernelInfo* info, size_t i, int* is_constant, const OrtValue** out), (info, i, is_constant, out))
EDGEGNN_ORT_SLOT(parallel_for, 274, OrtStatus*, (const OrtKernelContext* context, void (*work)(void*, size_t), size_t total, size_t batches, void* user), (context, work, total, batches, user))

#undef EDGEGNN_ORT_SLOT

}  // namespace ort
