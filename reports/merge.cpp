#include "reports/merge.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <unordered_map>
#include <utility>

#include "oracle/model/error.hpp"
#include "oracle/model/safetensors_form.hpp"
#include "reports/new_file.hpp"
#include "sim/plan/load_plan.hpp"
#include "sim/plan/saved_shards.hpp"

namespace shardproof::reports {
namespace {

struct Published {
    Parameter parameter;
    DType dtype{};
};

std::unordered_map<std::string, Published> published_of(const SavedFolder& folder) {
    std::unordered_map<std::string, DType> dtype_of;
    for (std::size_t p = 0; p < folder.published.size(); ++p) {
        for (const Source& source : folder.published[p].sources)
            dtype_of.emplace(source.tensor, folder.model.dtypes[p]);
    }
    std::unordered_map<std::string, Published> published;
    for (Parameter& tensor : published_tensors(folder.published, folder.model.parameters)) {
        const DType dtype = dtype_of.at(tensor.name);
        // A tensor that layers share of which some are cut off is not whole.
        if (num_uncovered(tensor) == 0) published.emplace(tensor.name, Published{tensor, dtype});
    }
    return published;
}

// Without the dims of extent 1 that stand before those of the tensor.
bool has_shape(const Parameter& parameter, const std::vector<std::uint64_t>& shape) {
    if (shape.size() > parameter.shape.size()) return false;
    return std::equal(shape.rbegin(), shape.rend(), parameter.shape.rbegin(),
                      [](std::uint64_t a, std::int64_t b) { return a == static_cast<std::uint64_t>(b); });
}

class Planner {
public:
    Planner(const SavedFolder& folder, const std::optional<Checkpoint>& rest)
        : origin_file_{(folder.path / kOriginFile).string()},
          origin_{*folder.origin},
          rest_{rest},
          published_{published_of(folder)} {}

    std::vector<MergedFile> plan() {
        std::vector<MergedFile> files;
        for (const OriginFile& file : origin_.files) files.push_back(plan_file(file));
        if (lacking_.empty()) return files;
        throw InputError(
            {origin_file_, printable(lacking_.front()), "",
             fmt::format("{}no shard holds {}: --rest MODEL takes {} from another copy",
                         lacking_.size() == 1 ? "" : fmt::format("and {} more tensors: ", lacking_.size() - 1),
                         lacking_.size() == 1 ? "this tensor" : "them", lacking_.size() == 1 ? "it" : "them")});
    }

private:
    MergedFile plan_file(const OriginFile& file) {
        SafetensorsHeader header = read_form(file.header, origin_file_);
        std::ranges::sort(header.entries, {}, [](const SafetensorsEntry& e) { return std::pair(e.begin, e.end); });
        MergedFile merged{.name = file.name, .header = file.header, .tensors = {}, .num_bytes = 0};
        std::uint64_t end = 0;
        for (const SafetensorsEntry& entry : header.entries) {
            if (entry.begin != end) refuse(entry, "must begin where the tensor before it ends");
            end = entry.end;
            if (std::optional<MergedTensor> tensor = plan_tensor(entry)) merged.tensors.push_back(*std::move(tensor));
        }
        merged.num_bytes = sizeof(std::uint64_t) + file.header.size() + end;
        return merged;
    }

    std::optional<MergedTensor> plan_tensor(const SafetensorsEntry& entry) {
        const auto copy = origin_.copies.find(entry.name);
        const auto found = published_.find(copy == origin_.copies.end() ? entry.name : copy->second);
        MergedTensor tensor{.name = entry.name, .dtype = entry.dtype, .parameter = {}};
        std::int64_t num_bytes = 0;
        if (found != published_.end()) {
            if (found->second.dtype != entry.dtype || !has_shape(found->second.parameter, entry.shape))
                refuse(entry, "must have the dtype and the shape that the shards have together");
            tensor.parameter = found->second.parameter;
            num_bytes = num_elements(tensor.parameter->shape) * bits_of(tensor.dtype) / 8;
        } else if (rest_ && rest_->contains(entry.name)) {
            const SafetensorsEntry& other = *rest_->items().find(entry.name)->second.entry;
            if (other.dtype != entry.dtype || other.shape != entry.shape)
                refuse(entry, "must have the dtype and the shape that it has in --rest");
            num_bytes = static_cast<std::int64_t>(other.end - other.begin);
        } else {
            lacking_.push_back(entry.name);
            return std::nullopt;
        }
        if (entry.end < entry.begin || entry.end - entry.begin != static_cast<std::uint64_t>(num_bytes))
            refuse(entry, fmt::format("must have {} bytes", num_bytes));
        return tensor;
    }

    [[noreturn]] void refuse(const SafetensorsEntry& entry, std::string rule) const {
        throw InputError(
            {origin_file_, printable(entry.name), fmt::format("[{},{}]", entry.begin, entry.end), std::move(rule)});
    }

    std::string origin_file_;
    const Origin& origin_;
    const std::optional<Checkpoint>& rest_;
    std::unordered_map<std::string, Published> published_;
    std::vector<std::string> lacking_;
};

// Rows at a time, so that a tensor of any size takes little memory.
void append_tensor(const MergedTensor& tensor, const Checkpoint& shards, NewFile& out,
                   const std::function<void(std::int64_t)>& progress) {
    constexpr std::int64_t kPieceBytes = std::int64_t{32} << 20;
    const Shape& shape = tensor.parameter->shape;
    if (num_elements(shape) == 0) return;
    std::size_t dim = 0;
    while (dim + 1 < shape.size() && shape[dim] == 1) ++dim;
    std::vector<IndexRuns> index;
    for (const std::int64_t extent : shape) index.push_back({{0, extent}});
    const std::int64_t row_bytes = num_elements(shape) / shape[dim] * bits_of(tensor.dtype) / 8;
    const std::int64_t rows = std::max<std::int64_t>(1, kPieceBytes / row_bytes);
    std::vector<std::byte> piece;
    for (std::int64_t begin = 0; begin < shape[dim]; begin += rows) {
        index[dim] = {{begin, std::min(begin + rows, shape[dim])}};
        const LoadPlan plan = make_load_plan(*tensor.parameter, tensor.dtype, index);
        SP_ASSERT(plan.bytes_read() == plan.shard_bytes());
        piece.resize(static_cast<std::size_t>(plan.shard_bytes()));
        (void)load(plan, shards, piece);
        out.append(piece);
        progress(plan.shard_bytes());
    }
}

}  // namespace

std::vector<MergedFile> plan_merge(const SavedFolder& folder, const std::optional<Checkpoint>& rest) {
    if (!folder.origin) {
        throw InputError({(folder.path / kOriginFile).string(), "", "",
                          "file missing: it says how the published files were, and load --out writes it"});
    }
    return Planner(folder, rest).plan();
}

void write_merged(const MergedFile& file, const SavedFolder& folder, const std::optional<Checkpoint>& rest,
                  const std::filesystem::path& place, const std::function<void(std::int64_t)>& progress) {
    NewFile out(place / file.name);
    const std::uint64_t length = file.header.size();
    out.append(std::as_bytes(std::span(&length, 1)));
    out.append(file.header);
    for (const MergedTensor& tensor : file.tensors) {
        if (tensor.parameter) {
            append_tensor(tensor, *folder.model.checkpoint, out, progress);
        } else {
            out.append(rest->tensor(tensor.name).bytes);
        }
    }
    SP_ASSERT(out.num_bytes() == file.num_bytes);
    out.commit();
}

}  // namespace shardproof::reports
