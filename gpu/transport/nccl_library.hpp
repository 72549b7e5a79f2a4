// NcclLibrary: NCCL as found at run time. The program starts without it.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "gpu/transport/nccl_abi.hpp"
#include "oracle/model/error.hpp"

namespace shardproof::gpu {

// Several ranks of one process on one GPU need this much.
inline constexpr int kNcclSharedGpuVersion = 23000;
// The device API is compiled against these headers, and used with a library of the same version only.
inline constexpr int kNcclDeviceApiVersion = 23203;

class NcclLibrary {
public:
    // From SHARDPROOF_NCCL=FILE, else libnccl.so.2 by the loader's path. Throws EnvironmentError: not found, or it
    // lacks a function; says which file was tried and which version is needed.
    [[nodiscard]] static const NcclLibrary& get();
    // That file. Throws as get() does.
    [[nodiscard]] static NcclLibrary open(const std::string& file);
    [[nodiscard]] static std::string describe();  // "NCCL 2.32.3 (/path)", or why there is none

    [[nodiscard]] int version() const { return version_; }       // 23203 for 2.32.3
    [[nodiscard]] std::string version_text() const;              // "2.32.3"
    [[nodiscard]] const std::string& file() const { return file_; }
    [[nodiscard]] const NcclFunctions& f() const { return functions_; }
    [[nodiscard]] void* symbol(const char* name) const;          // nullptr where the library lacks it

private:
    NcclLibrary() = default;
    int version_ = 0;
    std::string file_;
    NcclFunctions functions_{};
    void* handle_ = nullptr;
};

class NcclError : public EnvironmentError {
public:
    NcclError(int code, const std::string& text, const char* file, int line);
    [[nodiscard]] int code() const { return code_; }

private:
    int code_;
};
// Throws NcclError, with the library's own last words, for all but ncclSuccess and ncclInProgress: a call on a
// non-blocking communicator answers the latter and is to be waited for.
void check(ncclResult_t result, const char* file = __builtin_FILE(), int line = __builtin_LINE());
// "2.32.3" for 23203.
[[nodiscard]] std::string nccl_version_text(int version);

}  // namespace shardproof::gpu
