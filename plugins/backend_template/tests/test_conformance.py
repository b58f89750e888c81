from attncc.testing import BackendConformance


class TestSdpa(BackendConformance):
    backend = "sdpa"
