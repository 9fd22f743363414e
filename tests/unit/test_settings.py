import re
import warnings
from datetime import timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
import tzlocal
from hypothesis import given
from hypothesis import strategies as st
from pyramid.exceptions import ConfigurationError
from sqlalchemy import make_url
from webob.headers import EnvironHeaders

from pyramid_cron.guard import Networks, parse_networks
from pyramid_cron.settings import SETTINGS, parse_settings

NAMES = [setting.name for setting in SETTINGS]


def parse(**settings):
    """Settings without their prefix, in a zone that does not depend on the host."""
    named = {f"cron.{name}": value for name, value in settings.items()}
    return parse_settings({"cron.timezone": "UTC", **named})


def fault(**settings):
    with pytest.raises(ConfigurationError) as caught:
        parse(**settings)
    return str(caught.value)


# All of them


def test_without_settings_there_are_defaults():
    settings = parse()
    assert settings.url == make_url("sqlite:///pyramid_cron.sqlite")
    assert settings.table_prefix == "cron_"
    assert settings.path == "/cron"
    assert settings.allow == parse_networks(["127.0.0.1", "::1"])
    assert settings.tokens == ()
    assert settings.trusted_proxies == Networks()
    assert settings.budget == 60.0


def test_settings_of_others_are_ignored():
    assert parse_settings({"cron.timezone": "UTC", "cronut": "x", "pyramid.cron.x": 1}) == parse()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("cron.budgte", "cron.budget"),
        ("cron.tokens", "cron.token"),
        ("cron.Path", "cron.path"),
        ("cron.trusted_proxy", "cron.trusted_proxies"),
        ("pyramid_cron.url", "cron.url"),
        ("pyramid_cron.tokens", "cron.token"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest_known_one(name, meant):
    with pytest.raises(
        ConfigurationError, match=rf"^{re.escape(name)} is no setting .*did you mean '{meant}'\?"
    ):
        parse_settings({name: "x"})


def test_an_unknown_setting_like_no_other_is_refused_with_all_of_them():
    with pytest.raises(
        ConfigurationError, match=r"cron\.zzzzzzzzzzzzzzzzzzzz is no setting"
    ) as caught:
        parse_settings({"cron.zzzzzzzzzzzzzzzzzzzz": "x"})
    assert [name for name in NAMES if name not in str(caught.value)] == []


def test_the_bare_prefix_is_an_unknown_setting():
    with pytest.raises(ConfigurationError, match=r"^cron\. is no setting"):
        parse_settings({"cron.": "x"})


@pytest.mark.parametrize("name", ["lease", "retention", "shutdown_timeout"])
def test_a_bad_duration_is_explained_once(name):
    text = fault(**{name: "soon"})
    assert text.startswith(f"cron.{name}: 'soon' is no such duration; expected ")
    assert text.count("30m") + text.count("90s") + text.count("12h") == 1


MAY_BE_EMPTY = {setting.name for setting in SETTINGS if setting.default == ""}


@pytest.mark.parametrize("name", sorted({*NAMES} - MAY_BE_EMPTY))
@pytest.mark.parametrize("empty", ["", "  \n", None, []])
def test_a_setting_that_needs_a_value_is_refused_empty(name, empty):
    with pytest.raises(ConfigurationError, match=rf"^{name}: .*; expected "):
        parse_settings({"cron.timezone": "UTC", name: empty})


@pytest.mark.parametrize("empty", ["", "  \n", None, [], [" "]])
def test_empty_proxies_are_none(empty):
    assert parse(trusted_proxies=empty).trusted_proxies == Networks()


@pytest.mark.parametrize("empty", ["", "  \n", None, ()])
def test_an_empty_token_is_no_way_to_have_none(empty):
    assert fault(token=empty).startswith("cron.token: it is there but empty, and so guards nothing")


@pytest.mark.parametrize("name", ["permission", "view_permission"])
@pytest.mark.parametrize("empty", ["", "  \n", None])
def test_an_empty_permission_is_no_way_to_have_none(name, empty):
    assert fault(**{name: empty}).startswith(f"cron.{name}: it is there but empty")


def test_hosts_are_names_without_ports_in_any_case():
    assert parse(hosts="Shop.Example. intranet\nlocalhost").hosts == {
        "shop.example",
        "intranet",
        "localhost",
    }
    assert parse(hosts="").hosts == frozenset()


@pytest.mark.parametrize(
    "hosts", ["shop.example:80", "https://shop.example", "*", "*.example", "a,b", 5]
)
def test_what_is_no_name_of_a_host_is_refused(hosts):
    assert fault(hosts=hosts).startswith("cron.hosts: ")


def test_a_permission_is_a_name():
    assert parse(permission=" view ").permission == "view"
    assert "cron.permission: " in fault(permission=3)


def test_every_setting_says_what_it_means():
    assert [
        setting.name for setting in SETTINGS if not (setting.meaning and setting.expectation)
    ] == []


@given(name=st.sampled_from(NAMES), value=st.text() | st.integers() | st.floats() | st.binary())
def test_a_garbled_value_is_taken_or_refused_by_the_name_of_its_setting(name, value):
    try:
        parse_settings({"cron.timezone": "UTC", name: value})
    except ConfigurationError as error:
        outcome = str(error)
    else:
        outcome = f"{name}: taken"
    assert outcome.startswith(f"{name}: ")


# cron.url


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///a.db", "sqlite:////var/a.db", "sqlite+pysqlite:///a.db"]
)
def test_sqlite_urls_are_taken_as_text_or_url(url):
    assert parse(url=f" {url}\n").url == make_url(url)
    assert parse(url=make_url(url)).url == make_url(url)


