"""Where the names of version 2.2.8 went.

`lookup` is what ``__getattr__`` of a module calls for a name that the module does not define. It knows the
names that are kept in `pyrevolve.compat`, and what replaces those that are gone.
"""

from __future__ import annotations

__all__ = ["lookup"]

#: By module of 2.2.8: the names that are kept.
_KEPT = {
    "pyrevolve": frozenset(
        {
            "BytesStorage",
            "DiskRevolver",
            "MemoryRevolver",
            "MultiLevelRevolver",
            "NumpyStorage",
            "SingleLevelRevolver",
        }
    ),
    "pyrevolve.storage": frozenset({"BytesStorage", "NumpyStorage"}),
    "pyrevolve.compression": frozenset({"init_compression"}),
}

_ARCHITECTURE = (
    "pyrevolve.Costs(forward_step=..., reverse_step=..., save=(...), load=(...)) and the capacities of "
    "pyrevolve.HRevolve(n_timesteps, capacities, costs=...)"
)
_INSTRUCTIONS = "pyrevolve.Instruction, over which every schedule iterates"
_CODEC = "pyrevolve.compression.lossless(), .zfp() or .rounded(), or any codec with methods encode and decode"
_PRINTED = "logging.getLogger('pyrevolve'): the library prints nothing that would have to be grabbed"

#: By module of 2.2.8: the names that are gone, and what to use instead.
_GONE = {
    "pyrevolve": {
        "Architecture": _ARCHITECTURE,
        "BaseRevolver": "pyrevolve.Revolver",
        "OutputGrabber": _PRINTED,
        "RevolveError": "pyrevolve.ScheduleError",
        "cr": "pyrevolve.crevolve",
        "custom_pickle": "nothing in its place: storages take arrays as they are",
        "init": "pyrevolve.compat.init_compression",
        "logger": "logging.getLogger('pyrevolve')",
        "pyrevolve": "the package itself, which has all names",
        "schedulers": "the schedules of the package: pyrevolve.Revolve, pyrevolve.HRevolve and others",
        "tools": _PRINTED,
    },
    "pyrevolve.storage": {"CompressedObject": _CODEC},
    "pyrevolve.compression": {
        "CompressedObject": _CODEC,
        "DEFAULTS": _CODEC,
        "blosc_compress": "pyrevolve.compression.lossless('zstd')",
        "blosc_decompress": "pyrevolve.compression.lossless('zstd')",
        "compressors": _CODEC,
        "compressors_available": _CODEC,
        "compressors_known": _CODEC,
        "decompressors": _CODEC,
        "no_compression_in": "compression=None",
        "no_compression_out": "compression=None",
        "zfp_compress": "pyrevolve.compression.zfp(tolerance=...)",
        "zfp_decompress": "pyrevolve.compression.zfp(tolerance=...)",
    },
    "pyrevolve.schedulers": {
        "Action": _INSTRUCTIONS,
        "Architecture": _ARCHITECTURE,
        "CAction": _INSTRUCTIONS,
        "CRevolve": "pyrevolve.Revolve(n_timesteps, n_snapshots), or the state machine pyrevolve.CRevolve",
        "HAction": _INSTRUCTIONS,
        "HRevolve": "pyrevolve.HRevolve(n_timesteps, capacities, costs=...)",
        "Revolve": "pyrevolve.Revolve(n_timesteps, n_snapshots), with its arguments in this order",
        "Scheduler": "pyrevolve.Schedule",
        "base": "pyrevolve.Schedule",
        "crevolve": "pyrevolve.crevolve",
        "hrevolve": "pyrevolve.HRevolve(n_timesteps, capacities, costs=...)",
    },
}


def lookup(module: str, name: str) -> object:
    """Return what a module of 2.2.8 had under a name.

    Parameters
    ----------
    module : str
        Full name of the module.
    name : str
        A name that it does not define itself.

    Returns
    -------
    object
        A class or function of `pyrevolve.compat`.

    Raises
    ------
    ImportError
        The name is gone; the text says what to use instead. An AttributeError would not do: the import
        statement replaces its text by one of its own.
    AttributeError
        The module had no such name in 2.2.8 either.
    """
    if name in _KEPT.get(module, ()):
        from . import compat  # it stands above most modules that ask for it

        return getattr(compat, name)
    instead = _GONE.get(module, {}).get(name)
    if instead is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    raise ImportError(f"{module}.{name} of pyrevolve 2.2.8 is gone; use {instead}", name=f"{module}.{name}")
