#include "oracle/model/config_rope.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "oracle/model/error.hpp"

namespace shardproof {
namespace {

struct RopeType {
    std::string_view name;
    RopeScaling scaling;
};
constexpr std::array kRopeTypes{RopeType{"default", RopeScaling::none}, RopeType{"linear", RopeScaling::linear},
                                RopeType{"dynamic", RopeScaling::dynamic}, RopeType{"yarn", RopeScaling::yarn},
                                RopeType{"llama3", RopeScaling::llama3}};

RopeScaling scaling_of(ConfigFields& rope) {
    const std::string_view key = rope.spelling_of("rope_type", "type");
    const nlohmann::json* value = rope.find_set(key);
    std::string known;
    for (const RopeType& type : kRopeTypes) {
        if (value == nullptr ? type.name == "default" : *value == type.name) return type.scaling;
        known += (known.empty() ? "" : ", ") + std::string(type.name);
    }
    rope.refuse(key, "must be a known rope type: " + known);
}

// transformers takes null and, for these, zero as "not given".
std::optional<double> given(ConfigFields& rope, std::string_view key) {
    if (rope.find_set(key) == nullptr) return std::nullopt;
    const double value = rope.number_at_least(key, 0.0);
    return value == 0.0 ? std::nullopt : std::optional{value};
}

void parse_yarn(ConfigFields& rope, RopeSpec& spec) {
    spec.factor = rope.find_set("factor") != nullptr ? rope.number_at_least("factor", 1.0)
                                                     : static_cast<double>(spec.max_position_embeddings) /
                                                           static_cast<double>(spec.original_max_position_embeddings);
    if (spec.factor < 1.0) rope.refuse("original_max_position_embeddings", "must not exceed max_position_embeddings");
    if (rope.find_set("attention_factor") != nullptr)
        spec.attention_factor = rope.number_above("attention_factor", 0.0);
    spec.beta_fast = given(rope, "beta_fast").value_or(spec.beta_fast);
    spec.beta_slow = given(rope, "beta_slow").value_or(spec.beta_slow);
    if (spec.beta_fast < spec.beta_slow) {
        rope.refuse(
            rope.find_set("beta_fast") != nullptr ? "beta_fast" : "beta_slow",
            fmt::format("beta_fast must be at least beta_slow, they are {} and {}", spec.beta_fast, spec.beta_slow));
    }
    const std::optional<double> mscale = given(rope, "mscale");
    const std::optional<double> mscale_all_dim = given(rope, "mscale_all_dim");
    if (mscale && mscale_all_dim) {  // one without the other has no effect
        spec.mscale = mscale;
        spec.mscale_all_dim = mscale_all_dim;
    }
    spec.truncate = rope.flag_or("truncate", true);
}

void parse_llama3(ConfigFields& rope, RopeSpec& spec) {
    spec.factor = rope.number_at_least("factor", 1.0);
    spec.low_freq_factor = rope.number_above("low_freq_factor", 0.0);
    spec.high_freq_factor = rope.number_at_least("high_freq_factor", spec.low_freq_factor);
}

// `rope` is what rope_scaling or rope_parameters holds; `outer_theta` stands beside it in the document, if anywhere.
RopeSpec parse_map(ConfigFields& rope, std::optional<double> outer_theta, const RopeSpec& defaults,
                   std::int64_t head_dim) {
    RopeSpec spec = defaults;
    spec.scaling = scaling_of(rope);
    if (rope.find("rope_theta") != nullptr) {
        spec.theta = rope.number_above("rope_theta", 1.0);
        if (outer_theta && *outer_theta != spec.theta) {
            rope.refuse("rope_theta", fmt::format("must not contradict the rope_theta outside, {}", *outer_theta));
        }
    } else if (outer_theta) {
        spec.theta = *outer_theta;
    } else {
        rope.refuse("rope_theta", "is missing: must be a number above 1");
    }
    rope.accept_only("partial_rotary_factor", {"1.0", "null"});
    if (spec.scaling == RopeScaling::yarn || spec.scaling == RopeScaling::llama3) {
        spec.original_max_position_embeddings = spec.max_position_embeddings;
        if (rope.find("original_max_position_embeddings") != nullptr) {
            spec.original_max_position_embeddings = rope.integer("original_max_position_embeddings");
        }
    }
    switch (spec.scaling) {
        case RopeScaling::none:
            break;
        case RopeScaling::dynamic:
            if (head_dim < 4)
                rope.refuse(rope.spelling_of("rope_type", "type"), "dynamic scaling needs a head_dim of at least 4");
            [[fallthrough]];
        case RopeScaling::linear:
            spec.factor = rope.number_at_least("factor", 1.0);
            break;
        case RopeScaling::yarn:
            parse_yarn(rope, spec);
            break;
        case RopeScaling::llama3:
            parse_llama3(rope, spec);
            break;
    }
    rope.refuse_others("is not a word of this rope type and may change the maths");
    return spec;
}

}  // namespace

RopeSpec parse_rope(ConfigFields& fields, std::int64_t head_dim, std::int64_t max_position_embeddings) {
    RopeSpec defaults;
    defaults.max_position_embeddings = max_position_embeddings;
    std::optional<double> theta;
    if (fields.find("rope_theta") != nullptr) theta = fields.number_above("rope_theta", 1.0);
    fields.accept_only("partial_rotary_factor", {"1.0", "null"});

    const auto parse = [&](std::string_view key) -> std::optional<RopeSpec> {
        const nlohmann::json* map = fields.find_set(key);
        if (map == nullptr) return std::nullopt;
        if (!map->is_object()) fields.refuse(key, "must be null or a map with a rope_type");
        ConfigFields rope(*map, fields.file(), fields.path_of(key));
        return parse_map(rope, theta, defaults, head_dim);
    };
    const std::optional<RopeSpec> published = parse("rope_scaling");
    const std::optional<RopeSpec> parameters = parse("rope_parameters");
    if (published && parameters && *published != *parameters) {
        fields.refuse("rope_parameters", "must not contradict its other spelling, rope_scaling");
    }
    if (published) return *published;
    if (parameters) return *parameters;
    defaults.theta = fields.number_above("rope_theta", 1.0);
    return defaults;
}

}  // namespace shardproof