@pytest.mark.parametrize(
    "url",
    ["oracle://u:hunter2@db/x", "sqlite+aiosqlite:///a.db", "mysql+asyncmy://db", "SQLITE://"],
)
def test_another_database_is_refused_with_the_supported_ones(url):
    message = fault(url=url)
    assert message.startswith(f"cron.url: '{url.partition(':')[0]}' is not supported, only sqlite")
    assert "hunter2" not in message


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://u:secret@db/x", "postgresql+psycopg"),
        ("mysql://db/x", "mysql+pymysql"),
        ("mariadb://db/x", "mariadb+pymysql"),
    ],
)
def test_servers_are_reached_by_our_drivers(monkeypatch, url, driver):
    monkeypatch.setattr("pyramid_cron.setting_parsers.find_spec", lambda name: True)
    assert parse(url=url).url == make_url(url).set(drivername=driver)
    monkeypatch.setattr("pyramid_cron.setting_parsers.find_spec", lambda name: None)
    message = fault(url=url)
    assert f"{url.partition(':')[0]!r} needs the package {driver.partition('+')[2]}" in message
    assert 'pip install "pyramid_cron[' in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("name", "text", "seconds"),
    [
        ("lease", "90s", 90),
        ("lease", "1.5", 1.5),
        ("retention", "30d", 30 * 86400),
        ("retention", timedelta(hours=1), 3600),
        ("shutdown_timeout", "0", 0),
        ("shutdown_timeout", 2.5, 2.5),
    ],
)
def test_durations_are_text_seconds_or_a_timedelta(name, text, seconds):
    assert getattr(parse(**{name: text}), name) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("name", "value"),
    [("lease", "0.5"), ("lease", "soon"), ("retention", "1"), ("shutdown_timeout", "-1")]
    + [(name, "36526d") for name in ("lease", "retention", "shutdown_timeout")],
)
def test_a_bad_duration_is_refused_by_name(name, value):
    assert fault(**{name: value}).startswith(f"cron.{name}: ")


@pytest.mark.parametrize("url", ["pyramid_cron.sqlite", "sqlite:/a.db", 5, b"sqlite://"])
def test_text_that_is_no_url_is_shown(url):
    assert fault(url=url).startswith(f"cron.url: {url!r} is no database URL; expected ")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:/u:hunter2@db/x",
        "postgresql://u:hunter2@db:port/x",
        "u:p@ss@hunter2",
        "db?password=hunter2",
    ],
)
def test_text_that_is_no_url_is_not_shown_where_it_may_hold_a_password(url):
    message = fault(url=url)
    assert "cron.url: the text (not shown, it may hold a password) is no database URL" in message
    assert "hunter2" not in message


def test_what_no_text_can_say_to_the_driver_is_refused(monkeypatch):
    monkeypatch.setattr("pyramid_cron.setting_parsers.find_spec", lambda name: True)
    message = fault(url="postgresql://u:hunter2@db/x?prepare_threshold=0")
    assert message.startswith("cron.url: prepare_threshold can't be set by a URL")
    assert "hunter2" not in message
    assert parse(url="postgresql://db/x?connect_timeout=3").url.query == {"connect_timeout": "3"}


def test_a_sqlite_url_short_of_a_slash_is_refused():
    message = fault(url="sqlite://app.sqlite")
    assert "'sqlite://app.sqlite' names a host" in message
    assert "sqlite:///relative.sqlite" in message


def test_a_sqlite_url_with_a_password_is_refused_without_showing_it():
    assert "hunter2" not in fault(url="sqlite://u:hunter2@/a.db?key=hunter2")


# cron.table_prefix


@pytest.mark.parametrize("prefix", ["c", "_", "Cron2_", "x" * 30])
def test_a_table_prefix_is_a_plain_name(prefix):
    assert parse(table_prefix=prefix).table_prefix == prefix


