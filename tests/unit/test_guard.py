import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webob.headers import EnvironHeaders

from pyramid_cron.guard import Guard, Networks, Verdict, parse_address, parse_networks

LOCAL = parse_networks(["127.0.0.1", "::1"])
ANY = parse_networks(["*"])
TOKEN = "s3cret-token"

addresses = st.ip_addresses()
header_text = st.text(st.characters(max_codepoint=255)) | st.text()


def headers(**named):
    return EnvironHeaders({f"HTTP_{name.upper()}": value for name, value in named.items()})


def behind(*proxies, allow=("127.0.0.1", "10.0.0.5"), tokens=()):
    return Guard(parse_networks(allow), tokens, parse_networks(proxies))


def contains(networks, text):
    return parse_address(text) in networks


# Addresses


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1"])
def test_an_allowed_address_is_let_in_however_it_is_spelled(peer):
    assert Guard(LOCAL).check(peer, headers()).is_allowed


def test_other_addresses_are_refused_by_name():
    verdict = Guard(LOCAL).check("192.0.2.7", headers())
    assert verdict == Verdict("192.0.2.7", "192.0.2.7 is not in cron.allow")
    assert not verdict.is_allowed


def test_a_mapped_address_is_shown_as_the_ipv4_address_it_is():
    assert Guard(LOCAL).check("::FFFF:192.0.2.7", headers()).address == "192.0.2.7"


def test_an_ipv4_compatible_address_is_not_taken_for_an_ipv4_one():
    assert not Guard(LOCAL).check("::127.0.0.1", headers()).is_allowed


def test_the_scope_of_an_ipv6_address_does_not_matter():
    guard = Guard(parse_networks(["fe80::/10"]))
    assert guard.check("fe80::1%eth0", headers()) == Verdict("fe80::1")


@pytest.mark.parametrize(
    "peer",
    [
        None,
        "",
        "localhost",
        "-",
        "127.1",
        "1",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "127.0.0.1:80",
        "127.0.0.1/8",
        "127.0.0.1%lo",
        "::1%",
        "::1%<b>",
        " 127.0.0.1",
        "127.0.0.1\n",
        "127.0.0.1\0",
        "\udcff",
        "１２７.0.0.1",
        "/run/app.sock",
        "*",
    ],
)
def test_a_peer_that_is_no_ip_address_is_refused_as_unknown_even_where_anyone_may(peer):
    verdict = Guard(ANY).check(peer, headers())
    assert verdict.address == "unknown"
    assert "REMOTE_ADDR" in verdict.reason
    assert "unix socket" in verdict.reason
    assert verdict.reason.isprintable()


def test_a_long_peer_is_cut_in_the_log():
    assert len(Guard(ANY).check("x" * 100_000, headers()).reason) < 300


def test_the_host_header_plays_no_part():
    assert not Guard(LOCAL).check("192.0.2.7", headers(host="127.0.0.1")).is_allowed
    assert Guard(LOCAL).check("127.0.0.1", headers(host="evil.example")).is_allowed


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:6543",
        "localhost.",
        "127.0.0.1:6543",
        "192.0.2.7",
        "[::1]:80",
        "[fe80::1%eth0]",
        "shop.example",
        "Shop.Example:8080",
    ],
)
def test_pages_may_be_asked_for_by_address_and_by_known_names(host):
    guard = Guard(LOCAL, hosts=frozenset({"shop.example"}))
    assert guard.check_page("127.0.0.1", headers(host=host)).is_allowed
    assert guard.check_page("127.0.0.1", headers()).is_allowed


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.1",
        "",
        ":80",
        "localhost:x",
        "evil.example@localhost",
        "localhost evil.example",
        "[localhost",
        "[]",
        "x" * 100_000,
        "\udc80",
    ],
)
def test_pages_are_not_for_a_name_that_somebody_else_pointed_at_this_machine(host):
    verdict = Guard(LOCAL).check_page("127.0.0.1", headers(host=host))
    assert verdict.address == "127.0.0.1"
    assert "not in cron.hosts" in verdict.reason
    assert verdict.reason.isprintable()
    assert len(verdict.reason) < 300
    assert Guard(LOCAL).check("127.0.0.1", headers(host=host)).is_allowed


