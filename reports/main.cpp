#include <csignal>
#include <iostream>
#include <string>
#include <vector>

#include "reports/cli.hpp"

int main(int argc, char** argv) {
    std::ios::sync_with_stdio(false);
    std::signal(SIGXFSZ, SIG_IGN);  // a file over its size limit is a failed write, with a message
    const std::vector<std::string> args(argv + (argc > 0 ? 1 : 0), argv + argc);
    return shardproof::reports::run(args, std::cout, std::cerr);
}
