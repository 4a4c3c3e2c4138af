"""Build the one extension module; everything else about the package is in pyproject.toml.

Environment variables, for developers:

``PYREVOLVE_SANITIZE``
    Comma-separated sanitizers, such as ``address,undefined``: builds with them into ``build/sanitize``.
"""

import os
import sys
from glob import glob

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

try:
    from Cython.Build import cythonize
except ImportError:
    sys.exit("building pyrevolve needs Cython >= 3.0: pip install Cython, or build with build isolation")

INCLUDE = "src/revolve_cpp/include"
SANITIZE = os.environ.get("PYREVOLVE_SANITIZE", "")

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


(crevolve,) = cythonize(
    [
        Extension(
            "pyrevolve.crevolve",
            sources=["pyrevolve/crevolve.pyx", *sorted(glob("src/revolve_cpp/*.cpp"))],
            include_dirs=[INCLUDE],
            language="c++",
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
        "pyrevolve.examples",
        "pyrevolve.examples.fwi",
    ],
    package_dir={"pyrevolve.examples": "examples"},
    ext_modules=[crevolve],
    cmdclass={"build_ext": BuildExt},
    # Objects with and without sanitizers must not be mistaken for one another.
    options={"build": {"build_base": "build/sanitize"}} if SANITIZE else {},
    zip_safe=False,
)