@pytest.mark.parametrize(
    "prefix", ["1cron", "cron-", "cron.", "a b", "crön", 'x"; drop', "x" * 31, 5]
)
def test_a_table_prefix_that_sql_would_have_to_quote_is_refused(prefix):
    message = fault(table_prefix=prefix)
    assert message.startswith(f"cron.table_prefix: {prefix!r} ")
    assert "up to 30 ASCII letters, digits and underscores" in message


# cron.timezone


def test_a_time_zone_is_kept_by_name():
    assert parse(timezone="Europe/Berlin").timezone == "Europe/Berlin"


@pytest.mark.parametrize(
    "zone",
    [
        *("Mars/Olympus", "Europe", "../UTC", "/etc/localtime", "\0", 1),
        *("localtime", "posixrules", "posix/Europe/Berlin", "right/UTC"),
    ],
)
def test_an_unknown_time_zone_is_refused(zone):
    message = fault(timezone=zone)
    assert message.startswith(f"cron.timezone: {zone!r} is ")
    assert "such as Europe/Berlin" in message


@pytest.mark.parametrize("host", ["Asia/Tokyo", "posix/Asia/Tokyo", "right/Asia/Tokyo"])
def test_the_zone_of_the_host_is_the_default(monkeypatch, host):
    monkeypatch.setattr(tzlocal, "get_localzone", lambda: host)
    assert parse_settings({}).timezone == "Asia/Tokyo"


def contradicting():
    raise ZoneInfoNotFoundError("conflicting time zones")


def guessing():
    warnings.warn("Timezone offset does not match system offset", stacklevel=1)
    return ZoneInfo("UTC")


def forbidden():
    raise PermissionError(13, "Permission denied")


def nameless():
    with open("/usr/share/zoneinfo/UTC", "rb") as file:
        return ZoneInfo.from_file(file, key="local")


@pytest.mark.parametrize(
    ("host", "why"),
    [
        (contradicting, "conflicting time zones"),
        (guessing, "does not match system offset"),
        (forbidden, "Permission denied"),
        (nameless, "'local' is no known time zone"),
    ],
)
def test_a_host_that_cannot_tell_its_zone_needs_the_setting(monkeypatch, host, why):
    monkeypatch.setattr(tzlocal, "get_localzone", host)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as in an app that does not turn them into errors
        with pytest.raises(ConfigurationError, match=r"set cron\.timezone to an IANA") as caught:
            parse_settings({})
    assert why in str(caught.value)
    assert parse_settings({"cron.timezone": "UTC"}).timezone == "UTC"


def test_a_host_without_any_zone_keeps_utc(monkeypatch):
    def unconfigured():
        warnings.warn("Can not find any timezone configuration, defaulting to UTC.", stacklevel=1)
        return ZoneInfo("UTC")

    monkeypatch.setattr(tzlocal, "get_localzone", unconfigured)
    assert parse_settings({}).timezone == "UTC"


# cron.path


@pytest.mark.parametrize("path", ["/cron", "/-/cron", "/a.b/c_d~e", "/...", "/.cron"])
def test_a_path_begins_with_a_slash(path):
    assert parse(path=path).path == path


@pytest.mark.parametrize(
    "path",
    [
        "cron",
        "/",
        "//",
        "/cron/",
        "/a//b",
        "/a b",
        "/{x}",
        "/a*b",
        "/a?b",
        "/../a",
        "/a/.",
        "/ü",
        1,
    ],
)
def test_a_path_that_is_no_plain_one_is_refused(path):
    message = fault(path=path)
    assert message.startswith(f"cron.path: {path!r} is ")
    assert "a path such as /cron" in message


# cron.allow, cron.trusted_proxies


@pytest.mark.parametrize("name", ["allow", "trusted_proxies"])
@pytest.mark.parametrize(
    "value",
    [
        "10.0.0.0/24 ::1",
        "\n10.0.0.0/24\n::1\n",
        ["10.0.0.0/24", "::1"],
        ("::1 10.0.0.0/24",),
        {"10.0.0.0/24", "::1"},
    ],
)
def test_addresses_come_as_text_or_as_a_list(name, value):
    assert getattr(parse(**{name: value}), name) == parse_networks(["10.0.0.0/24", "::1"])


@pytest.mark.parametrize("name", ["allow", "trusted_proxies"])
@pytest.mark.parametrize("entry", ["localhost", "10.1", "10.0.0.9-10.0.0.1", "127.0.0.1,"])
def test_a_bad_address_is_refused_by_name(name, entry):
    message = fault(**{name: f"::1 {entry}"})
    assert message.startswith(f"cron.{name}: {entry!r} ")
    assert "; expected addresses, blocks" in message


@pytest.mark.parametrize("value", [2130706433, [1], {"127.0.0.1": 1}, b"127.0.0.1", ["::1", None]])
def test_addresses_that_are_no_text_are_refused(value):
    assert "cron.allow: " in fault(allow=value)
    assert "cron.trusted_proxies: " in fault(trusted_proxies=value)


