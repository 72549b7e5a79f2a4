#include "gpu/transport/nccl_library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>

#include <cstdlib>
#include <exception>
#include <string_view>

namespace shardproof::gpu {
namespace {

constexpr const char* kDefaultFile = "libnccl.so.2";

std::string remedy() {
    return fmt::format(
        "set SHARDPROOF_NCCL=FILE to a libnccl.so.2 of {} or later ({} or later for several ranks of one "
        "process on one GPU)",
        nccl_version_text(kNcclConfigVersion), nccl_version_text(kNcclSharedGpuVersion));
}

std::string file_of(void* handle, const std::string& asked) {
    const link_map* map = nullptr;
    if (dlinfo(handle, RTLD_DI_LINKMAP, static_cast<void*>(&map)) != 0 || map == nullptr || map->l_name == nullptr ||
        *map->l_name == '\0')
        return asked;
    return map->l_name;
}

// Opened once for the process: NCCL keeps threads and state, and cannot be unloaded.
struct Outcome {
    std::unique_ptr<const NcclLibrary> library;
    std::exception_ptr error;
};

const Outcome& outcome() {
    static const Outcome once = [] {
        Outcome result;
        const char* file = std::getenv("SHARDPROOF_NCCL");
        try {
            result.library = std::make_unique<const NcclLibrary>(
                NcclLibrary::open(file != nullptr && *file != '\0' ? file : kDefaultFile));
        } catch (const EnvironmentError&) {
            result.error = std::current_exception();
        }
        return result;
    }();
    return once;
}

std::string_view base_name(std::string_view path) { return path.substr(path.find_last_of('/') + 1); }

}  // namespace

NcclLibrary NcclLibrary::open(const std::string& file) {
    NcclLibrary library;
    library.handle_ = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library.handle_ == nullptr) {
        const char* why = dlerror();
        throw EnvironmentError{fmt::format("NCCL cannot be opened ({})", printable(why == nullptr ? file : why, 400)),
                               remedy()};
    }
    library.file_ = file_of(library.handle_, file);
    const auto find = [&](const char* name) {
        void* found = dlsym(library.handle_, name);
        if (found != nullptr) return found;
        throw EnvironmentError{fmt::format("{} is no NCCL that can be used: it lacks {}", library.file_, name),
                               remedy()};
    };
    NcclFunctions& f = library.functions_;
#define SHARDPROOF_FIND(result, name, parameters) f.name = reinterpret_cast<decltype(f.name)>(find(#name));
    SHARDPROOF_NCCL_FUNCTIONS(SHARDPROOF_FIND)
#undef SHARDPROOF_FIND
#define SHARDPROOF_LOOK_FOR(result, name, parameters) \
    f.name = reinterpret_cast<decltype(f.name)>(dlsym(library.handle_, #name));
    SHARDPROOF_NCCL_OPTIONAL_FUNCTIONS(SHARDPROOF_LOOK_FOR)
#undef SHARDPROOF_LOOK_FOR
    if (f.ncclGetVersion(&library.version_) != ncclSuccess || library.version_ < kNcclConfigVersion)
        throw EnvironmentError{fmt::format("{} is NCCL {}, too old", library.file_, library.version_text()), remedy()};
    return library;
}

const NcclLibrary& NcclLibrary::get() {
    if (outcome().error) std::rethrow_exception(outcome().error);
    return *outcome().library;
}

std::string NcclLibrary::describe() {
    try {
        const NcclLibrary& library = get();
        return fmt::format("NCCL {} ({})", library.version_text(), library.file());
    } catch (const EnvironmentError& error) {
        return error.what();
    }
}

std::string NcclLibrary::version_text() const { return nccl_version_text(version_); }

void* NcclLibrary::symbol(const char* name) const { return dlsym(handle_, name); }

NcclError::NcclError(int code, const std::string& text, const char* file, int line)
    : EnvironmentError{fmt::format("NCCL answered {} ({}) at {}:{}", code, text, base_name(file), line),
                       "NCCL_DEBUG=WARN shows what NCCL says about it"},
      code_{code} {}

void check(ncclResult_t result, const char* file, int line) {
    if (result == ncclSuccess || result == ncclInProgress) return;
    const NcclFunctions& f = NcclLibrary::get().f();
    std::string text = f.ncclGetErrorString(result);
    const char* last = f.ncclGetLastError(nullptr);
    if (last != nullptr && *last != '\0') text += "; last: " + printable(last, 400);
    throw NcclError{result, text, file, line};
}

// Up to 2.8 the minor version had one digit.
std::string nccl_version_text(int version) {
    const int major_unit = version < 10000 ? 1000 : 10000;
    return fmt::format("{}.{}.{}", version / major_unit, version % major_unit / 100, version % 100);
}

}  // namespace shardproof::gpu
