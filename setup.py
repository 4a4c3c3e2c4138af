"""Build the one extension module; everything else about the package is in pyproject.toml.

Environment variables, for developers and releases:

``PYREVOLVE_SANITIZE``
    Comma-separated sanitizers, such as ``address,undefined``: builds with them into ``build/sanitize``.
``PYREVOLVE_STABLE_ABI``
    ``1`` builds, in ``build/stable``, for CPython's stable ABI: one wheel for CPython 3.12 and later. Without
    it, what is built is for the interpreter that builds, and somewhat faster.
"""

import os
import sys
import sysconfig
from glob import glob

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

try:
    from Cython.Build import cythonize
except ImportError:
    sys.exit("building pyrevolve needs Cython >= 3.1: pip install Cython, or build with build isolation")

INCLUDE = "src/revolve_cpp/include"
SANITIZE = os.environ.get("PYREVOLVE_SANITIZE", "")
STABLE_ABI = os.environ.get("PYREVOLVE_STABLE_ABI", "0")
# The first whose stable ABI has vectorcall, without which calls of methods take two thirds more instructions.
OLDEST_OF_STABLE_ABI = (3, 12)

if STABLE_ABI not in ("0", "1"):
    sys.exit(f"PYREVOLVE_STABLE_ABI must be 0 or 1, got {STABLE_ABI!r}")
if STABLE_ABI == "1" and (
    sys.implementation.name != "cpython"
    or sys.version_info < OLDEST_OF_STABLE_ABI
    or sysconfig.get_config_var("Py_GIL_DISABLED")
):
    sys.exit(
        "PYREVOLVE_STABLE_ABI=1 needs CPython >= 3.12 with its global lock, "
        f"this is {sys.implementation.name} {sys.version}; leave the variable out to build for it alone"
    )

# Threads of our own and never OpenMP: a second OpenMP runtime beside Devito's makes every step several times
# slower. No -march=native: a wheel runs on every machine of its architecture.
UNIX_COMPILE = ["-std=c++17", "-O3", "-g0", "-pthread", "-fvisibility=hidden", "-fvisibility-inlines-hidden"]
# The C library's own dlopen needs -ldl before glibc 2.34.
UNIX_LINK = ["-pthread", "-ldl"] if sys.platform.startswith("linux") else ["-pthread"]
MSVC_COMPILE = ["/std:c++17", "/O2", "/EHsc"]
SANITIZE_COMPILE = [
    f"-fsanitize={SANITIZE}",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
    "-UNDEBUG",
    "-D_GLIBCXX_ASSERTIONS",
    "-O1",
    "-g",
]


class BuildExt(build_ext):
    """Choose the compiler's flags once it is known which compiler it is."""

    def build_extensions(self) -> None:
        for extension in self.extensions:
            if self.compiler.compiler_type == "msvc":
                extension.extra_compile_args = list(MSVC_COMPILE)
                continue
            extension.extra_compile_args = list(UNIX_COMPILE)
            extension.extra_link_args = list(UNIX_LINK)
            if SANITIZE:
                extension.extra_compile_args += SANITIZE_COMPILE
                extension.extra_link_args += [f"-fsanitize={SANITIZE}"]
        super().build_extensions()


# What extension and wheel are built for, and where: objects of different builds must not be mistaken for one
# another.
extension_options: dict[str, object] = {}
command_options: dict[str, dict[str, str]] = {}
if STABLE_ABI == "1":
    major, minor = OLDEST_OF_STABLE_ABI
    extension_options = {
        "py_limited_api": True,
        "define_macros": [("Py_LIMITED_API", f"0x{major:02X}{minor:02X}0000")],
    }
    command_options["bdist_wheel"] = {"py_limited_api": f"cp{major}{minor}"}
if SANITIZE or STABLE_ABI == "1":
    command_options["build"] = {"build_base": "build/sanitize" if SANITIZE else "build/stable"}

(crevolve,) = cythonize(
    [
        Extension(
            "pyrevolve.crevolve",
            sources=["pyrevolve/crevolve.pyx", *sorted(glob("src/revolve_cpp/*.cpp"))],
            include_dirs=[INCLUDE],
            language="c++",
            **extension_options,
        )
    ],
    build_dir="build/cython",
    compiler_directives={"language_level": 3},
)
# Set after cythonize, which would copy these files into its build directory.
crevolve.depends = ["setup.py", *sorted(glob(f"{INCLUDE}/**/*.hpp", recursive=True))]

setup(
    # The example that `pyrevolve fwi` runs stays where examples are.
    packages=[
        *find_packages(include=["pyrevolve", "pyrevolve.*"]),
        "pyrevolve.fwi",
    ],
    package_dir={"pyrevolve.fwi": "examples/fwi"},
    ext_modules=[crevolve],
    cmdclass={"build_ext": BuildExt},
    options=command_options,
    zip_safe=False,
)
