"""The version of the package, which is the version of the library that it carries."""

__version__ = "0.1.0"