def test_with_a_token_the_host_of_a_page_plays_no_part():
    sent = headers(host="shop.example", authorization=f"Bearer {TOKEN}")
    assert Guard(LOCAL, (TOKEN,)).check_page("127.0.0.1", sent).is_allowed
    assert Guard(LOCAL, (TOKEN,)).check_page("127.0.0.1", headers()).reason.startswith("no bearer")


def test_the_address_of_who_asks_for_a_page_comes_first():
    verdict = Guard(LOCAL).check_page("192.0.2.7", headers(host="evil.example"))
    assert verdict.reason == "192.0.2.7 is not in cron.allow"


@given(peer=st.none() | st.text() | addresses.map(str))
def test_no_peer_is_let_in_but_the_allowed_ones(peer):
    verdict = Guard(LOCAL).check(peer, headers())
    assert verdict.is_allowed == (peer in {"127.0.0.1", "::1", "::ffff:127.0.0.1"})


# Unix sockets


@pytest.mark.parametrize("peer", [None, "", "localhost", "unix:", "/run/app.sock"])
def test_on_a_unix_socket_a_right_token_is_enough_where_any_address_may(peer):
    guard = Guard(ANY, (TOKEN,))
    assert guard.check(peer, headers(authorization=f"Bearer {TOKEN}")) == Verdict("unknown")
    # nginx in front of it adds its headers, and can't be named by an address.
    sent = headers(authorization=f"Bearer {TOKEN}", x_forwarded_for="192.0.2.7")
    assert guard.check(peer, sent).is_allowed


@pytest.mark.parametrize(
    ("allow", "authorization", "fault"),
    [
        (ANY, "Bearer wrong", "wrong bearer token"),
        (ANY, "", "no bearer token in the Authorization header"),
        (LOCAL, f"Bearer {TOKEN}", "cron.allow is not *"),
        (parse_networks(["0.0.0.0/0"]), f"Bearer {TOKEN}", "cron.allow is not *"),
    ],
)
def test_on_a_unix_socket_anything_else_is_refused_with_both_reasons(allow, authorization, fault):
    verdict = Guard(allow, (TOKEN,)).check("", headers(authorization=authorization))
    assert verdict.address == "unknown"
    assert "unix socket, where cron.allow = * and a right token are needed" in verdict.reason
    assert fault in verdict.reason


# Proxies


FORWARDING = (
    "forwarded",
    "x_forwarded_for",
    "x_forwarded_host",
    "x_forwarded_proto",
    "x_forwarded_server",
    "x_forwarded_whatever",
    "x_real_ip",
    "via",
    "cf_connecting_ip",
    "true_client_ip",
)


@pytest.mark.parametrize("name", FORWARDING)
@pytest.mark.parametrize("value", ["", "127.0.0.1", "for=127.0.0.1"])
def test_what_came_through_an_unknown_proxy_is_refused(name, value):
    verdict = Guard(ANY).check("127.0.0.1", headers(**{name: value}))
    assert verdict.address == "127.0.0.1"
    assert "cron.trusted_proxies" in verdict.reason
    assert name.replace("_", "-") in verdict.reason.lower()


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("10.0.0.5:4711", "10.0.0.5"),
        (" 10.0.0.5\t", "10.0.0.5"),
        ("::ffff:10.0.0.5", "10.0.0.5"),
        ("[::ffff:10.0.0.5]:4711", "10.0.0.5"),
        ("[::ffff:10.0.0.5]", "10.0.0.5"),
        ("10.0.0.5, 127.0.0.1", "10.0.0.5"),
        ("192.0.2.1, 10.0.0.5, 127.0.0.1", "10.0.0.5"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_a_trusted_proxy_speaks_for_an_allowed_client(hops, client):
    guard = behind("127.0.0.1")
    assert guard.check("127.0.0.1", headers(x_forwarded_for=hops)) == Verdict(client)


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("127.0.0.1, 192.0.2.1", "192.0.2.1"),
        ("10.0.0.5, 192.0.2.1, 127.0.0.1", "192.0.2.1"),
    ],
)
def test_a_client_cannot_borrow_an_allowed_address(hops, client):
    verdict = behind("127.0.0.1").check("127.0.0.1", headers(x_forwarded_for=hops))
    assert verdict == Verdict(client, f"{client} is not in cron.allow")


