"""Tasks that fork: what they start is theirs, and no second process that carries the tick out."""

import pytest

from tests.integration.processes import python


def printed(folder, what):
    """What a process printed whose task does that."""
    with python(folder / "printed", "-m", "tests.integration.forking", folder, what) as process:
        assert process.exit_code() == 0, process.output
        return process.output


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_child_of_a_task_ends_by_a_signal(tmp_path, number):
    output = printed(tmp_path, number)
    assert "child ended" in output
    assert "ticked forking:succeeded other:succeeded" in output


@pytest.mark.parametrize(
    ("how", "code", "message"),
    [
        ("return", 0, ""),
        ("sys.exit", 3, ""),
        ("sys.exit with a message", 1, "no more\n"),
        ("raise", 1, "RuntimeError: in the child\n"),
    ],
)
def test_a_child_that_comes_out_of_a_task_ends_there(tmp_path, how, code, message):
    output = printed(tmp_path, how)
    assert message in output
    [ticked] = [line for line in output.splitlines() if line.startswith("ticked")]
    *runs, pid = ticked.split()[1:]
    assert runs == ["forking:succeeded", "other:succeeded"]
    # Everything behind the task is done once, by the process that ticked.
    assert output.endswith(f"child {code}\ncommitted True\nother {pid}\n{ticked}\n")
