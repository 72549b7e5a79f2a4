#include "reports/verdict_json.hpp"

#include "reports/plan_json.hpp"

namespace shardproof::reports {

void write_failure(const std::optional<Mismatch>& failure, JsonWriter& json) {
    json.key("failure");
    if (!failure) {
        json.null();
        return;
    }
    json.begin_object().field("layer", failure->layer).field("rank", failure->rank.value());
    json.key("coordinate").list(failure->coordinate);
    json.field("got", failure->got).field("want", failure->want).field("bound", failure->bound);
    json.field("why", failure->why).end_object();
}

void write_check(const CheckReport& report, const Plan& plan, const std::string& backend, const std::string& replay,
                 const std::optional<OnDevices>& devices, JsonWriter& json) {
    json.begin_object().field("ok", report.ok()).field("backend", backend).field("rules", plan.rules);
    json.field("world", plan.world()).key("dims");
    write_dims(plan.dims, json);
    json.field("exactness", "bounded");
    json.key("load").begin_object().field("ok", report.load_ok);
    json.field("bytes_planned", report.load.bytes_planned).field("bytes_read", report.load.bytes_read);
    json.field("poison_left", report.load.poison_left).end_object();
    json.key("layers").begin_array();
    for (const LayerVerdict& layer : report.verdict.layers) {
        json.begin_object().field("name", layer.name).field("ok", layer.ok);
        json.field("max_error", layer.max_error).field("bound", layer.bound);
        json.field("tokens", layer.tokens).field("tokens_with_other_ids", layer.tokens_with_other_ids).end_object();
    }
    json.end_array();
    write_failure(report.failure, json);
    if (devices) {
        write_devices(devices->used, json);
        json.field("seed", devices->seed);
    }
    json.field("replay", replay).end_object();
}

}  // namespace shardproof::reports
