// Collects a family's parameters under the contract's names, with the ways that checkpoints store them. Private to this
// folder.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "oracle/model/family.hpp"

namespace shardproof {

class ParameterList {
public:
    // `tensor_prefix` stands before every tensor's name.
    explicit ParameterList(std::string tensor_prefix) : prefix_(std::move(tensor_prefix)) {}

    // What is added from here on is of this layer: "layers.L." before its name, "model.layers.L." before its tensor's.
    void enter_layer(std::int64_t layer);
    void leave_layers();

    // A tensor of its own.
    void add(Role role, std::string_view name, std::string_view tensor, Shape shape);
    // [E,R,C], each expert a tensor [R,C] named `before`, its number, `after`.
    void add_experts(Role role, std::string_view name, std::string_view before, std::string_view after, Shape shape);
    // [E,R,C] in one tensor [E, C, parts*R], which is transposed and fuses `parts` parameters: this is number `part`.
    void add_turned(Role role, std::string_view name, std::string_view tensor, Shape shape, std::int64_t part = 0,
                    std::int64_t parts = 1);

    [[nodiscard]] std::vector<Parameter> take() && { return std::move(parameters_); }

private:
    Parameter& start(Role role, std::string_view name, Shape shape);
    [[nodiscard]] std::string tensor_name(std::string_view tensor) const;

    std::string prefix_;
    std::optional<std::int64_t> layer_;
    std::string in_layer_;  // "layers.3.", or empty
    std::vector<Parameter> parameters_;
};

}  // namespace shardproof
