// Eigen for the oracle's own sources: no public header includes it.
#pragma once
#include <Eigen/Core>

namespace shardproof::oracle {

using Index = Eigen::Index;
using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using RowVector = Eigen::Matrix<double, 1, Eigen::Dynamic>;

}  // namespace shardproof::oracle
