// For tests: runs the command line in this process, on checkpoints that ship with the repository, in folders that go
// away.
#pragma once
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "oracle/model/error.hpp"
#include "props/device_check.hpp"
#include "reports/cli.hpp"

namespace shardproof::reports {

struct Printed {
    int code = 0;
    std::string out;
    std::string err;
};

inline Printed run_command_line(const std::vector<std::string>& args) {
    std::ostringstream out;
    std::ostringstream err;
    const int code = run(args, out, err);
    return {code, out.str(), err.str()};
}

// Whether GPU ranks would run here.
inline bool has_gpu() {
    try {
        return make_devices({.world = 1, .transport = "loopback", .deadline_s = 5}) != nullptr;
    } catch (const EnvironmentError&) {
        return false;
    }
}

class TemporaryFolder {
public:
    TemporaryFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "shardproof-XXXXXX").string();
        if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
        path_ = name;
    }
    ~TemporaryFolder() { std::filesystem::remove_all(path_); }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    [[nodiscard]] std::string operator/(const std::string& name) const { return (path_ / name).string(); }
    [[nodiscard]] bool is_empty() const { return std::filesystem::is_empty(path_); }

private:
    std::filesystem::path path_;
};

inline std::string text_of(const std::string& file) {
    const std::ifstream in(file, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

inline void write_text(const std::string& file, const std::string& text) {
    std::ofstream(file, std::ios::binary) << text;
}

}  // namespace shardproof::reports
