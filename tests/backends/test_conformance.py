"""The conformance suite on attncc's own backends, and on nothing else: tests/plugins has the template's."""

from attncc.testing import BackendConformance


class TestReference(BackendConformance):
    backend = "reference"


class TestTorch(BackendConformance):
    backend = "torch"
