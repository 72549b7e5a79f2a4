// Gate: holds streams until it is opened.
#pragma once
#include <memory>

#include "gpu/stream.hpp"

namespace shardproof::gpu {

class Gate {
public:
    // After `give_way_s` it lets pass all the same: a program that forgot it must end.
    explicit Gate(double give_way_s);
    ~Gate();  // opens
    Gate(const Gate&) = delete;
    Gate& operator=(const Gate&) = delete;

    // What is given to `stream` from here on waits.
    void hold(StreamView stream);
    void open() noexcept;

private:
    struct State;
    std::shared_ptr<State> state_;  // shared with what waits
};

}  // namespace shardproof::gpu
