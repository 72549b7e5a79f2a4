#!/usr/bin/env bash
# no_serialized_wgmma_test.sh NVCC: a kernel that asserts between its wgmma and the wait for it must not compile through the
# wrapper, and with NDEBUG it must.
set -euo pipefail
nvcc=$1 wrapper=$(dirname -- "${BASH_SOURCE[0]}")/no_serialized_wgmma.sh
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT
cat > "$work/kernel.cu" <<'CUDA'
#include <cassert>
__global__ void kernel(float* out, unsigned long long a, unsigned long long b, int n) {
    float d[4] = {};
    for (int i = 0; i < n; ++i) {
        asm volatile("wgmma.fence.sync.aligned;");
        asm volatile("wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0,%1,%2,%3}, %4, %5, 1, 1, 1, 0, 0;"
                     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                     : "l"(a), "l"(b));
        assert(out[i] >= 0.0F);
        asm volatile("wgmma.commit_group.sync.aligned;");
        asm volatile("wgmma.wait_group.sync.aligned 0;");
    }
    for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = d[i];
}
CUDA
compile() {
    bash "$wrapper" "$nvcc" -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -c "$work/kernel.cu" -o "$work/kernel.o" \
        "$@" > "$work/log" 2>&1
}
if ! compile -DNDEBUG || [[ ! -e $work/kernel.o ]]; then
    cat -- "$work/log"
    echo "refused with NDEBUG"
    exit 1
fi
if compile || [[ -e $work/kernel.o ]] || ! grep -q 'serialised wgmma' "$work/log"; then
    cat -- "$work/log"
    echo "compiled although ptxas serialised wgmma"
    exit 1
fi
echo "refused: $(grep -m 1 -o "(C75[0-9]*) Potential.*serialized due to.*" "$work/log")"
