"""Reading real requests: the three formats, and what is refused with its line number."""

import json

import pytest

from hmsim.errors import InputError
from hmsim.workload.requests import read_requests, write_requests

MOONCAKE = [
    {"timestamp": 500, "input_length": 700, "output_length": 5, "hash_ids": [0, 1]},
    {"timestamp": 1750, "input_length": 512, "output_length": 9, "hash_ids": [0]},
]
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:16:50.9951690,396,109
"""
VIDUR = """arrived_at,num_prefill_tokens,num_decode_tokens
10.5,374,44
12,396,109
"""


def write(folder, text):
    path = folder / "requests"
    path.write_text(text)
    return path


def mooncake(folder, rows):
    return write(folder, "\n".join(map(json.dumps, rows)))


def test_mooncake(tmp_path):
    requests = read_requests(mooncake(tmp_path, MOONCAKE))
    assert requests.arrival_s.tolist() == [0, 1.25]
    assert requests.prompt.tolist() == [700, 512]
    assert requests.output.tolist() == [5, 9]
    assert requests.hashes == [[0, 1], [0]]


@pytest.mark.parametrize(("text", "gap"), [(AZURE, 64.314579), (VIDUR, 1.5)])
def test_csv(tmp_path, text, gap):
    requests = read_requests(write(tmp_path, text))
    assert requests.arrival_s == pytest.approx([0, gap], abs=1e-6)
    assert requests.prompt.tolist() == [374, 396]
    assert requests.output.tolist() == [44, 109]
    assert requests.hashes == [[], []]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"input_length": -1}, "line 2: input_length -1: expected a whole number of tokens"),
        ({"output_length": "many"}, "line 2: output_length 'many': expected a whole number"),
        ({"output_length": 2.5}, "line 2: output_length 2.5: expected a whole number"),
        ({"timestamp": 499}, "line 2: arrives before the line above"),
        ({"timestamp": None}, "line 2: timestamp None: expected milliseconds"),
        ({"hash_ids": [0, 1, 2]}, "line 2: 3 hash_ids for 512 tokens; one per 512"),
        ({"hash_ids": ["a"]}, "line 2: hash_ids: expected a list of whole numbers"),
    ],
)
def test_a_bad_mooncake_line_is_named(tmp_path, change, complaint):
    with pytest.raises(InputError, match=complaint):
        read_requests(mooncake(tmp_path, [MOONCAKE[0], MOONCAKE[1] | change]))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("hello\n", "neither Mooncake JSON lines nor a known CSV header"),
        ('{"timestamp": 1, "input_length": 3}\n', "line 1: output_length is missing"),
        ('{"timestamp"\n', "line 1: not JSON"),
        (AZURE.splitlines()[0], "holds no request"),
        (AZURE + "yesterday,1,1\n", "line 4: TIMESTAMP 'yesterday': not a time"),
        (AZURE + "2023-11-16 18:15:00.0,1,1\n", "line 4: arrives before the line above"),
        (VIDUR + "13,1,-2\n", "line 4: num_decode_tokens '-2': expected a whole number"),
        (VIDUR + "nan,1,2\n", "line 4: arrived_at 'nan': not a time"),
        (VIDUR + "13,1\n", "line 4: num_decode_tokens None: expected a whole number"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, text, complaint):
    with pytest.raises(InputError, match=complaint):
        read_requests(write(tmp_path, text))


def test_a_missing_file_and_a_wrong_format(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_requests(tmp_path / "none")
    with pytest.raises(InputError, match="column ContextTokens is missing"):
        read_requests(write(tmp_path, VIDUR), "azure")


@pytest.mark.parametrize("form", ["mooncake", "vidur"])
def test_requests_written_for_other_tools_read_back(tmp_path, form):
    requests = read_requests(mooncake(tmp_path, MOONCAKE))
    write_requests(requests, form, tmp_path / "out")
    again = read_requests(tmp_path / "out")
    for ours, theirs in zip(requests[:3], again[:3], strict=True):
        assert ours.tolist() == theirs.tolist()
    assert again.hashes == (requests.hashes if form == "mooncake" else [[], []])


def test_requests_for_llmservingsim(tmp_path):
    requests = read_requests(write(tmp_path, VIDUR))
    write_requests(requests, "llmservingsim", tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows[1] == {"input_toks": 396, "output_toks": 109, "arrival_time_ns": 1_500_000_000}


def test_requests_that_share_nothing_get_hash_ids_of_their_own(tmp_path):
    requests = read_requests(write(tmp_path, VIDUR.replace("374", "1025")))
    write_requests(requests, "mooncake", tmp_path / "out")
    assert read_requests(tmp_path / "out").hashes == [[0, 1, 2], [3]]


def test_writing_requests_refuses_what_it_cannot_do(tmp_path):
    requests = read_requests(write(tmp_path, VIDUR))
    with pytest.raises(InputError, match="format 'vidour': unknown; did you mean 'vidur'"):
        write_requests(requests, "vidour", tmp_path / "out")
    with pytest.raises(InputError, match="cannot be written"):
        write_requests(requests, "vidur", tmp_path)
