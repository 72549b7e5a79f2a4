#include "props/gen/case_gen.hpp"

#include <rapidcheck.h>

#include "props/gen/draw_case.hpp"

namespace shardproof::props {

rc::Shrinkable<Case> shrinkable_case(const Case& c) {
    return rc::shrinkable::shrinkRecur(
        Case{c}, [](const Case& larger) { return rc::seq::fromContainer(smaller_cases(larger)); });
}

rc::Gen<Case> case_gen() {
    return [](const rc::Random& random, int /*size*/) {
        rc::Random copy = random;
        sim::Prng prng{copy.next()};
        return shrinkable_case(draw_case(prng));
    };
}

}  // namespace shardproof::props
