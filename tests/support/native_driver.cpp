// Runs the native library without ONNX Runtime, on a stand-in for the part of its C interface that the library uses, and prints a digest
// of what each operator makes of fixed inputs. For machines that have no onnxruntime: an emulated one, say.
//
//     native_driver libedgegnn_ops-aarch64.so
//
// The digests are the same for every processor and instruction set.

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <map>
#include <string>
#include <vector>

#include "ort_abi.h"

namespace {

struct Value {
  int type;
  std::vector<int64_t> dims;
  void* data = nullptr;
  size_t bytes() const {
    static const size_t sizes[] = {0, 4, 1, 1, 0, 0, 4, 8};
    size_t n = sizes[type];
    for (int64_t d : dims) n *= static_cast<size_t>(d);
    return n;
  }
};

struct Status {
  int code;
  std::string text;
};

struct Context {
  std::vector<Value> inputs;
  std::vector<Value> outputs;
};

using Attributes = std::map<std::string, double>;
std::vector<const OrtCustomOp*> g_ops;

template <class To, class From>
To* as(From* p) {
  return reinterpret_cast<To*>(const_cast<std::remove_const_t<From>*>(p));
}
OrtStatus* none() { return nullptr; }

OrtStatus* create_status(int code, const char* text) { return reinterpret_cast<OrtStatus*>(new Status{code, text}); }
int error_code(const OrtStatus* s) { return as<const Status>(s)->code; }
const char* error_message(const OrtStatus* s) { return as<const Status>(s)->text.c_str(); }
void release_status(OrtStatus* s) { delete as<Status>(s); }
OrtStatus* create_domain(const char*, OrtCustomOpDomain** out) { *out = reinterpret_cast<OrtCustomOpDomain*>(&g_ops); return none(); }
OrtStatus* domain_add(OrtCustomOpDomain*, const OrtCustomOp* op) { g_ops.push_back(op); return none(); }
OrtStatus* add_domain(OrtSessionOptions*, OrtCustomOpDomain*) { return none(); }
OrtStatus* tensor_data(OrtValue* v, void** out) { *out = as<Value>(v)->data; return none(); }
OrtStatus* rank(const OrtTensorTypeAndShapeInfo* i, size_t* out) { *out = as<const Value>(i)->dims.size(); return none(); }
OrtStatus* dimensions(const OrtTensorTypeAndShapeInfo* i, int64_t* dims, size_t n) {
  memcpy(dims, as<const Value>(i)->dims.data(), n * sizeof(int64_t));
  return none();
}
OrtStatus* type_and_shape(const OrtValue* v, OrtTensorTypeAndShapeInfo** out) { *out = as<OrtTensorTypeAndShapeInfo>(v); return none(); }
void release_info(OrtTensorTypeAndShapeInfo*) {}
OrtStatus* attribute_float(const OrtKernelInfo* i, const char* name, float* out) {
  const auto& all = *as<const Attributes>(i);
  const auto found = all.find(name);
  if (found == all.end()) return create_status(1, "no such attribute");
  *out = static_cast<float>(found->second);
  return none();
}
OrtStatus* attribute_int(const OrtKernelInfo* i, const char* name, int64_t* out) {
  const auto& all = *as<const Attributes>(i);
  const auto found = all.find(name);
  if (found == all.end()) return create_status(1, "no such attribute");
  *out = static_cast<int64_t>(found->second);
  return none();
}
OrtStatus* input_count(const OrtKernelContext* c, size_t* out) { *out = as<const Context>(c)->inputs.size(); return none(); }
OrtStatus* output_count(const OrtKernelContext* c, size_t* out) { *out = as<const Context>(c)->outputs.size(); return none(); }
OrtStatus* input(const OrtKernelContext* c, size_t i, const OrtValue** out) { *out = as<const OrtValue>(&as<const Context>(c)->inputs[i]); return none(); }
OrtStatus* output(OrtKernelContext* c, size_t i, const int64_t* dims, size_t n, OrtValue** out) {
  Value& value = as<Context>(c)->outputs[i];
  value.dims.assign(dims, dims + n);
  free(value.data);
  value.data = malloc(value.bytes() + 1);
  memset(value.data, 0xEE, value.bytes());
  *out = as<OrtValue>(&value);
  return none();
}
OrtStatus* constant_input(const OrtKernelInfo*, size_t, int* is_constant, const OrtValue**) { *is_constant = 0; return none(); }
OrtStatus* parallel_for(const OrtKernelContext*, void (*work)(void*, size_t), size_t total, size_t, void* user) {
  for (size_t i = total; i > 0; --i) work(user, i - 1);  // backwards: no order is promised
  return none();
}

OrtApi g_api;
const OrtApi* get_api(uint32_t version) { return version <= 17 ? &g_api : nullptr; }
const char* get_version() { return "stand-in"; }

void fill_api() {
  const auto set = [](int slot, auto* function) { g_api.slots[slot] = reinterpret_cast<void (*)()>(function); };
  set(0, create_status), set(1, error_code), set(2, error_message), set(93, release_status);
  set(26, create_domain), set(27, domain_add), set(28, add_domain);
  set(51, tensor_data), set(61, rank), set(62, dimensions), set(65, type_and_shape), set(99, release_info);
  set(85, attribute_float), set(86, attribute_int), set(249, constant_input);
  set(88, input_count), set(89, output_count), set(90, input), set(91, output), set(274, parallel_for);
}

uint64_t g_seed = 88172645463325252ull;
uint64_t draw(uint64_t below) {
  g_seed ^= g_seed << 13;
  g_seed ^= g_seed >> 7;
  g_seed ^= g_seed << 17;
  return g_seed % below;
}

Value make(int type, std::vector<int64_t> dims) {
  Value v{type, std::move(dims)};
  v.data = malloc(v.bytes() + 1);
  return v;
}
Value floats(std::vector<int64_t> dims, double zeros = 0) {
  Value v = make(ORT_FLOAT, std::move(dims));
  for (size_t i = 0; i < v.bytes() / 4; ++i) static_cast<float*>(v.data)[i] = draw(1000) < zeros * 1000 ? 0.0f : (static_cast<float>(draw(4001)) - 2000.0f) / 611.0f;
  return v;
}
Value codes(int type, std::vector<int64_t> dims) {
  Value v = make(type, std::move(dims));
  for (size_t i = 0; i < v.bytes(); ++i) static_cast<uint8_t*>(v.data)[i] = static_cast<uint8_t>(draw(256));
  return v;
}
Value number(int64_t value) {
  Value v = make(ORT_INT64, {});
  *static_cast<int64_t*>(v.data) = value;
  return v;
}
Value nothing() { return make(ORT_INT32, {0}); }
Value indices(std::vector<int64_t> dims, int64_t below) {
  Value v = make(ORT_INT64, std::move(dims));
  for (size_t i = 0; i < v.bytes() / 8; ++i) static_cast<int64_t*>(v.data)[i] = static_cast<int64_t>(draw(4) == 0 ? 0 : draw(static_cast<uint64_t>(below)));
  return v;
}

// Runs the overload of `name` that takes these types.
std::vector<Value> call(const char* name, std::vector<Value> inputs, Attributes attributes = {}) {
  for (const OrtCustomOp* op : g_ops) {
    if (strcmp(op->GetName(op), name) != 0 || op->GetInputTypeCount(op) != inputs.size()) continue;
    bool fits = true;
    for (size_t i = 0; i < inputs.size(); ++i) fits = fits && op->GetInputType(op, i) == inputs[i].type;
    if (!fits) continue;
    Context context{std::move(inputs), {}};
    for (size_t i = 0; i < op->GetOutputTypeCount(op); ++i) context.outputs.push_back({op->GetOutputType(op, i), {}});
    void* kernel = nullptr;
    OrtStatus* status = op->CreateKernelV2(op, &g_api, as<OrtKernelInfo>(&attributes), &kernel);
    if (status == nullptr) status = op->KernelComputeV2(kernel, as<OrtKernelContext>(&context));
    if (status != nullptr) {
      fprintf(stderr, "%s\n", error_message(status));
      exit(1);
    }
    op->KernelDestroy(kernel);
    return context.outputs;
  }
  fprintf(stderr, "no operator %s for these inputs\n", name);
  exit(1);
}

std::map<std::string, uint64_t> g_digests;
std::vector<Value> check(const char* name, std::vector<Value> inputs, Attributes attributes = {}) {
  std::vector<Value> outputs = call(name, std::move(inputs), std::move(attributes));
  uint64_t& digest = g_digests.emplace(name, 14695981039346656037ull).first->second;
  for (const Value& v : outputs) {
    for (size_t i = 0; i < v.bytes(); ++i) digest = (digest ^ static_cast<uint8_t*>(v.data)[i]) * 1099511628211ull;
  }
  return outputs;
}

void float_operators(int64_t nodes, int64_t edges, int64_t heads, int64_t width) {
  const Value n = number(nodes);
  const auto csr = check("CooToCsr", {indices({2, edges}, nodes), n, n}, {{"self_loops", static_cast<double>(width % 2)}});
  const int64_t entries = csr[1].dims[0];
  const auto by_row = check("IndexToCsr", {indices({edges}, nodes), n});
  check("CsrDegree", {csr[0], nothing(), n});
  const Value x = floats({nodes, heads, width});
  for (const char* op : {"SpMM", "SpMMMean", "SpMMMax", "SpMMMin"}) check(op, {x, csr[0], csr[1], nothing(), n});
  const Value messages = floats({edges, heads, width});
  for (const char* op : {"SegmentSum", "SegmentMean", "SegmentMax", "SegmentMin"}) check(op, {messages, by_row[0], nothing(), by_row[2], n});
  check("SpMMWeighted", {x, floats({entries, heads}), csr[0], csr[1], nothing(), csr[3], n});
  for (const int64_t planes : {heads, int64_t{1}}) {  // a weight for each channel, and one for each of the planes or for all
    const Value by_channel = floats({entries, width + 2});
    check("SpMMChannels", {x, by_channel, floats({entries, planes}), csr[0], csr[1], nothing(), csr[3], n}, {{"offset", 1}});
  }
  check("SegmentSoftmax", {floats({edges, heads}), by_row[0], nothing(), by_row[2], n});
  check("AttentionSpMM", {x, floats({nodes, heads}), floats({nodes, heads}), csr[0], csr[1], nothing(), n}, {{"negative_slope", 0.2}});
  const int64_t all = heads * width;
  const Value target = floats({nodes, heads, width});
  const Value att = floats({heads, width});
  const Value features = floats({entries, heads});
  const Value product = floats({heads, all});
  check("PairAttention", {x, target, att, csr[0], csr[1], nothing(), n}, {{"negative_slope", 0.2}});
  check("PairAttentionEdges", {x, target, att, features, product, csr[0], csr[1], nothing(), csr[3], n}, {{"negative_slope", 0.2}});
  check("DotAttention", {target, x, csr[0], csr[1], nothing(), n}, {{"scale", 0.25}});
  check("DotAttentionEdges", {target, x, floats({nodes, heads, heads}), features, csr[0], csr[1], nothing(), csr[3], n}, {{"scale", 0.25}});
  const Value gates[4] = {floats({nodes, all}), floats({nodes, all}), floats({nodes, all}), floats({nodes, all})};
  check("GatedSum", {gates[0], gates[1], gates[2], gates[3], csr[0], csr[1], nothing(), n});
  check("GatedSumEdges", {gates[0], gates[1], gates[2], gates[3], features, product, floats({heads, all}), csr[0], csr[1], nothing(), csr[3], n});
}

void integer_operators(int type, int64_t nodes, int64_t edges, int64_t heads, int64_t width) {
  const Value n = number(nodes);
  const auto csr = call("CooToCsr", {indices({2, edges}, nodes), n, n});
  const Attributes scales = {{"x_scale", 0.017}, {"x_zero_point", type == ORT_UINT8 ? 117 : -3}, {"y_scale", 0.31}, {"y_zero_point", 101}, {"clip_low", -20.0}};
  Attributes with_self = scales;
  with_self["self_weight"] = 1.3;
  const int64_t all = heads * width;
  const Value flat = codes(type, {nodes, all});
  const Value x = codes(type, {nodes, heads, width});
  const Value bias = floats({all});
  for (const char* op : {"QSpMM", "QSpMMFloat"}) check(op, {flat, csr[0], csr[1], nothing(), n, floats({nodes}), bias}, with_self);
  for (const char* op : {"QSpMMWeighted", "QSpMMWeightedFloat"}) check(op, {x, floats({edges, heads}), csr[0], csr[1], nothing(), csr[3], n, floats({1}), bias}, scales);
  for (const char* op : {"QAttentionSpMM", "QAttentionSpMMFloat"}) check(op, {x, floats({nodes, heads}), floats({nodes, heads}), csr[0], csr[1], nothing(), n, bias}, scales);
  const int64_t depth = width + 3;
  for (const char* op : {"QGemm", "QGemmFloat"}) {
    check(op, {codes(type, {nodes, depth}), codes(ORT_INT8, {depth, all}), floats({all}), floats({nodes}), bias, floats({nodes, all})}, scales);
  }
  const Value sources = floats({nodes, depth});
  const Value targets = floats({nodes, depth});
  check("QEdgeMlpMax", {sources, targets, codes(ORT_INT8, {2 * depth, 40}), floats({40}), floats({40}), codes(ORT_INT8, {40, all}), floats({all}), floats({1}), csr[0], csr[1], nothing(), n},
        {{"x_scale", 0.02}, {"x_zero_point", 99}, {"hidden_scale", 0.3}});
  check("QEdgeProductMax", {sources, targets, codes(ORT_INT8, {depth, all}), floats({all}), bias, csr[0], csr[1], nothing(), n}, {{"x_scale", 0.02}, {"x_zero_point", 99}, {"low", 0.0}});
  Value deep = codes(type, {nodes, 300});  // mostly zeros
  for (size_t i = 0; i < deep.bytes(); ++i) {
    if (draw(16) != 0) static_cast<uint8_t*>(deep.data)[i] = static_cast<uint8_t>(static_cast<int>(scales.at("x_zero_point")));
  }
  check("QGemm", {deep, codes(ORT_INT8, {300, all}), floats({all}), floats({nodes}), bias, floats({1})}, scales);
  for (const char* op : {"QGemmNorm", "QGemmNormFloat"}) {
    check(op, {codes(type, {nodes, depth}), codes(ORT_INT8, {depth, all}), floats({all}), floats({nodes}), bias, floats({1}), floats({all}), floats({all})}, scales);
  }
  const Attributes unsigned_scales = {{"x_scale", 0.017}, {"x_zero_point", 117}, {"y_scale", 0.31}, {"y_zero_point", 101}};
  for (const char* op : {"QuantizeGemm", "QuantizeGemmFloat", "NormalizeQuantizeGemm", "NormalizeQuantizeGemmFloat"}) {
    for (const double zeros : {0.0, 0.97}) {
      check(op, {floats({nodes, depth}, zeros), codes(ORT_INT8, {depth, all}), floats({all}), floats({1}), floats({1}), floats({1})}, unsigned_scales);
    }
  }
  for (const int64_t rows : {nodes, int64_t{1}}) {  // steps of rows, or of columns
    const int64_t columns = rows == 1 ? all : 1;
    for (const double is_signed : {0.0, 1.0}) {
      check("QuantizeRows", {floats({nodes, all}, 0.9), floats({rows, columns}), floats({rows, columns}), floats({1, all})}, {{"signed", is_signed}});
    }
  }
  for (const char* op : {"QuantizeGemmNorm", "QuantizeGemmNormFloat", "NormalizeQuantizeGemmNorm", "NormalizeQuantizeGemmNormFloat"}) {
    check(op, {floats({nodes, depth}), codes(ORT_INT8, {depth, all}), floats({all}), floats({1}), floats({1}), floats({1}), floats({all}), floats({all})}, unsigned_scales);
  }
}

void point_operators(int64_t points, int64_t coordinates) {
  const Value from = floats({points, coordinates});
  const Value to = floats({points / 2, coordinates});
  const auto graphs = [](int64_t count, int64_t size) {
    Value v = make(ORT_INT64, {count});
    for (int64_t i = 0; i < count; ++i) static_cast<int64_t*>(v.data)[i] = i / size;
    return v;
  };
  const Value batch_from = graphs(points, 17);
  const Value batch_to = graphs(points / 2, 11);
  check("Knn", {from, to, batch_from, batch_to}, {{"k", 5}, {"loop", 1}});
  check("Knn", {from, from, batch_from, batch_from}, {{"k", 20}, {"loop", 0}});
  check("Radius", {from, to, batch_from, batch_to}, {{"squared_radius", 16.0}, {"max_num_neighbors", 6}, {"loop", 1}});
  check("Radius", {from, from, batch_from, batch_from}, {{"squared_radius", 6.25}, {"max_num_neighbors", 32}, {"loop", 0}});
  check("FarthestPoints", {from, batch_from}, {{"ratio", 0.37}});
}

}  // namespace

