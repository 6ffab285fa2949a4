"""Which OpenBLAS this process has loaded."""
import ctypes


def library():
    with open("/proc/self/maps") as maps:
        paths = sorted({line.split()[-1] for line in maps if "openblas" in line})
    if not paths:
        raise SystemExit("numpy and torch run on another BLAS; apt-get install libopenblas0-pthread")
    return ctypes.CDLL(paths[0])


def describe():
    """Version and the kernel that it chose for this processor."""
    openblas = library()
    openblas.openblas_get_config.restype = openblas.openblas_get_corename.restype = ctypes.c_char_p
    version = openblas.openblas_get_config().decode().split()[1]
    return f"{version} ({openblas.openblas_get_corename().decode()})"
