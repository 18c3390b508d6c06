"""One module per benchmark: add_arguments(parser) and run(args) -> exit code.

Module level imports stay light (standard library and numpy): every module is imported to build --help.
"""