@pytest.mark.parametrize("everyone", ["*", "127.0.0.1 *", "0.0.0.0/0", "*.*.*.*", "::/0"])
def test_letting_in_every_address_requires_a_token(everyone):
    assert fault(allow=everyone).startswith(f"cron.allow: {everyone!r} lets in every address")
    assert "cron.token" in fault(allow=everyone, token=" ")
    assert parse(allow=everyone, token="s3cret").allow.is_unbounded


@pytest.mark.parametrize("everyone", ["*", "0.0.0.0/0"])
def test_not_everyone_can_be_a_trusted_proxy(everyone):
    message = fault(trusted_proxies=everyone, token="s3cret")
    assert message.startswith(f"cron.trusted_proxies: {everyone!r} lets anyone claim any address")


# cron.token


@pytest.mark.parametrize("value", ["one two", "one\n  two", ["one", "two"], ("one two",)])
def test_tokens_come_as_text_or_as_a_list(value):
    assert parse(token=value).tokens == ("one", "two")


@pytest.mark.parametrize(
    "token", ["sécret", "s3cret\x7f", "s3cret\0", ["s3cret", 5], 5, {"s3cret": 1}]
)
def test_a_token_no_header_can_carry_is_refused_and_not_shown(token):
    message = fault(token=token)
    assert message.startswith("cron.token: a bad value (not shown); expected printable ASCII")
    assert "cret" not in message


@pytest.mark.parametrize("comment", ["; for the crontab", "# old", ";old"])
def test_a_comment_after_a_token_is_refused_before_its_words_are_tokens(comment):
    message = fault(token=f"s3cret {comment}")
    assert message.startswith("cron.token: ")
    assert "ini files have no comments at the end of a line" in message
    assert parse(token="s3cret;#").tokens == ("s3cret;#",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allow", "127.0.0.1"),
        ("trusted_proxies", "127.0.0.1"),
        ("monitors", "healthchecks"),
        ("steadycron.tokens", "nightly=s3cret"),
    ],
)
@pytest.mark.parametrize("comment", ["; it", "# it"])
def test_a_comment_after_another_list_is_refused(name, value, comment):
    assert fault(**{name: f"{value} {comment}"}).startswith(f"cron.{name}: ")


def test_settings_do_not_show_their_tokens():
    assert "s3cret" not in repr(parse(token="s3cret"))


# cron.budget


@pytest.mark.parametrize(
    ("value", "seconds"), [("60", 60.0), (" 1.5\n", 1.5), (5, 5.0), (0.25, 0.25), ("1e3", 1000.0)]
)
def test_a_budget_is_in_seconds(value, seconds):
    assert parse(budget=value).budget == seconds


@pytest.mark.parametrize(
    "value",
    ["soon", "60s", "0", 0, -1, "-1", "nan", "inf", float("inf"), True, 10**400, [60], b"60"],
)
def test_a_budget_that_is_no_time_is_refused(value):
    message = fault(budget=value)
    assert message == (
        f"cron.budget: {value!r} is no time a tick can have; "
        "expected a finite number of seconds above 0"
    )


# Together


def test_the_guard_decides_by_the_settings():
    guard = parse(allow="10.0.0.5", token="s3cret", trusted_proxies="127.0.0.1").make_guard()
    sent = {"HTTP_AUTHORIZATION": "Bearer s3cret", "HTTP_X_FORWARDED_FOR": "10.0.0.5"}
    assert guard.check("127.0.0.1", EnvironHeaders(sent)).is_allowed
    assert not guard.check(
        "127.0.0.1", EnvironHeaders({**sent, "HTTP_AUTHORIZATION": ""})
    ).is_allowed
    assert not guard.check("10.0.0.5", EnvironHeaders(sent)).is_allowed


@pytest.mark.parametrize(
    ("text", "absolute"),
    [
        ("shop.ini", "{here}/shop.ini"),
        ("../shop.ini#web", "{above}/shop.ini#web"),
        ("/etc/shop.ini", "/etc/shop.ini"),
        ("ini+web://shop.ini#main", "ini+web://shop.ini#main"),
        (" ", None),
    ],
)
def test_the_configuration_for_processes_does_not_depend_on_the_working_directory(
    text, absolute, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    expected = absolute and absolute.format(here=tmp_path, above=tmp_path.parent)
    assert parse(config_uri=text).config_uri == expected


@pytest.mark.parametrize("text", ["#web", "shop.ini#", 3])
def test_a_configuration_for_processes_is_a_file_and_maybe_a_section(text):
    assert fault(config_uri=text).endswith(
        "; expected the path of an ini file, such as production.ini or production.ini#shop"
    )
