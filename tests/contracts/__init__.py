"""Test suites that methods of this package pass, to be run by others over their own."""

import pytest

pytest.register_assert_rewrite("tests.contracts.purifiers")
