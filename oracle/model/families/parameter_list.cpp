#include "oracle/model/families/parameter_list.hpp"

#include <utility>

namespace shardproof {
namespace {

Source whole(std::string tensor, const Shape& shape) {
    Source source;
    source.tensor = std::move(tensor);
    source.tensor_shape = shape;
    source.tensor_begin.assign(shape.size(), 0);
    source.param_box.reserve(shape.size());
    source.param_dim_of.reserve(shape.size());
    for (std::size_t dim = 0; dim < shape.size(); ++dim) {
        source.param_box.push_back({0, shape[dim]});
        source.param_dim_of.push_back(dim);
    }
    return source;
}

// A tensor that is one expert's slice of a stacked parameter.
Source slice(std::string tensor, const Shape& stacked, std::int64_t expert) {
    return {.tensor = std::move(tensor),
            .tensor_shape = {stacked[1], stacked[2]},
            .param_box = {{expert, expert + 1}, {0, stacked[1]}, {0, stacked[2]}},
            .tensor_begin = {0, 0},
            .param_dim_of = {1, 2},
            .scale_tensor = std::nullopt};
}

}  // namespace

void ParameterList::enter_layer(std::int64_t layer) {
    layer_ = layer;
    in_layer_ = "layers." + std::to_string(layer) + ".";
}

void ParameterList::leave_layers() {
    layer_.reset();
    in_layer_.clear();
}

Parameter& ParameterList::start(Role role, std::string_view name, Shape shape) {
    Parameter& parameter = parameters_.emplace_back();
    parameter.name = in_layer_;
    parameter.name += name;
    parameter.role = role;
    parameter.layer = layer_;
    parameter.shape = std::move(shape);
    return parameter;
}

std::string ParameterList::tensor_name(std::string_view tensor) const {
    std::string name = prefix_;
    if (layer_) name += "model." + in_layer_;
    name += tensor;
    return name;
}

void ParameterList::add(Role role, std::string_view name, std::string_view tensor, Shape shape) {
    Parameter& parameter = start(role, name, std::move(shape));
    parameter.sources.push_back(whole(tensor_name(tensor), parameter.shape));
}

void ParameterList::add_experts(Role role, std::string_view name, std::string_view before, std::string_view after,
                                Shape shape) {
    Parameter& parameter = start(role, name, std::move(shape));
    const std::string first = tensor_name(before);
    parameter.sources.reserve(static_cast<std::size_t>(parameter.shape[0]));
    for (std::int64_t expert = 0; expert < parameter.shape[0]; ++expert) {
        std::string tensor = first + std::to_string(expert);
        tensor += after;
        parameter.sources.push_back(slice(std::move(tensor), parameter.shape, expert));
    }
}

void ParameterList::add_turned(Role role, std::string_view name, std::string_view tensor, Shape shape,
                               std::int64_t part, std::int64_t parts) {
    Parameter& parameter = start(role, name, std::move(shape));
    const Shape& of = parameter.shape;
    parameter.sources.push_back({.tensor = tensor_name(tensor),
                                 .tensor_shape = {of[0], of[2], parts * of[1]},
                                 .param_box = {{0, of[0]}, {0, of[1]}, {0, of[2]}},
                                 .tensor_begin = {0, 0, part * of[1]},
                                 .param_dim_of = {0, 2, 1},
                                 .scale_tensor = std::nullopt});
}

}  // namespace shardproof
