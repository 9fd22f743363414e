"""Tasks that fork."""

import pytest

from tests.integration.processes import python


def printed(folder, what):
    """What a process printed whose task does that."""
    with python(folder / "printed", "-m", "tests.integration.forking", folder, what) as process:
        assert process.exit_code() == 0, process.output
        return process.output


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_child_of_a_task_ends_when_it_is_told_to(tmp_path, number):
    output = printed(tmp_path, number)
    assert "child ended" in output
    assert "ticked forking:succeeded other:succeeded" in output