def test_where_all_hops_are_trusted_the_first_one_is_the_client():
    guard = behind("127.0.0.1", "10.0.0.0/24", allow=["10.0.0.5"])
    assert guard.check("127.0.0.1", headers(x_forwarded_for="10.0.0.5, 10.0.0.1")).is_allowed
    assert not guard.check("127.0.0.1", headers(x_forwarded_for="10.0.0.1, 10.0.0.5")).is_allowed


@pytest.mark.parametrize(
    "hops",
    [
        "",
        ",",
        "10.0.0.5,",
        ",10.0.0.5",
        "unknown",
        "unknown, 10.0.0.5",
        "10.0.0.5, _hidden",
        "localhost",
        "10.0.0.5:",
        "10.0.0.5:123456",
        "10.0.0.5:80:80",
        "[10.0.0.5]:80",
        "[::1",
        "::1]:80",
        "10.5",
        "10.0.0.5 127.0.0.1",
        "10.0.0.5\r\n",
        '"10.0.0.5"',
    ],
)
def test_a_malformed_list_of_hops_is_refused_in_the_name_of_the_proxy(hops):
    guard = behind("127.0.0.1", allow=["*"])
    verdict = guard.check("127.0.0.1", headers(x_forwarded_for=hops))
    assert verdict.address == "127.0.0.1"
    assert "X-Forwarded-For has an entry that is no IP address" in verdict.reason
    assert verdict.reason.isprintable()


def test_the_names_of_headers_are_cut_and_printable_in_the_log():
    sent = {f"HTTP_X_FORWARDED_{'A' * 5000}\n": "x"}
    reason = Guard(LOCAL).check("127.0.0.1", EnvironHeaders(sent)).reason
    assert reason.isprintable()
    assert len(reason) < 400


@pytest.mark.parametrize("name", ["x_api_key", "forwarded_for", "x_forwarded", "viaduct"])
def test_a_header_of_another_kind_does_not_matter(name):
    assert Guard(LOCAL).check("127.0.0.1", headers(**{name: "x"})).is_allowed


@pytest.mark.parametrize("name", sorted({*FORWARDING} - {"x_forwarded_for"}))
def test_of_a_trusted_proxy_only_x_forwarded_for_is_believed(name):
    verdict = behind("127.0.0.1").check("127.0.0.1", headers(**{name: "10.0.0.5"}))
    assert verdict.address == "127.0.0.1"
    assert "only X-Forwarded-For is believed" in verdict.reason


def test_x_forwarded_for_counts_where_a_trusted_proxy_adds_other_headers():
    sent = headers(x_forwarded_for="10.0.0.5", x_real_ip="192.0.2.1", forwarded="for=192.0.2.1")
    assert behind("127.0.0.1").check("127.0.0.1", sent) == Verdict("10.0.0.5")


def test_a_proxy_host_that_forwards_nothing_speaks_for_itself():
    assert behind("127.0.0.1").check("127.0.0.1", headers()).is_allowed
    assert not behind("192.0.2.1").check("192.0.2.1", headers()).is_allowed


@given(hops=header_text | st.lists(addresses.map(str) | header_text).map(",".join))
def test_garbled_hops_never_crash_and_never_let_in_who_is_not_allowed(hops):
    guard = behind("127.0.0.1", allow=["10.0.0.5"])
    verdict = guard.check("127.0.0.1", headers(x_forwarded_for=hops))
    assert verdict.is_allowed == (verdict.address == "10.0.0.5")
    assert verdict.address == str(ipaddress.ip_address(verdict.address))
    assert verdict.is_allowed or verdict.reason.isprintable()


