"""Independent oracles: what the library is compared with. Nothing in here imports ``pyrevolve``."""
