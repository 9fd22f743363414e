"""What is kept of a program's output."""

import re

from pyramid_cron.runtime.subprocesses import OUTPUT_HEAD_BYTES, OUTPUT_TAIL_BYTES, HeadTailBuffer


def clipped(*pieces):
    kept = HeadTailBuffer()
    for piece in pieces:
        kept.add(piece)
    return kept.text()


def test_nothing_written_is_none():
    assert clipped() is None
    assert clipped(b"") is None


def test_what_fits_is_kept_as_it_is():
    data = b"x" * OUTPUT_HEAD_BYTES + b"y" * OUTPUT_TAIL_BYTES
    assert clipped(data[:100], data[100:40_000], data[40_000:]) == data.decode()


def test_of_a_huge_output_the_first_and_the_last_part_are_kept_and_the_rest_counted():
    lines = [b"%07d\n" % number for number in range(200_000)]
    text = clipped(*(b"".join(lines[n : n + 999]) for n in range(0, len(lines), 999)))
    head, left_out, tail = re.fullmatch(
        r"(.*)\n\[... (\d+) bytes left out ...\]\n(.*)", text, re.S
    ).groups()
    whole = b"".join(lines).decode()
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert (len(head), len(tail)) == (OUTPUT_HEAD_BYTES, OUTPUT_TAIL_BYTES)
    assert int(left_out) == len(whole) - OUTPUT_HEAD_BYTES - OUTPUT_TAIL_BYTES


def test_bytes_that_are_no_text_stay_readable():
    assert clipped(b"caf\xe9 \xff\x00 \xc3\xa9") == "caf\\xe9 \\xff\\x00 é"


def test_no_character_is_cut_in_two():
    for shift in range(4):
        text = clipped(b"x" * shift + "\U0001f600".encode() * 40_000)
        head, tail = text.split("\n")[0], text.split("\n")[2]
        assert set(head[shift:]) == set(tail) == {"\U0001f600"}
        left_out = int(re.search(r"(\d+) bytes left out", text)[1])
        kept = len(head.encode()) + len(tail.encode())
        assert kept + left_out == 160_000 + shift


def test_memory_stays_bounded():
    kept = HeadTailBuffer()
    for _ in range(1000):
        kept.add(b"z" * 65_536)
    assert len(kept._head) + len(kept._tail) < 8 * OUTPUT_TAIL_BYTES
