"""What each test finds ready."""

import signal

import pytest

import edgeslm
from golden import MODEL


@pytest.fixture(autouse=True)
def interrupts():
    """Shells start programs in the background with interrupts ignored, and Python leaves it so."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def model():
    with edgeslm.Model(MODEL) as model:
        yield model


@pytest.fixture
def session(model):
    with model.session() as session:
        yield session
