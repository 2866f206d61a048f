"""The jobs of the package on a command line: `ladd`, and the scripts in `examples/`."""
