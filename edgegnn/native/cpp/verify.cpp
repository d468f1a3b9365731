// Proves an artifact of edgegnn from C++: runs the graphs in samples.npz, and compares with PyTorch's answers.
//
//   ./edgegnn_verify model-dq-int8
//
// Ends with 0 where the artifact holds, 1 where it does not, 2 for another number of arguments.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "edgegnn_samples.hpp"

namespace {

// What a row of outputs predicts: a class, or which labels are yes.
std::vector<int> predicted(const float *row, size_t width, bool labels) {
  if (labels || width == 1) {
    std::vector<int> found;
    for (size_t i = 0; i < width; ++i) found.push_back(row[i] > 0);
    return found;
  }
  return {static_cast<int>(std::max_element(row, row + width) - row)};
}

struct Result {
  size_t rows = 0, same = 0;
  double worst = 0;
};

Result compare(const edgegnn::Tensor &wanted, const edgegnn::Tensor &found, const std::string &target, const std::vector<double> &within) {
  if (wanted.size() != found.size()) throw edgegnn::Error("the model gives " + std::to_string(found.size()) + " numbers, not " + std::to_string(wanted.size()));
  const float *want = wanted.data<float>(), *got = found.data<float>();
  Result result;
  result.rows = wanted.shape.empty() ? 1 : static_cast<size_t>(wanted.shape[0]);
  const size_t width = result.rows == 0 ? 0 : wanted.size() / result.rows;
  for (size_t r = 0; r < result.rows; ++r) {
    const float *one = want + r * width, *other = got + r * width;
    bool near = true, finite = true;
    for (size_t i = 0; i < width; ++i) {
      const double apart = std::isfinite(other[i]) ? std::abs(double(one[i]) - double(other[i])) : std::numeric_limits<double>::infinity();
      result.worst = std::max(result.worst, apart);
      finite = finite && std::isfinite(other[i]);
      near = near && apart <= (i < within.size() ? within[i] : 0.0);
    }
    const bool numbers = target == "values" || target == "none";
    result.same += finite && (numbers ? near : predicted(one, width, target == "labels") == predicted(other, width, target == "labels"));
  }
  return result;
}

int verify(const char *folder) {
  const edgegnn::Model model(folder);
  const auto &manifest = model.manifest();
  const auto &parity = manifest.at("parity");
  const auto &tolerance = parity.at("tolerance");
  const edgegnn::Tensors arrays = edgegnn::read_npz(model.checked("samples.npz"));
  std::vector<double> within;
  if (const auto *values = tolerance.find("within")) {
    for (const auto &value : values->items) within.push_back(value.value);
  }
  const auto *most = tolerance.find("max_abs_error");
  std::map<std::string, double> seen;
  if (const auto *graphs = parity.find("per_graph")) {
    for (const auto &graph : graphs->items) seen[graph.as_text("name")] = graph.at("agreement").value;
  }
  const double least = tolerance.at("agreement").value;
  double known = 0;
  Result all;
  bool holds = true;
  const auto &samples = manifest.at("samples").items;
  for (size_t i = 0; i < samples.size(); ++i) {
    char prefix[24];
    std::snprintf(prefix, sizeof prefix, "%04zu.", i);
    edgegnn::Tensors inputs;
    for (const auto &input : manifest.at("inputs").items) {
      const auto found = arrays.find(prefix + input.as_text("name"));
      if (found == arrays.end()) throw edgegnn::Error("samples.npz lacks " + (prefix + input.as_text("name")));
      inputs[input.as_text("name")] = found->second;
    }
    const auto wanted = arrays.find(std::string(prefix) + "expected");
    if (wanted == arrays.end()) throw edgegnn::Error("samples.npz lacks " + std::string(prefix) + "expected");
    const Result one = compare(wanted->second, model.run(inputs).at(model.main()), manifest.text_or("target", "classes"), within);
    all.worst = std::max(all.worst, one.worst);
    const std::string &name = samples[i].as_text("name");
    if (!(one.worst <= (most != nullptr ? most->value : std::numeric_limits<double>::max()))) {
      std::printf("problem: %s: an output is %.3g from PyTorch's\n", name.c_str(), one.worst);
      holds = false;
    }
    if (samples[i].as_text("origin") != "data") continue;
    all.rows += one.rows;
    all.same += one.same;
    known += (seen.count(name) != 0 ? seen[name] : least) * double(one.rows);
  }
  const double share = all.rows == 0 ? 1.0 : double(all.same) / double(all.rows);
  // By chance the export may have seen less on the shipped part of the test split: then that is the limit.
  const double needed = all.rows == 0 ? 0.0 : std::min(least, known / double(all.rows));
  if (share < needed - 1e-9) {
    std::printf("problem: %.3f%% of the predictions are PyTorch's, %.3f%% are needed\n", 100 * share, 100 * needed);
    holds = false;
  }
  std::printf("%s %s: %zu samples, %zu of %zu predictions equal, largest difference %.3g, %s\n", folder, holds ? "holds" : "DOES NOT HOLD",
              samples.size(), all.same, all.rows, all.worst, model.native() ? "edgegnn's kernels" : "standard operators");
  return holds ? 0 : 1;
}

}  // namespace

int main(int argc, char **argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s ARTIFACT\n", argv[0]);
    return 2;
  }
  try {
    return verify(argv[1]);
  } catch (const std::exception &error) {
    std::fprintf(stderr, "edgegnn: %s\n", error.what());
    return 1;
  }
}