@given(hops=st.lists(addresses, min_size=1))
def test_the_last_hop_is_the_client_unless_it_is_a_proxy(hops):
    guard = behind("127.0.0.1", allow=["*"])
    sent = headers(x_forwarded_for=", ".join(map(str, hops)))
    mapped = [getattr(hop, "ipv4_mapped", None) or hop for hop in hops]
    strangers = [hop for hop in mapped if str(hop) != "127.0.0.1"] or mapped[:1]
    client = guard.check("127.0.0.1", sent).address
    assert ipaddress.ip_address(client) == strangers[-1]


# Tokens


@pytest.mark.parametrize(
    "authorization",
    [f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER  {TOKEN} ", "Bearer the-next-one"],
)
def test_each_token_opens_with_an_allowed_address(authorization):
    guard = Guard(LOCAL, (TOKEN, "the-next-one"))
    assert guard.check("127.0.0.1", headers(authorization=authorization)).is_allowed


def test_a_token_does_not_replace_an_allowed_address():
    verdict = Guard(LOCAL, (TOKEN,)).check("192.0.2.7", headers(authorization=f"Bearer {TOKEN}"))
    assert verdict.reason == "192.0.2.7 is not in cron.allow"


@pytest.mark.parametrize(
    "sent",
    [
        {},
        *({"authorization": value} for value in ["", "Bearer", "Bearer ", TOKEN, f"Basic {TOKEN}"]),
    ],
)
def test_a_missing_token_is_told_as_missing(sent):
    verdict = Guard(LOCAL, (TOKEN,)).check("127.0.0.1", headers(**sent))
    assert verdict == Verdict("127.0.0.1", "no bearer token in the Authorization header")


@pytest.mark.parametrize(
    "given_token",
    ["wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), f"{TOKEN} {TOKEN}", "ÿé", "\udc80"],
)
def test_a_wrong_token_is_told_as_wrong_and_never_shown(given_token):
    verdict = Guard(LOCAL, (TOKEN,)).check(
        "127.0.0.1", headers(authorization=f"Bearer {given_token}")
    )
    assert verdict == Verdict("127.0.0.1", "wrong bearer token")


def test_without_tokens_the_authorization_header_does_not_matter():
    assert Guard(LOCAL).check("127.0.0.1", headers(authorization="Bearer whatever")).is_allowed


def test_a_guard_does_not_show_its_tokens():
    assert TOKEN not in repr(Guard(LOCAL, (TOKEN,)))


@pytest.mark.parametrize(("character", "escape"), [("\xe9", r"\xe9"), ("\udc80", r"\udc80")])
def test_a_foreign_character_is_not_taken_for_its_escape(character, escape):
    sent = headers(authorization=f"Bearer {character}")
    assert not Guard(LOCAL, (escape,)).check("127.0.0.1", sent).is_allowed


@given(authorization=header_text | header_text.map("Bearer {}".format))
def test_no_garbled_token_crashes_or_opens(authorization):
    verdict = Guard(LOCAL, (TOKEN, r"\xe9")).check(
        "127.0.0.1", headers(authorization=authorization)
    )
    assert not verdict.is_allowed


# Networks


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("10.0.0.1", ["10.0.0.1"], ["10.0.0.2", "10.0.0.0", "::a00:1"]),
        ("10.0.0.0/30", ["10.0.0.0", "10.0.0.3"], ["10.0.0.4", "9.255.255.255"]),
        ("10.0.0.1/32", ["10.0.0.1"], ["10.0.0.2"]),
        ("10.0.0.1-10.0.0.9", ["10.0.0.1", "10.0.0.9"], ["10.0.0.0", "10.0.0.10"]),
        ("10.0.0.1-10.0.0.1", ["10.0.0.1"], ["10.0.0.2"]),
        ("10.0.0.*", ["10.0.0.0", "10.0.0.255"], ["10.0.1.0"]),
        ("10.0.*.*", ["10.0.0.0", "10.0.255.255"], ["10.1.0.0"]),
        ("10.0.0.1-9", ["10.0.0.1", "10.0.0.9"], ["10.0.0.10"]),
        ("10.0.1-2.*", ["10.0.1.0", "10.0.2.255"], ["10.0.3.0"]),
        ("2001:db8::/32", ["2001:db8::", "2001:db8:ffff::1"], ["2001:db9::", "10.0.0.1"]),
        ("::1-::5", ["::1", "::5"], ["::6"]),
        ("::ffff:10.0.0.0/120", ["10.0.0.9", "::ffff:10.0.0.9"], ["10.0.1.0", "::a00:9"]),
        ("::ffff:10.0.0.1", ["10.0.0.1"], ["10.0.0.2"]),
        ("*", ["0.0.0.0", "255.255.255.255", "::", "ffff::1"], []),
    ],
)
def test_an_entry_holds_its_addresses_and_no_others(entry, inside, outside):
    networks = parse_networks([entry])
    assert [text for text in inside if not contains(networks, text)] == []
    assert [text for text in outside if contains(networks, text)] == []


