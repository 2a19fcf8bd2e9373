"""Model servers on a free port of this machine, with clients."""

import contextlib
from pathlib import Path

import pytest

from harness.rig import ModelEntry


@contextlib.contextmanager
def serving(factory=None, limits=None, **options):
    """(client, application) of a server; the model is let go at the end, should it hang."""
    httpx = pytest.importorskip("httpx", reason="needs pip install 'spiral-hil[api]'")
    pytest.importorskip("fastapi", reason="needs pip install 'spiral-hil[api]'")
    from harness.api.running import in_background
    from harness.api.served import Limits, serve_model
    from harness.api.server import ModelServer

    served = serve_model(ModelEntry(factory=factory), limits or Limits())
    app = ModelServer(served, **options)
    try:
        with in_background(app) as url, httpx.Client(base_url=url, timeout=60.0) as client:
            yield client, app
            if hasattr(served.model.module, "release"):
                served.model.module.release.set()
    finally:
        served.worker.stop()


@pytest.fixture(scope="session")
def models_here():
    """``served_models`` can be imported, as by a factory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        yield


@pytest.fixture
def moody(models_here):
    """Starts servers of a model that misbehaves when it is asked to: moody(limits=...) -> (client, application)."""
    with contextlib.ExitStack() as stack:

        def start(factory="served_models:Moody", **options):
            return stack.enter_context(serving(factory, **options))

        yield start


@pytest.fixture(scope="module")
def robust(models_here):
    """(client, application) of one server for a whole file: nothing that is sent may harm it."""
    from harness.api.served import Limits

    with serving("served_models:Moody", Limits(body_bytes=100_000)) as pair:
        yield pair


@pytest.fixture(scope="session")
def reference():
    """(client, application) of the reference network."""
    with serving() as pair:
        yield pair
