// Runs an artifact of edgegnn from C++17, on ONNX Runtime 1.17 or newer. One header; link libonnxruntime.
//
//   #include "edgegnn.hpp"
//
//   edgegnn::Model model("model-dq-int8");                       // checks checksums, loads model.onnx and native/
//   std::vector<float> x(nodes * 9);
//   std::vector<int64_t> edges = {0, 1, 1, 0};                   // all sources, then all destinations
//   auto outputs = model.run({{"x", edgegnn::tensor(x, {nodes, 9})}, {"edge_index", edgegnn::tensor(edges, {2, 2})}});
//   const float *logits = outputs.at("logits").data<float>();
//
// Every mistake is an edgegnn::Error with one line of text. `run` may be called from several threads at once.
//
// ONNX Runtime's C API is a table of functions that only grows, so the place of a function in it never changes. The
// places are declared here by hand: ONNX Runtime's Python wheel has the library, but no headers. The official header may be
// included as well.
#pragma once

#include <sys/utsname.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

struct OrtApiBase;
extern "C" const OrtApiBase *OrtGetApiBase() noexcept;

namespace edgegnn {

// What is wrong, in one line.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Types of elements, with ONNX Runtime's numbers.
enum class Type : int { f32 = 1, u8 = 2, i8 = 3, i32 = 6, i64 = 7, boolean = 9, f64 = 11 };

namespace detail {

template <class T>
struct TypeOf;
template <>
struct TypeOf<float> { static constexpr Type value = Type::f32; };
template <>
struct TypeOf<double> { static constexpr Type value = Type::f64; };
template <>
struct TypeOf<uint8_t> { static constexpr Type value = Type::u8; };
template <>
struct TypeOf<int8_t> { static constexpr Type value = Type::i8; };
template <>
struct TypeOf<int32_t> { static constexpr Type value = Type::i32; };
template <>
struct TypeOf<int64_t> { static constexpr Type value = Type::i64; };

inline size_t width(Type type) {
  switch (type) {
    case Type::u8:
    case Type::i8:
    case Type::boolean: return 1;
    case Type::f32:
    case Type::i32: return 4;
    default: return 8;
  }
}

inline std::string read_file(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(path.string() + " can't be read");
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// SHA-256 (FIPS 180-4) as lower-case hexadecimal digits.
inline std::string sha256(const std::string &content) {
  static constexpr std::array<uint32_t, 64> k = {
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
      0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
      0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
      0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
      0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
      0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  std::array<uint32_t, 8> h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  const auto turn = [](uint32_t v, int by) { return (v >> by) | (v << (32 - by)); };
  std::string tail = content.substr(content.size() / 64 * 64);
  tail += '\x80';
  while (tail.size() % 64 != 56) tail += '\0';
  for (int shift = 56; shift >= 0; shift -= 8) tail += static_cast<char>((static_cast<uint64_t>(content.size()) * 8) >> shift);
  const auto block = [&](const char *bytes) {
    std::array<uint32_t, 64> w;
    for (size_t i = 0; i < 16; ++i) {
      w[i] = 0;
      for (size_t j = 0; j < 4; ++j) w[i] = w[i] << 8 | static_cast<uint8_t>(bytes[4 * i + j]);
    }
    for (size_t i = 16; i < 64; ++i) {
      const uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + w[i - 7] + (turn(a, 7) ^ turn(a, 18) ^ (a >> 3)) + (turn(b, 17) ^ turn(b, 19) ^ (b >> 10));
    }
    auto s = h;
    for (size_t i = 0; i < 64; ++i) {
      const uint32_t one = s[7] + (turn(s[4], 6) ^ turn(s[4], 11) ^ turn(s[4], 25)) + ((s[4] & s[5]) ^ (~s[4] & s[6])) + k[i] + w[i];
      const uint32_t two = (turn(s[0], 2) ^ turn(s[0], 13) ^ turn(s[0], 22)) + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
      for (size_t j = 7; j > 0; --j) s[j] = s[j - 1];
      s[4] += one;
      s[0] = one + two;
    }
    for (size_t i = 0; i < 8; ++i) h[i] += s[i];
  };
  for (size_t i = 0; i + 64 <= content.size(); i += 64) block(content.data() + i);
  for (size_t i = 0; i < tail.size(); i += 64) block(tail.data() + i);
  std::string found;
  for (const uint32_t word : h) {
    for (int shift = 28; shift >= 0; shift -= 4) found += "0123456789abcdef"[word >> shift & 15];
  }
  return found;
}

// JSON, as far as manifest.json needs it: a number is a double.
struct Json {
  enum Kind { null, boolean, number, text, list, object } kind = null;
  double value = 0;
  std::string string;
  std::vector<Json> items;
  std::map<std::string, Json> members;

  const Json &at(const std::string &name) const {
    const auto found = members.find(name);
    if (kind != object || found == members.end()) throw Error("manifest.json has no " + name);
    return found->second;
  }
  const Json *find(const std::string &name) const {
    const auto found = members.find(name);
    return found == members.end() || found->second.kind == null ? nullptr : &found->second;
  }
  std::string text_or(const std::string &name, const std::string &otherwise) const {
    return find(name) == nullptr ? otherwise : as_text(name);
  }
  const std::string &as_text(const std::string &name) const {
    const Json &found = at(name);
    if (found.kind != text) throw Error("manifest.json: " + name + " is no text");
    return found.string;
  }
};

class JsonReader {
 public:
  explicit JsonReader(const std::string &content) : at_(content.data()), end_(at_ + content.size()) {}

  Json read() {
    Json found = value(0);
    space();
    if (at_ != end_) fail();
    return found;
  }

 private:
  [[noreturn]] static void fail() { throw Error("manifest.json is no JSON: copy the artifact again"); }
  void space() {
    while (at_ != end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }
  bool take(char letter) {
    space();
    if (at_ == end_ || *at_ != letter) return false;
    ++at_;
    return true;
  }
  void word(const char *text) {
    for (; *text != 0; ++text, ++at_) {
      if (at_ == end_ || *at_ != *text) fail();
    }
  }
  Json value(int depth) {
    space();
    if (at_ == end_ || depth > 100) fail();
    Json found;
    if (take('{')) {
      found.kind = Json::object;
      if (take('}')) return found;
      do {
        space();
        const std::string name = string();
        if (!take(':')) fail();
        found.members[name] = value(depth + 1);
      } while (take(','));
      if (!take('}')) fail();
    } else if (take('[')) {
      found.kind = Json::list;
      if (take(']')) return found;
      do found.items.push_back(value(depth + 1));
      while (take(','));
      if (!take(']')) fail();
    } else if (*at_ == '"') {
      found.kind = Json::text;
      found.string = string();
    } else if (*at_ == 't' || *at_ == 'f') {
      found.kind = Json::boolean;
      found.value = *at_ == 't';
      word(*at_ == 't' ? "true" : "false");
    } else if (*at_ == 'n') {
      word("null");
    } else {
      found.kind = Json::number;
      const char *start = at_;
      while (at_ != end_ && std::strchr("+-.eE0123456789", *at_) != nullptr && *at_ != 0) ++at_;
      if (start == at_) fail();
      try {
        found.value = std::stod(std::string(start, at_));
      } catch (const std::exception &) {
        fail();
      }
    }
    return found;
  }
  std::string string() {
    if (at_ == end_ || *at_ != '"') fail();
    std::string found;
    for (++at_; at_ != end_ && *at_ != '"'; ++at_) {
      if (*at_ != '\\') {
        found += *at_;
        continue;
      }
      if (++at_ == end_) fail();
      const char *known = "\"\\/bfnrt", *place = *at_ == 0 ? nullptr : std::strchr(known, *at_);
      if (place != nullptr) {
        found += "\"\\/\b\f\n\r\t"[place - known];
      } else if (*at_ == 'u' && end_ - at_ > 4) {
        unsigned code = 0;
        for (int i = 0; i < 4; ++i) {
          const char *digits = "0123456789abcdefABCDEF", *digit = *++at_ == 0 ? nullptr : std::strchr(digits, *at_);
          if (digit == nullptr) fail();
          code = code * 16 + static_cast<unsigned>(digit - digits - (digit - digits > 15 ? 6 : 0));
        }
        found += code < 128 ? static_cast<char>(code) : '?';  // names of tensors and files are ASCII
      } else {
        fail();
      }
    }
    if (at_ == end_) fail();
    ++at_;
    return found;
  }

  const char *at_, *end_;
};

// Functions of ONNX Runtime's table by their places.
class Api {
 public:
  Api() {
    struct Base {
      const Table *(*get)(uint32_t);
      const char *(*version)();
    };
    const auto *base = reinterpret_cast<const Base *>(OrtGetApiBase());
    table_ = base->get(17);
    if (table_ == nullptr) throw Error(std::string("ONNX Runtime ") + base->version() + " is too old: 1.17 or newer is needed");
  }

  // Call a function that returns a status; a status that is none is thrown.
  template <size_t place, class... Arguments>
  void call(Arguments... arguments) const {
    void *status = reinterpret_cast<void *(*)(Arguments...)>(table_->places[place])(arguments...);
    if (status == nullptr) return;
    const char *said = reinterpret_cast<const char *(*)(const void *)>(table_->places[2])(status);
    const std::string text = std::string("ONNX Runtime: ") + said;
    release<93>(status);
    throw Error(text.substr(0, text.find('\n')));
  }
  template <size_t place>
  void release(void *what) const {
    if (what != nullptr) reinterpret_cast<void (*)(void *)>(table_->places[place])(what);
  }

 private:
  struct Table {
    void (*places[275])();
  };
  const Table *table_;
};

// Something of ONNX Runtime's that is released with it; `place`: of its release function.
template <size_t place>
class Owned {
 public:
  explicit Owned(const Api &api) : api_(&api) {}
  Owned(const Owned &) = delete;
  Owned &operator=(const Owned &) = delete;
  ~Owned() { api_->template release<place>(held); }
  void *held = nullptr;

 private:
  const Api *api_;
};

}  // namespace detail

// An array: of the caller's memory, or its own.
struct Tensor {
  Type type = Type::f32;
  std::vector<int64_t> shape;
  const void *bytes = nullptr;
  std::shared_ptr<std::vector<char>> owned;

  size_t size() const {
    size_t found = 1;
    for (const int64_t dim : shape) found *= static_cast<size_t>(dim);
    return found;
  }
  template <class T>
  const T *data() const {
    if (detail::TypeOf<T>::value != type) throw Error("the tensor has elements of another type");
    return static_cast<const T *>(bytes);
  }
};

// A view of the caller's memory, which has to live as long as it is used.
template <class T>
Tensor tensor(const T *values, std::vector<int64_t> shape) {
  return {detail::TypeOf<T>::value, std::move(shape), values, nullptr};
}
template <class T>
Tensor tensor(const std::vector<T> &values, std::vector<int64_t> shape) {
  Tensor found = tensor(values.data(), std::move(shape));
  if (found.size() != values.size()) throw Error("a tensor's shape does not fit its " + std::to_string(values.size()) + " elements");
  return found;
}

using Tensors = std::map<std::string, Tensor>;

struct Options {
  int threads = 1;      // of one inference; 0: one a core
  bool native = true;   // use the library in native/ for this processor, where there is one
};

// An artifact's model, loaded.
class Model {
 public:
  // folder: the artifact, unpacked. A library in it is code: open only artifacts that you made or trust.
  explicit Model(std::filesystem::path folder, Options options = {})
      : folder_(std::move(folder)), manifest_(detail::JsonReader(detail::read_file(folder_ / "manifest.json")).read()) {
    if (manifest_.as_text("format") != "edgegnn-artifact/1") throw Error("manifest.json is of another format than edgegnn-artifact/1");
    const std::string runtime = manifest_.text_or("runtime", "onnxruntime");
    if (runtime != "onnxruntime") throw Error("the artifact is not for ONNX Runtime, but for " + runtime);
    if (const auto *entries = manifest_.find("entries"); entries != nullptr && !entries->items.empty()) {
      throw Error("the artifact is made of several ONNX files (entry points): run them one by one");
    }
    const std::string content = checked("model.onnx");
    for (const auto &value : manifest_.at("inputs").items) inputs_.push_back(spec(value));
    for (const auto &value : manifest_.at("outputs").items) outputs_.push_back(spec(value));
    api_.call<3>(2 /* warnings */, "edgegnn", &env_.held);
    detail::Owned<100> settings(api_);
    api_.call<10>(&settings.held);
    api_.call<24>(settings.held, options.threads);
    if (options.native) add_native(settings.held);
    api_.call<8>(env_.held, static_cast<const void *>(content.data()), content.size(), settings.held, &session_.held);
    api_.call<69>(0 /* device */, 0 /* default */, &memory_.held);
  }

  // Whether edgegnn's kernels run it, and not standard operators.
  bool native() const { return native_; }
  const detail::Json &manifest() const { return manifest_; }
  const std::filesystem::path &folder() const { return folder_; }

  // Name of the output that labels are for.
  std::string main() const {
    const std::string name = manifest_.text_or("main", "");
    return name.empty() ? outputs_.at(0).name : name;
  }

  // The content of a file of the artifact, once its checksum is right.
  std::string checked(const std::string &name) const {
    const auto *entry = manifest_.at("files").find(name);
    if (entry == nullptr) throw Error("manifest.json has no file " + name);
    std::string content = detail::read_file(folder_ / name);
    if (detail::sha256(content) != entry->as_text("sha256")) throw Error(name + " has been changed (its checksum differs): copy the artifact again");
    return content;
  }

  // Run the model. Inputs as manifest.json names them; sizes and indices are checked first.
  Tensors run(const Tensors &inputs) const {
    check(inputs);
    std::vector<std::unique_ptr<detail::Owned<96>>> given, taken;
    std::vector<const char *> names, wanted;
    std::vector<void *> values, results;
    for (const Spec &input : inputs_) {
      const Tensor &tensor = inputs.at(input.name);
      given.push_back(std::make_unique<detail::Owned<96>>(api_));
      static char nothing[8];
      void *bytes = tensor.size() == 0 ? nothing : const_cast<void *>(tensor.bytes);  // ONNX Runtime reads it only
      api_.call<49>(memory_.held, bytes, tensor.size() * detail::width(tensor.type), tensor.shape.data(), tensor.shape.size(),
                    static_cast<int>(tensor.type), &given.back()->held);
      names.push_back(input.name.c_str());
      values.push_back(given.back()->held);
    }
    for (const Spec &output : outputs_) wanted.push_back(output.name.c_str());
    results.resize(wanted.size());
    try {
      api_.call<9>(session_.held, static_cast<void *>(nullptr), names.data(), values.data(), values.size(), wanted.data(), wanted.size(),
                   results.data());
    } catch (...) {
      for (void *result : results) api_.release<96>(result);
      throw;
    }
    for (void *result : results) {
      taken.push_back(std::make_unique<detail::Owned<96>>(api_));
      taken.back()->held = result;
    }
    Tensors found;
    for (size_t i = 0; i < results.size(); ++i) found[outputs_[i].name] = copy(results[i]);
    return found;
  }

 private:
  struct Spec {
    std::string name;
    Type type;
    std::vector<int64_t> sizes;       // -1 where it is not fixed
    std::vector<std::string> names;   // of sizes that are not fixed
  };

  static Spec spec(const detail::Json &value) {
    static const std::map<std::string, Type> types = {{"float32", Type::f32}, {"float64", Type::f64}, {"int64", Type::i64},
                                                      {"int32", Type::i32},   {"bool", Type::boolean}, {"uint8", Type::u8}, {"int8", Type::i8}};
    Spec found{value.as_text("name"), Type::f32, {}, {}};
    const auto type = types.find(value.as_text("dtype"));
    if (type == types.end()) throw Error("manifest.json: " + found.name + " has elements of an unknown type");
    found.type = type->second;
    for (const auto &dim : value.at("shape").items) {
      found.sizes.push_back(dim.kind == detail::Json::number ? static_cast<int64_t>(dim.value) : -1);
      found.names.push_back(dim.string);
    }
    return found;
  }

  void add_native(void *settings) {
    struct utsname machine;
    if (uname(&machine) != 0) return;
    std::string name = machine.machine;
    if (name == "arm64") name = "aarch64";
    const std::string library = "native/libedgegnn_ops-" + name + ".so";
    if (manifest_.at("files").find(library) == nullptr) return;
    checked(library);
    api_.call<228>(settings, (folder_ / library).c_str());
    native_ = true;
  }

  void check(const Tensors &inputs) const {
    std::map<std::string, int64_t> sizes;
    std::map<std::string, std::string> said;
    for (const Spec &input : inputs_) {
      const auto found = inputs.find(input.name);
      if (found == inputs.end()) throw Error("the input " + input.name + " is missing");
      const Tensor &tensor = found->second;
      if (tensor.type != input.type) throw Error("the input " + input.name + " has elements of another type than manifest.json says");
      if (tensor.shape.size() != input.sizes.size()) throw Error("the input " + input.name + " has " + std::to_string(tensor.shape.size()) + " dimensions, not " + std::to_string(input.sizes.size()));
      for (size_t i = 0; i < input.sizes.size(); ++i) {
        const int64_t size = tensor.shape[i];
        if (size < 0 || (input.sizes[i] >= 0 && size != input.sizes[i])) throw Error("the input " + input.name + " has the size " + std::to_string(size) + " in dimension " + std::to_string(i) + ", not " + std::to_string(input.sizes[i]));
        if (input.names[i].empty()) continue;
        const auto added = sizes.emplace(input.names[i], size);
        if (added.first->second != size) throw Error(input.name + " says " + input.names[i] + " " + std::to_string(size) + ", " + said[input.names[i]] + " says " + std::to_string(added.first->second));
        if (added.second) said[input.names[i]] = input.name;
      }
    }
    const auto *limits = manifest_.find("limits");
    for (const auto &size : sizes) {
      const auto *most = limits == nullptr ? nullptr : limits->find(size.first);
      if (most != nullptr && static_cast<double>(size.second) > most->value) throw Error("the graph has " + std::to_string(size.second) + " " + size.first.substr(4) + ", more than the model takes");
    }
    if (inputs.size() != inputs_.size()) throw Error("an input is not one of the model's");
    for (const Spec &input : inputs_) check_indices(input, inputs.at(input.name), sizes);
  }

  // Lists of edges and of pairs have to name nodes: standard operators would count negative ones from the end.
  static void check_indices(const Spec &input, const Tensor &tensor, const std::map<std::string, int64_t> &sizes) {
    if (input.type != Type::i64 || input.sizes.size() != 2 || input.sizes[0] != 2 || input.names[1].rfind("num_", 0) != 0) return;
    const auto dot = input.name.find('.');
    const std::string relation = dot == std::string::npos ? "" : "." + input.name.substr(dot + 1);
    const std::array<std::string, 2> ends = {relation.substr(0, relation.find("__")),
                                             relation.empty() ? "" : "." + relation.substr(relation.rfind("__") + 2)};
    const int64_t *index = tensor.data<int64_t>();
    for (size_t side = 0; side < 2; ++side) {
      const auto nodes = sizes.find("num_nodes" + ends[side]);
      const int64_t most = nodes == sizes.end() ? INT64_MAX : nodes->second;
      for (size_t i = 0; i < tensor.size() / 2; ++i) {
        const int64_t node = index[side * (tensor.size() / 2) + i];
        if (node < 0 || node >= most) throw Error(input.name + " names node " + std::to_string(node) + " of a graph of " + std::to_string(most) + " nodes");
      }
    }
  }

  Tensor copy(void *value) const {
    detail::Owned<99> info(api_);
    api_.call<65>(static_cast<const void *>(value), &info.held);
    int type = 0;
    size_t rank = 0;
    void *bytes = nullptr;
    api_.call<60>(static_cast<const void *>(info.held), &type);
    api_.call<61>(static_cast<const void *>(info.held), &rank);
    Tensor found;
    found.type = static_cast<Type>(type);
    found.shape.resize(rank);
    api_.call<62>(static_cast<const void *>(info.held), found.shape.data(), rank);
    api_.call<51>(value, &bytes);
    const size_t length = found.size() * detail::width(found.type);
    found.owned = std::make_shared<std::vector<char>>(static_cast<char *>(bytes), static_cast<char *>(bytes) + length);
    found.bytes = found.owned->data();
    return found;
  }

  std::filesystem::path folder_;
  detail::Json manifest_;
  detail::Api api_;
  detail::Owned<92> env_{api_};
  detail::Owned<94> memory_{api_};
  detail::Owned<95> session_{api_};
  std::vector<Spec> inputs_, outputs_;
  bool native_ = false;
};

}  // namespace edgegnn
