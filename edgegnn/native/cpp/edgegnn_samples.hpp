// Reads samples.npz of an artifact: the graphs that it ships, and PyTorch's answers. For programs that prove an artifact.
#pragma once

#include "edgegnn.hpp"

namespace edgegnn {
namespace detail {

// Inflates a stream of RFC 1951.
class Inflater {
 public:
  Inflater(const std::string &in, size_t size) : in_(in), size_(size) {}

  std::string read() {
    bool last = false;
    while (!last) {
      last = bits(1) != 0;
      switch (bits(2)) {
        case 0: stored(); break;
        case 1: fixed(); break;
        case 2: dynamic(); break;
        default: fail();
      }
    }
    if (out_.size() != size_) fail();
    return std::move(out_);
  }

 private:
  struct Code {
    std::array<uint16_t, 16> count{};
    std::vector<uint16_t> symbols;
  };

  [[noreturn]] static void fail() { throw Error("samples.npz is damaged: copy the artifact again"); }
  unsigned bits(int number) {
    while (held_ < number) {
      if (at_ == in_.size()) fail();
      buffer_ |= static_cast<uint32_t>(static_cast<uint8_t>(in_[at_++])) << held_;
      held_ += 8;
    }
    const unsigned found = buffer_ & ((1u << number) - 1);
    buffer_ >>= number;
    held_ -= number;
    return found;
  }
  static Code code(const std::vector<uint8_t> &lengths) {
    Code found;
    for (const uint8_t length : lengths) ++found.count[length];
    found.count[0] = 0;
    std::array<uint16_t, 16> start{};
    for (size_t i = 1; i < 15; ++i) start[i + 1] = static_cast<uint16_t>(start[i] + found.count[i]);
    found.symbols.resize(lengths.size());
    for (size_t i = 0; i < lengths.size(); ++i) {
      if (lengths[i] != 0) found.symbols[start[lengths[i]]++] = static_cast<uint16_t>(i);
    }
    return found;
  }
  unsigned symbol(const Code &code) {
    int word = 0, first = 0, place = 0;
    for (size_t length = 1; length < 16; ++length) {
      word |= static_cast<int>(bits(1));
      const int count = code.count[length];
      if (word - count < first) return code.symbols[static_cast<size_t>(place + word - first)];
      place += count;
      first = (first + count) << 1;
      word <<= 1;
    }
    fail();
  }
  void put(char byte) {
    if (out_.size() == size_) fail();
    out_ += byte;
  }
  void stored() {
    buffer_ = 0;
    held_ = 0;
    if (in_.size() - at_ < 4) fail();
    const size_t length = static_cast<uint8_t>(in_[at_]) | static_cast<size_t>(static_cast<uint8_t>(in_[at_ + 1])) << 8;
    at_ += 4;
    if (in_.size() - at_ < length || size_ - out_.size() < length) fail();
    out_.append(in_, at_, length);
    at_ += length;
  }
  void fixed() {
    std::vector<uint8_t> lengths(288, 8), distances(30, 5);
    std::fill(lengths.begin() + 144, lengths.begin() + 256, uint8_t{9});
    std::fill(lengths.begin() + 256, lengths.begin() + 280, uint8_t{7});
    copy(code(lengths), code(distances));
  }
  void dynamic() {
    static constexpr std::array<uint8_t, 19> order = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    const size_t literals = bits(5) + 257, distances = bits(5) + 1, given = bits(4) + 4;
    std::vector<uint8_t> lengths(19, 0);
    for (size_t i = 0; i < given; ++i) lengths[order[i]] = static_cast<uint8_t>(bits(3));
    const Code of_lengths = code(lengths);
    std::vector<uint8_t> all;
    while (all.size() < literals + distances) {
      const unsigned found = symbol(of_lengths);
      if (found < 16) {
        all.push_back(static_cast<uint8_t>(found));
        continue;
      }
      if (found == 16 && all.empty()) fail();
      const uint8_t repeated = found == 16 ? all.back() : uint8_t{0};
      const unsigned times = found == 16 ? 3 + bits(2) : found == 17 ? 3 + bits(3) : 11 + bits(7);
      all.insert(all.end(), times, repeated);
    }
    if (all.size() != literals + distances) fail();
    const auto middle = all.begin() + static_cast<std::ptrdiff_t>(literals);
    copy(code(std::vector<uint8_t>(all.begin(), middle)), code(std::vector<uint8_t>(middle, all.end())));
  }
  void copy(const Code &literals, const Code &distances) {
    static constexpr std::array<uint16_t, 29> from = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                                      31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    static constexpr std::array<uint8_t, 29> more = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    static constexpr std::array<uint16_t, 30> far = {1,   2,   3,   4,   5,   7,    9,    13,   17,   25,   33,   49,   65,    97,    129,
                                                     193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    static constexpr std::array<uint8_t, 30> farther = {0, 0, 0, 0, 1, 1, 2, 2,  3,  3,  4,  4,  5,  5,  6,
                                                        6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13};
    for (;;) {
      const unsigned found = symbol(literals);
      if (found == 256) return;
      if (found < 256) {
        put(static_cast<char>(found));
        continue;
      }
      if (found - 257 >= from.size()) fail();
      const size_t length = from[found - 257] + bits(more[found - 257]);
      const unsigned place = symbol(distances);
      if (place >= far.size()) fail();
      const size_t distance = far[place] + bits(farther[place]);
      if (distance > out_.size()) fail();
      for (size_t i = 0; i < length; ++i) put(out_[out_.size() - distance]);
    }
  }

  const std::string &in_;
  size_t size_, at_ = 0;
  uint32_t buffer_ = 0;
  int held_ = 0;
  std::string out_;
};

inline uint64_t number(const std::string &bytes, size_t at, size_t width) {
  if (at > bytes.size() || bytes.size() - at < width) throw Error("samples.npz is damaged: copy the artifact again");
  uint64_t found = 0;
  for (size_t i = width; i > 0; --i) found = found << 8 | static_cast<uint8_t>(bytes[at + i - 1]);
  return found;
}

// The array in the bytes of an .npy file.
inline Tensor array(const std::string &bytes) {
  static const std::map<std::string, Type> types = {{"<f4", Type::f32}, {"<f8", Type::f64}, {"<i8", Type::i64}, {"<i4", Type::i32},
                                                    {"|b1", Type::boolean}, {"|u1", Type::u8}, {"|i1", Type::i8}};
  const bool old = bytes.size() > 6 && bytes[6] == 1;
  const size_t start = old ? 10 : 12, length = number(bytes, 8, old ? 2 : 4);
  const std::string head = bytes.substr(std::min(start, bytes.size()), length);
  const size_t type = head.find("'descr': '"), shape = head.find("'shape': (");
  if (bytes.compare(1, 5, "NUMPY") != 0 || type == std::string::npos || shape == std::string::npos || head.find("'fortran_order': False") == std::string::npos) {
    throw Error("samples.npz holds an array of an unknown kind");
  }
  const auto known = types.find(head.substr(type + 10, 3));
  if (known == types.end()) throw Error("samples.npz holds an array of an unknown type");
  Tensor found;
  found.type = known->second;
  for (size_t at = shape + 10; at < head.size() && head[at] != ')';) {
    const size_t end = head.find_first_of(",)", at);
    if (end == std::string::npos) break;
    if (end > at) found.shape.push_back(static_cast<int64_t>(std::stoull(head.substr(at, end - at))));
    at = end + (head[end] == ',' ? 1 : 0);
    while (at < head.size() && head[at] == ' ') ++at;
  }
  if (bytes.size() != start + length + found.size() * width(found.type)) throw Error("samples.npz is damaged: copy the artifact again");
  found.owned = std::make_shared<std::vector<char>>(bytes.begin() + static_cast<std::ptrdiff_t>(start + length), bytes.end());
  found.bytes = found.owned->data();
  return found;
}

}  // namespace detail

// The arrays of an .npz file by name.
inline Tensors read_npz(const std::string &content) {
  using detail::number;
  const size_t end = content.rfind("PK\5\6");
  if (end == std::string::npos) throw Error("samples.npz is damaged: copy the artifact again");
  Tensors found;
  size_t at = number(content, end + 16, 4);
  for (uint64_t left = number(content, end + 10, 2); left > 0; --left) {
    const uint64_t method = number(content, at + 10, 2), packed = number(content, at + 20, 4), size = number(content, at + 24, 4);
    const uint64_t name = number(content, at + 28, 2), local = number(content, at + 42, 4);
    const size_t start = local + 30 + number(content, local + 26, 2) + number(content, local + 28, 2);
    if (start > content.size() || content.size() - start < packed || (method != 0 && method != 8)) {
      throw Error("samples.npz is damaged: copy the artifact again");
    }
    const std::string bytes = content.substr(start, packed);
    std::string key = content.substr(at + 46, name);
    if (key.size() > 4 && key.compare(key.size() - 4, 4, ".npy") == 0) key.resize(key.size() - 4);
    found[key] = detail::array(method == 0 ? bytes : detail::Inflater(bytes, size).read());
    at += 46 + name + number(content, at + 30, 2) + number(content, at + 32, 2);
  }
  return found;
}

}  // namespace edgegnn
