"""The demonstration, ``python -m pyrevolve.demo``: the FWI gradient of one shot inside a memory budget."""
