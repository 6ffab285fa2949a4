"""Matrix products by numpy on OpenBLAS."""
import time

import numpy as np

import blas
import worker

a = b = c = None


def matrix(size, down, across):
    i = np.arange(size)
    return ((i[:, None] * down + i[None, :] * across) % 7 - 3).astype(np.float32)


def prepare(size, **factors):
    global a, b, c
    a, b = matrix(size, *factors["a"]), matrix(size, *factors["b"])
    c = np.empty_like(a)
    np.matmul(a, b, out=c)
    return {"rows": c[:8].tolist()}


def multiply(repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        np.matmul(a, b, out=c)
    return {"seconds": time.perf_counter() - start}


worker.serve({"numpy": np.__version__, "OpenBLAS": blas.describe()}, prepare=prepare, multiply=multiply)
