"""Random tensors in the published names: fan-in scaled matrices, norms around 1."""
import numpy as np
import torch

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


class Draw:
    def __init__(self, rng, dtype):
        self.rng, self.dtype, self.tensors = rng, DTYPES[dtype], {}

    def matrix(self, name, rows, cols, gain=1.0):
        self.put(name, self.rng.standard_normal((rows, cols)) * gain / np.sqrt(cols))

    def turned(self, name, experts, fan_in, fan_out, gain=1.0):
        """One tensor of all experts, each [in, out]."""
        self.put(name, self.rng.standard_normal((experts, fan_in, fan_out)) * gain / np.sqrt(fan_in))

    def norm(self, name, size):
        self.put(name, 1.0 + 0.3 * self.rng.standard_normal(size))

    def put(self, name, values):
        self.tensors[name] = torch.tensor(values).to(self.dtype)
