"""The version of attncc: of the distribution that is installed, whose build takes it from git's tags."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("attncc")
except PackageNotFoundError:  # the source tree is on the path, and nothing is installed
    __version__ = "unknown"
