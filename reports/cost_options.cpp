#include "reports/cost_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <memory>

#include "oracle/model/byte_source.hpp"
#include "oracle/model/error.hpp"
#include "oracle/model/safetensors.hpp"
#include "reports/forward_options.hpp"
#include "reports/json_field.hpp"
#include "reports/memory.hpp"
#include "reports/text.hpp"
#include "sim/forward.hpp"
#include "sim/plan/declaration.hpp"
#include "sim/plan/runnable.hpp"

namespace shardproof::reports {
namespace {

[[noreturn]] void refuse(std::string option, const std::string& value, std::string rule) {
    throw InputError({"command line", std::move(option), shortened(value), std::move(rule)});
}

// A second of latency and a byte a second are beyond any network, and keep sums of times printable.
bool is_latency(double us) { return us >= 0 && us <= 1e6; }
bool is_bandwidth(double gb_per_s) { return gb_per_s >= 1e-9 && gb_per_s <= 1e9; }

// "10,50": microseconds of latency, 1e9 bytes a second.
sim::Link link_of(const std::string& option, const std::string& text) {
    sim::Link link;
    const char* const end = text.data() + text.size();
    const auto [comma, first_error] = std::from_chars(text.data(), end, link.latency_us);
    bool good = first_error == std::errc{} && comma != end && *comma == ',';
    if (good) {
        const auto [stop, error] = std::from_chars(comma + 1, end, link.gb_per_s);
        good = error == std::errc{} && stop == end;
    }
    if (!good || !is_latency(link.latency_us) || !is_bandwidth(link.gb_per_s))
        refuse(option, text, "must be LATENCY_US,GB_PER_S: 0 to 1e6, and 1e-9 to 1e9");
    return link;
}

sim::Link link_of(const JsonField& field) {
    field.allow({"latency_us", "gb_per_s"});
    const sim::Link link{.latency_us = field.at("latency_us").positive(), .gb_per_s = field.at("gb_per_s").positive()};
    if (!is_latency(link.latency_us)) field.at("latency_us").refuse("must be 0 to 1e6");
    if (!is_bandwidth(link.gb_per_s)) field.at("gb_per_s").refuse("must be 1e-9 to 1e9");
    return link;
}

sim::Network network_of(const CostOptions& options) {
    sim::Network network;
    if (options.network) {
        const std::string file = options.network->string();
        const nlohmann::json document = read_json_file(*options.network);
        const JsonField root(document, "", file);
        root.allow({"ranks_per_node", "intra_node", "inter_node"});
        if (root.has("ranks_per_node")) network.ranks_per_node = root.at("ranks_per_node").number();
        if (network.ranks_per_node < 1) root.at("ranks_per_node").refuse("must be >= 1");
        if (root.has("intra_node")) network.intra_node = link_of(root.at("intra_node"));
        if (root.has("inter_node")) network.inter_node = link_of(root.at("inter_node"));
    }
    if (options.ranks_per_node) {
        if (*options.ranks_per_node < 1)
            refuse("--ranks-per-node", std::to_string(*options.ranks_per_node), "must be >= 1");
        network.ranks_per_node = *options.ranks_per_node;
    }
    if (options.intra_node) network.intra_node = link_of("--intra-node", *options.intra_node);
    if (options.inter_node) network.inter_node = link_of("--inter-node", *options.inter_node);
    return network;
}

// A tensor expert_ids [tokens,K], or [MoE layers,tokens,K]: I64 or I32.
class RecordedRouting {
public:
    RecordedRouting(const std::filesystem::path& path, const ModelConfig& config, std::int64_t num_tokens)
        : file_{path.string()}, top_k_{config.router.top_k} {
        const SafetensorsFile opened(map_file(path, file_));
        const SafetensorsEntry* const entry = opened.find("expert_ids");
        if (entry == nullptr) throw InputError({file_, "expert_ids", "", "tensor missing"});
        const TensorView tensor = opened.view(*entry);
        for (std::int64_t layer = 0; layer < config.num_layers; ++layer)
            moe_idx_.push_back(config.is_moe(layer) ? num_moe_++ : -1);
        Shape shape = tensor.shape;
        by_layer_ = shape.size() == 3;
        if (by_layer_ && shape[0] == num_moe_) shape.erase(shape.begin());
        if (shape != Shape{num_tokens, top_k_}) {
            throw InputError({file_, "expert_ids.shape", to_string(tensor.shape),
                              fmt::format("must be [{},{}], or that for each of {} MoE layers: tokens, choices",
                                          num_tokens, top_k_, num_moe_)});
        }
        num_tokens_ = num_tokens;
        read(tensor, config.router.num_experts);
    }

    [[nodiscard]] bool by_layer() const { return by_layer_; }
    [[nodiscard]] ExpertId at(std::int64_t layer, std::int64_t token, std::int64_t choice) const {
        const std::int64_t plane = by_layer_ ? moe_idx_[static_cast<std::size_t>(layer)] : 0;
        return ids_[static_cast<std::size_t>((plane * num_tokens_ + token) * top_k_ + choice)];
    }

private:
    void read(const TensorView& tensor, std::int64_t num_experts) {
        if (tensor.dtype != DType::I64 && tensor.dtype != DType::I32) {
            throw InputError({file_, "expert_ids.dtype", std::string{name_of(tensor.dtype)}, "must be I64 or I32"});
        }
        const std::size_t width = tensor.dtype == DType::I64 ? 8 : 4;
        for (std::size_t at = 0; at < tensor.bytes.size(); at += width) {
            std::int64_t id = 0;
            std::int32_t narrow = 0;
            if (width == 8) {
                std::memcpy(&id, tensor.bytes.data() + at, width);
            } else {
                std::memcpy(&narrow, tensor.bytes.data() + at, width);
                id = narrow;
            }
            if (id < 0 || id >= num_experts) {
                throw InputError({file_, fmt::format("expert_ids[{}]", at / width), std::to_string(id),
                                  fmt::format("must be an expert, 0 .. {}", num_experts - 1)});
            }
            ids_.emplace_back(id);
            require_new(at / width);
        }
    }

