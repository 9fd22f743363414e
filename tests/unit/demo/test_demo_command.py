import sys

import pytest
from pyramid.exceptions import ConfigurationError

from pyramid_cron import demo
from pyramid_cron.__main__ import build_parser, main


def test_without_options_the_demo_is_on_port_6543():
    assert build_parser().parse_args([]).port == 6543


@pytest.mark.parametrize("port", ["http", "-1", "65536"])
def test_a_wrong_port_is_named(port, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--port", port])
    assert stopped.value.code == 2
    assert f"argument --port: {port!r} is no port" in capsys.readouterr().err


def test_without_its_packages_the_demo_says_how_to_install_them(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "waitress", None)
    assert main([]) == 2
    assert capsys.readouterr().err == (
        'the demo needs waitress: pip install "pyramid_cron[demo]"\n'
    )


def test_a_trigger_that_gets_no_answer_says_so_and_goes_on(caplog):
    caplog.set_level("INFO")
    demo.hit("http://127.0.0.1:1")
    assert "http://127.0.0.1:1/cron  # failed: " in caplog.text


def test_where_the_host_does_not_tell_its_zone_it_is_utc(monkeypatch):
    def unknown(settings):
        raise ConfigurationError("no zone")

    monkeypatch.setattr(demo, "parse_settings", unknown)
    assert demo.zone_name() == "UTC"
