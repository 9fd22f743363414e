import sys

import pytest
from pyramid.exceptions import ConfigurationError

from pyramid_cron.__main__ import main, parser
from pyramid_cron.demo import serve


def test_without_options_the_demo_is_on_port_6543_at_the_real_pace():
    options = parser().parse_args([])
    assert (options.port, options.fast) == (6543, None)


@pytest.mark.parametrize(("said", "seconds"), [(["--fast"], 3.0), (["--fast", "0.5"], 0.5)])
def test_fast_takes_three_seconds_a_minute_or_as_many_as_said(said, seconds):
    assert parser().parse_args(said).fast == seconds


@pytest.mark.parametrize(
    "said",
    [
        ["--port", "http"],
        ["--port", "-1"],
        ["--port", "65536"],
        ["--fast", "soon"],
        ["--fast", "0"],
        ["--fast", "-1"],
        ["--fast", "61"],
        ["--fast", "nan"],
    ],
)
def test_a_wrong_option_is_told_by_name_and_value(said, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(said)
    assert stopped.value.code == 2
    last_line = capsys.readouterr().err.splitlines()[-1]
    assert said[0] in last_line
    assert repr(said[1]) in last_line


def test_without_its_packages_the_demo_says_how_to_install_them(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "waitress", None)
    assert main([]) == 2
    assert capsys.readouterr().err == (
        'the demo needs waitress: pip install "pyramid_cron[demo]"\n'
    )


def test_a_trigger_that_gets_no_answer_says_so_and_goes_on(capsys):
    serve.hit("http://127.0.0.1:1/cron")
    assert capsys.readouterr().out.startswith("The trigger failed: ")


def test_where_the_host_does_not_tell_its_zone_it_is_utc(monkeypatch):
    def unknown(settings):
        raise ConfigurationError("no zone")

    monkeypatch.setattr(serve, "parse_settings", unknown)
    assert serve.zone_name() == "UTC"