def test_entries_are_taken_together():
    networks = parse_networks(["10.0.0.0/25", "10.0.0.128/25", "::1", "10.0.0.7"])
    assert contains(networks, "10.0.0.200")
    assert contains(networks, "::1")
    assert networks == parse_networks(["::1", "10.0.0.*"])


def test_no_entries_hold_nothing():
    assert parse_networks([]) == Networks()
    assert not contains(Networks(), "127.0.0.1")


@pytest.mark.parametrize(
    "entries",
    [["*"], ["*.*.*.*"], ["0.0.0.0/0"], ["::/0"], ["0.0.0.0/1", "128.0.0.0/1"], ["::ffff:0:0/96"]],
)
def test_everything_is_boundless_however_it_is_said(entries):
    assert parse_networks(entries).is_unbounded


@pytest.mark.parametrize("entry", ["10.0.0.0/8", "0.0.0.0/1", "2000::/3"])
def test_a_part_is_not_boundless(entry):
    assert not parse_networks([entry]).is_unbounded


@pytest.mark.parametrize(
    "entry",
    [
        "",
        "localhost",
        "10.1",
        "1",
        "10/8",
        "10.*",
        "10.*.0.1",
        "10.0.0.256",
        "10.0.0.300-400",
        "010.0.0.1",
        "010.0.0.*",
        "10.0.0.9-1",
        "10.0.0.1-",
        "-10.0.0.1",
        "-",
        "/",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/8-10.0.0.9",
        "fe80::1%eth0",
        "127.0.0.1,",
        "127.0.0.1\n",
        "１０.0.0.1",
        "**",
    ],
)
def test_an_entry_that_is_none_is_refused_by_name(entry):
    with pytest.raises(ValueError, match="is no IP address, block, range or glob") as caught:
        parse_networks(["127.0.0.1", entry])
    assert repr(entry) in str(caught.value)


def test_a_range_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValueError, match=r"'10\.0\.0\.9-10\.0\.0\.1' ends before it begins"):
        parse_networks(["10.0.0.9-10.0.0.1"])


def test_a_range_over_both_families_is_refused():
    with pytest.raises(ValueError, match=r"'10\.0\.0\.9-::1' mixes IPv4 and IPv6"):
        parse_networks(["10.0.0.9-::1"])


def test_a_host_written_as_a_block_means_its_block():
    assert parse_networks(["10.0.0.5/8"]) == parse_networks(["10.0.0.0/8"])


@given(entry=st.text() | st.text("0123456789.:*-/%af"))
def test_a_garbled_entry_means_something_or_is_refused_by_name(entry):
    try:
        networks = parse_networks([entry])
    except ValueError as error:
        outcome = str(error)
    else:
        outcome = repr(entry) if networks.spans else "nothing"
    assert repr(entry) in outcome


@given(ends=st.lists(addresses, min_size=2, max_size=2), probe=addresses)
def test_ranges_hold_what_lies_between_their_ends(ends, probe):
    first, last, probe = (getattr(ip, "ipv4_mapped", None) or ip for ip in (*ends, probe))
    if first.version != last.version or last < first:
        first = last
    within = first.version == probe.version and first <= probe <= last
    networks = parse_networks([f"{first}-{last}"])
    assert contains(networks, str(probe)) == within
    assert contains(networks, str(first))
    assert contains(networks, str(last))
