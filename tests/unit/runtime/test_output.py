"""What is kept of a program's output."""

import re

from pyramid_cron.runtime.subprocesses import OUTPUT_HEAD_BYTES, OUTPUT_TAIL_BYTES, HeadTailBuffer


def clipped(*chunks):
    buffer = HeadTailBuffer()
    for chunk in chunks:
        buffer.add(chunk)
    return buffer.text()


def test_nothing_written_is_none():
    assert clipped() is None
    assert clipped(b"") is None


def test_what_fits_is_kept_as_it_is():
    data = b"x" * OUTPUT_HEAD_BYTES + b"y" * OUTPUT_TAIL_BYTES
    assert clipped(data[:100], data[100:40_000], data[40_000:]) == data.decode()


def test_of_a_huge_output_the_first_and_last_parts_are_recorded_and_the_bytes_between_counted():
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
        size = len(head.encode()) + len(tail.encode())
        assert size + left_out == 160_000 + shift


def test_memory_stays_bounded():
    buffer = HeadTailBuffer()
    for _ in range(1000):
        buffer.add(b"z" * 65_536)
    assert len(buffer._head) + len(buffer._tail) < 8 * OUTPUT_TAIL_BYTES
