"""What is on record of an error that carries SQL, and its parameters, in its text."""

import sys
from datetime import timedelta

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, create_engine, insert, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.orm import Session

from pyramid_cron import GiveUp, Retry, RetryLater, TaskTimeout
from pyramid_cron.runtime.runner import describe_failure
from tests.apps import NOON, configure, cron_of

SECRET = "bob@example.com"
notes = Table(
    "notes",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("text", String, unique=True),
)


def refused():
    """Insert a row twice."""
    engine = create_engine("sqlite://")
    notes.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(notes), [{"text": SECRET}, {"text": "other"}])
        connection.execute(insert(notes), [{"text": SECRET}, {"text": "another"}])


def raised_by(function):
    with pytest.raises(Exception) as caught:  # noqa: PT011 - its text is what is tested
        function()
    return caught.value


def test_an_error_of_sqlalchemy_is_one_line_without_its_statement_and_values():
    error = raised_by(refused)
    assert SECRET in str(error)
    failure = describe_failure(error)
    driver_s = "(sqlite3.IntegrityError) UNIQUE constraint failed: notes.text"
    assert failure.error == f"sqlalchemy.exc.IntegrityError: {driver_s}"
    assert "INSERT INTO notes" in failure.traceback
    assert SECRET not in failure.traceback
    assert SECRET in str(error), "the application's log has it all"


def test_a_run_s_record_and_what_monitors_get_have_no_values():
    config = configure()
    config.add_cron_task(lambda system: refused(), name="refused")
    [run] = cron_of(config).tick(at=NOON).runs
    assert run.error.endswith("UNIQUE constraint failed: notes.text")
    assert SECRET not in run.traceback


def test_what_an_error_led_to_has_no_values_either():
    def wrapped():
        try:
            refused()
        except IntegrityError as error:
            raise ValueError(f"not saved: {error}") from error

    failure = describe_failure(raised_by(wrapped))
    assert failure.error.startswith("ValueError: not saved: (sqlite3.IntegrityError) UNIQUE")
    assert "\n" not in failure.error
    assert SECRET not in failure.error + failure.traceback
    assert "ValueError: not saved" in failure.traceback


def test_a_session_that_was_not_rolled_back_repeats_no_values():
    def used_again():
        engine = create_engine("sqlite://")
        notes.metadata.create_all(engine)
        with Session(engine) as session:
            session.execute(insert(notes), [{"text": SECRET}])
            with pytest.raises(IntegrityError):
                session.execute(insert(notes), [{"text": SECRET}])
            raise ValueError("Original exception was: " + str(raised_by(refused)))

    failure = describe_failure(raised_by(used_again))
    assert SECRET not in failure.error + failure.traceback


POSTGRESQL = (
    'null value in column "id" of relation "notes" violates not-null constraint\n'
    f"DETAIL:  Failing row contains (null, {SECRET},\nand more of {SECRET})."
)
MYSQL = f"""(1062, "Duplicate entry '{SECRET}' for key 'notes.text'")"""


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (POSTGRESQL, POSTGRESQL.splitlines()[0]),
        (MYSQL, """(1062, "Duplicate entry '…' for key 'notes.text'")"""),
    ],
)
def test_what_drivers_quote_of_a_row_is_left_out(message, shown):
    def fail():
        cause = RuntimeError(message)
        raise IntegrityError("INSERT INTO notes", {"text": SECRET}, cause) from cause

    failure = describe_failure(raised_by(fail))
    assert failure.error == f"sqlalchemy.exc.IntegrityError: (builtins.RuntimeError) {shown}"
    assert SECRET not in failure.traceback
    assert shown in failure.traceback


def test_a_driver_s_own_error_has_no_detail():
    error = RuntimeError(f"duplicate key\nDETAIL:  Key (text)=({SECRET}) already exists.")
    failure = describe_failure(error)
    assert failure.error == "RuntimeError: duplicate key"
    assert SECRET not in failure.traceback


def test_an_error_of_sqlalchemy_without_a_driver_s_is_shown():
    def fail():
        with create_engine("sqlite://").connect() as connection:
            connection.execute(text("SELECT :it"), {"else": SECRET})

    error = raised_by(fail)
    assert isinstance(error, StatementError)
    failure = describe_failure(error)
    assert "A value is required for bind parameter 'it'" in failure.error
    assert SECRET not in failure.error + failure.traceback


def test_the_lines_of_other_errors_stay():
    assert describe_failure(ValueError("one\ntwo")).error == "ValueError: one\ntwo"


@pytest.mark.parametrize(
    ("error", "is_given_up"),
    [
        (ConnectionResetError(), False),
        (ValueError(), True),
        (GiveUp("no such order"), True),
        (RetryLater("10m"), False),
        (SystemExit(), True),
        (TaskTimeout(), False),  # what follows goes by the run's state
    ],
)
def test_an_error_that_retry_does_not_name_leaves_no_other_attempt(error, is_given_up):
    retry = Retry(attempts=3, on=(ConnectionError, TimeoutError))
    assert describe_failure(error, retry).is_given_up is is_given_up


def test_every_error_is_tried_again_but_one_that_gives_up():
    retry = Retry(attempts=3)
    assert not describe_failure(SystemExit(), retry).is_given_up
    assert describe_failure(GiveUp("no such order"), retry).is_given_up


def test_an_error_that_can_t_be_shown_says_as_much_about_the_next_attempt():
    class Unshowable(GiveUp):
        def __str__(self):
            raise ValueError

    failure = describe_failure(Unshowable(), Retry(attempts=3))
    assert failure.is_given_up


def test_retry_later_says_how_long_in_its_text_too():
    failure = describe_failure(RetryLater("10m", "the bank is closed"))
    assert failure.retry_after == timedelta(minutes=10)
    assert failure.error.endswith("RetryLater: the bank is closed (not before 0:10:00 have passed)")
    assert describe_failure(RetryLater(5)).error.endswith("not before 0:00:05 have passed")


def test_a_wrong_wait_is_refused_where_it_is_raised():
    with pytest.raises(ValueError, match=r"^after='soon': "):
        RetryLater("soon")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="has no groups of errors")
def test_a_group_of_errors_counts_as_what_is_in_it():
    retry = Retry(attempts=3, on=ConnectionError)

    def failure(*errors):
        nested = ExceptionGroup("inner", errors)  # noqa: F821
        return describe_failure(ExceptionGroup("outer", [nested, ConnectionError()]), retry)  # noqa: F821

    assert not failure(ConnectionResetError()).is_given_up
    assert failure(ConnectionResetError(), ValueError()).is_given_up
    assert failure(RetryLater("10m"), RetryLater("20m")).retry_after == timedelta(minutes=20)
    given_up = failure(RetryLater("10m"), GiveUp("closed"))
    assert (given_up.is_given_up, given_up.retry_after) == (True, None)