    // A router chooses distinct experts for a token.
    void require_new(std::size_t place) const {
        const std::size_t first = place - place % static_cast<std::size_t>(top_k_);
        const auto end = ids_.end() - 1;
        if (std::find(ids_.begin() + static_cast<std::ptrdiff_t>(first), end, ids_.back()) == end) return;
        throw InputError({file_, fmt::format("expert_ids[{}]", place), std::to_string(ids_.back().value()),
                          "must not be chosen twice by one token"});
    }

    std::string file_;
    std::int64_t top_k_ = 0;
    std::int64_t num_tokens_ = 0;
    std::int64_t num_moe_ = 0;
    bool by_layer_ = false;
    std::vector<std::int64_t> moe_idx_;
    std::vector<ExpertId> ids_;
};

void refuse_without_tokens(const CostOptions& options) {
    const auto only_with = [](const char* name, bool given) {
        if (given) refuse(name, "", "must not be given without --tokens");
    };
    only_with("--routing", options.routing.has_value());
    only_with("--dtype", options.dtype.has_value());
    only_with("--network", options.network.has_value());
    only_with("--ranks-per-node", options.ranks_per_node.has_value());
    only_with("--intra-node", options.intra_node.has_value());
    only_with("--inter-node", options.inter_node.has_value());
}

void require_forecastable(const CostOptions& options, const Plan& plan, bool is_given) {
    require_runnable(plan.dims);
    const std::string tokens = std::to_string(*options.tokens);
    if (const auto faults = coverage_violations(plan); !faults.empty())
        refuse("--tokens", tokens, "must not be given where the plan does not cover the model: " + faults.front());
    if (const auto violations = to_lines(declaration_violations(plan)); !violations.empty())
        refuse("--tokens", tokens, "must not be given where no rank can load or run: " + violations.front());
    if (!is_given) return;
    if (const auto reason = not_runnable(plan))
        refuse("--tokens", tokens, "must not be given where no rank can run: " + reason->param + " " + reason->why);
}

}  // namespace

void add_cost_options(OptionSet& set, CostOptions& options) {
    set.group("What a step costs");
    set.integer("--tokens", "forecast one forward of N tokens: bytes of every collective, memory, time",
                options.tokens);
    set.text({"--routing", "HOW",
              "uniform, skewed (every second token chooses experts 0 .. K-1), or a safetensors file "
              "with expert_ids [tokens,K] or [MoE layers,tokens,K] (uniform)"},
             options.routing);
    set.text({"--dtype", "NAME", "what activations travel as: f32 or bf16 (bf16)"}, options.dtype);
    set.integer("--ranks-per-node", "consecutive ranks that share a node (8)", options.ranks_per_node);
    set.text({"--intra-node", "US,GBPS", "latency and bandwidth of a rank inside its node (3,450: assumed)"},
             options.intra_node);
    set.text({"--inter-node", "US,GBPS", "the same beyond it (10,50: assumed)"}, options.inter_node);
    set.path({"--network", "FILE",
              "these three as JSON: ranks_per_node, intra_node and inter_node with latency_us and "
              "gb_per_s"},
             options.network);
    set.group("Options");
}

std::optional<StepForecast> forecast_of(const CostOptions& options, const Plan& plan, bool is_given) {
    if (!options.tokens) {
        refuse_without_tokens(options);
        return std::nullopt;
    }
    const std::int64_t tokens = *options.tokens;
    if (tokens < 0 || tokens > std::int64_t{1} << 32) refuse("--tokens", std::to_string(tokens), "must be 0 .. 2^32");
    require_forecastable(options, plan, is_given);
    const auto choices = static_cast<std::uint64_t>(tokens) * static_cast<std::uint64_t>(1 + plan.config.router.top_k);
    require_memory(choices * 16, fmt::format("a forecast of {} tokens", tokens), "fewer --tokens");
    StepForecast forecast{.tokens = tokens,
                          .num_layers = plan.config.num_layers,
                          .routing = options.routing.value_or("uniform"),
                          .options = {},
                          .cost = {}};
    forecast.options.tokens_of_dp = sim::deal_tokens(tokens, plan.dims.batch());
    forecast.options.arithmetic = arithmetic_of(options.dtype.value_or("bf16"), Backend::sim);
    forecast.options.network = network_of(options);
    if (forecast.routing == "uniform") {
        forecast.options.expert_of = sim::uniform_routing(plan.config.router);
    } else if (forecast.routing == "skewed") {
        forecast.options.expert_of = sim::skewed_routing(plan.config.router);
    } else {
        const auto recorded = std::make_shared<const RecordedRouting>(forecast.routing, plan.config, tokens);
        forecast.options.same_in_all_layers = !recorded->by_layer();
        forecast.options.expert_of = [recorded](std::int64_t layer, std::int64_t token, std::int64_t choice) {
            return recorded->at(layer, token, choice);
        };
    }
    forecast.cost = sim::cost_of(plan, forecast.options);
    return forecast;
}

}  // namespace shardproof::reports