int main(int count, char** arguments) {
  void* library = count == 2 ? dlopen(arguments[1], RTLD_NOW) : nullptr;
  if (library == nullptr) {
    fprintf(stderr, "usage: native_driver LIBRARY (%s)\n", count == 2 ? dlerror() : "no library given");
    return 2;
  }
  fill_api();
  const OrtApiBase base = {get_api, get_version};
  reinterpret_cast<OrtStatus* (*)(OrtSessionOptions*, const OrtApiBase*)>(dlsym(library, "RegisterCustomOps"))(nullptr, &base);
  printf("%s\n", reinterpret_cast<const char* (*)()>(dlsym(library, "edgegnn_isa"))());
  const int64_t shapes[][2] = {{1, 1}, {1, 3}, {1, 7}, {1, 13}, {1, 64}, {1, 130}, {2, 9}, {3, 5}, {4, 16}, {8, 8}, {17, 3}};
  for (const auto& shape : shapes) {
    float_operators(40, 150, shape[0], shape[1]);
    integer_operators(ORT_UINT8, 40, 150, shape[0], shape[1]);
    integer_operators(ORT_INT8, 40, 150, shape[0], shape[1]);
  }
  for (const int64_t coordinates : {1, 2, 3, 5, 16}) point_operators(90, coordinates);
  float_operators(3000, 90000, 1, 2);
  integer_operators(ORT_UINT8, 300, 20000, 2, 20);
  for (const auto& [name, digest] : g_digests) printf("%s %016llx\n", name.c_str(), static_cast<unsigned long long>(digest));
  return 0;
}
