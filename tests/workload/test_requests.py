"""Reading real requests: every format, the quirks of real files, and what is refused by its line."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmsim.errors import InputError, InputWarning
from hmsim.exchange import text
from hmsim.workload.requests import read_requests, write_requests

MOONCAKE = [
    {"timestamp": 500, "input_length": 700, "output_length": 5, "hash_ids": [0, 1]},
    {"timestamp": 1750, "input_length": 512, "output_length": 9, "hash_ids": [0]},
]
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:16:50.9951690,396,109
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,374,44
2024-05-10 02:00:01+02:00,396,109
"""
BURST = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,374,44,418,Conversation log
45.5,GPT-4,396,109,505,API log
"""
VIDUR = """arrived_at,num_prefill_tokens,num_decode_tokens
10.5,374,44
12,396,109
"""
SERVING = [
    {"input_toks": 374, "output_toks": 44, "arrival_time_ns": 1_700_000_000_000_000_001},
    {"input_toks": 396, "output_toks": 109, "arrival_time_ns": 1_700_000_000_500_000_001},
]
BAILIAN = {
    "chat_id": 159, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 521,
    "output_length": 132, "type": "text", "turn": 1, "hash_ids": list(range(33)),
}  # fmt: skip
DYNAMO = {
    "schema": "dynamo.request.trace.v1",
    "event_type": "request_end",
    "event_time_unix_ms": 1777312801000,
    "request": {
        "request_received_ms": 1777312800000,
        "output_tokens": 16,
        "replay": {
            "trace_block_size": 64,
            "input_length": 140,
            "input_sequence_hashes": [14879255164371896291, 274632075616497421],
        },
    },
}


def write(folder, text, name="requests"):
    path = folder / name
    path.write_bytes(text.encode())
    return path


def lines(folder, rows):
    return write(folder, "\n".join(map(json.dumps, rows)))


def lists(hashes):
    return [list(ids) for ids in hashes]


def test_mooncake(tmp_path):
    requests = read_requests(lines(tmp_path, MOONCAKE))
    assert requests.arrival_s.tolist() == [0, 1.25]
    assert requests.prompt.tolist() == [700, 512]
    assert requests.output.tolist() == [5, 9]
    assert lists(requests.hashes) == [[0, 1], [0]]
    assert (requests.hash_tokens, requests.timed) == (512, True)


@pytest.mark.parametrize(
    ("content", "gap"),
    [
        (AZURE, 64.314579),
        (AZURE_2024, 0.990070),
        (BURST, 40.5),
        (VIDUR, 1.5),
        ("\n".join(map(json.dumps, SERVING)), 0.5),
        (json.dumps([{"timestamp": 1, "input_tokens": 374, "output_tokens": 44.0},
                     {"created_time": "3", "input_length": "396", "output_length": 109}],
                    indent=1), 0.002),
    ],
)  # fmt: skip
@pytest.mark.parametrize("packed", [False, True])
def test_formats_are_told_from_their_content(tmp_path, content, gap, packed):
    path = write(tmp_path, content)
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes()))
    requests = read_requests(path)
    assert requests.arrival_s.tolist() == [0, gap]
    assert requests.prompt.tolist() == [374, 396]
    assert requests.output.tolist() == [44, 109]
    assert lists(requests.hashes) == [[], []]


def test_bailian_counts_seconds_and_16_tokens_behind_an_id(tmp_path):
    later = BAILIAN | {"timestamp": 62.614, "input_length": 32, "hash_ids": [0, 1]}
    requests = read_requests(lines(tmp_path, [BAILIAN, later]))
    assert requests.arrival_s.tolist() == [0, 1.5]
    assert requests.hash_tokens == 16
    assert lists(requests.hashes) == [list(range(33)), [0, 1]]


def test_dynamos_record_of_requests(tmp_path):
    """Written as requests end, so in any order; tools in between, and old rows within an event."""
    early = json.loads(json.dumps(DYNAMO))
    early["request"]["request_received_ms"] -= 250
    early["request"]["replay"] |= {"input_length": 128}
    bare = {
        "event": DYNAMO | {"request": {"input_tokens": 7, "output_tokens": 3}}
        | {"event_time_unix_ms": 1777312800500}
    }  # fmt: skip
    requests = read_requests(
        lines(tmp_path, [DYNAMO, {"schema": "x", "event_type": "tool_end"}, early, bare])
    )
    assert requests.arrival_s.tolist() == [0, 0.25, 0.75]
    assert requests.prompt.tolist() == [128, 140, 7]
    assert requests.output.tolist() == [16, 16, 3]
    assert lists(requests.hashes) == [[0, 1], [0, 1], []]
    assert requests.hash_tokens == 64


def test_dynamo_writes_rows_as_mooncake_does_too(tmp_path):
    requests = read_requests(lines(tmp_path, MOONCAKE), "dynamo")
    assert requests.prompt.tolist() == [700, 512]
    changed = json.loads(json.dumps(DYNAMO))
    changed["request"]["replay"]["trace_block_size"] = 32
    with pytest.raises(InputError, match="line 2: 2 hash ids for 140 tokens: one for 32, above"):
        read_requests(lines(tmp_path, [DYNAMO, changed]))
    changed["event_type"] = "request_start"
    with pytest.raises(InputError, match="line 1: event_type 'request_start': expected"):
        read_requests(lines(tmp_path, [changed]))


def test_lengths_alone_all_wait(tmp_path):
    header = "num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n"
    requests = read_requests(write(tmp_path, header + "3772,54,3826,69.8\n2015,156,2171,12.9\n"))
    assert (requests.timed, requests.arrival_s.tolist()) == (False, [0, 0])
    assert requests.prompt.tolist() == [3772, 2015]


def test_token_numbers_of_llmservingsim_say_what_prompts_share(tmp_path):
    tokens = list(range(40))
    rows = [
        {"input_toks": len(ids), "output_toks": 2, "arrival_time_ns": 0, "input_tok_ids": ids}
        for ids in (tokens, [*tokens[:32], 99])
    ]
    requests = read_requests(lines(tmp_path, rows))
    assert requests.hash_tokens == 16
    assert lists(requests.hashes) == [[0, 1, 2], [0, 1, 3]]
    with pytest.raises(
        InputError, match="line 1: input_tok_ids: 40 tokens where input_toks says 9"
    ):
        read_requests(lines(tmp_path, [rows[0] | {"input_toks": 9}]))


def test_turns_of_a_session_wait_for_the_one_before(tmp_path):
    """A turn without output makes the next one wait for the turn before it, as much longer."""
    rows = [
        {"session_id": "a", "timestamp": 1000, "input_length": 10, "output_length": 3},
        {"session_id": "a", "delay": 500, "input_length": 20, "output_length": 0},
        {"session_id": "b", "timestamp": 1100, "input_length": 11, "output_length": 3},
        {"session_id": "a", "delay_ms": 250, "input_length": 30, "output_length": 3},
        {"session_id": "b", "timestamp": 1200, "input_length": 21, "output_length": 3},
    ]
    with pytest.warns(InputWarning, match="1 of 5 requests have no output"):
        found = read_requests(lines(tmp_path, rows))
    assert found.prompt.tolist() == [10, 11, 21, 30]
    assert found.arrival_s.tolist() == [0, 0.1, 0.2, 0.75]
    assert found.after.tolist() == [-1, -1, -1, 0]
    assert found.wait_s.tolist() == [0, 0, 0, 0.75]
    with pytest.raises(InputError, match="requests that start when others end cannot be written"):
        write_requests(found, "vidur", tmp_path / "out")


def test_sessions_of_llmservingsim(tmp_path):
    call = {"input_toks": 10, "output_toks": 2, "tool_duration_ns": 3_000_000_000}
    rows = [
        {
            "session_id": "s",
            "arrival_time_ns": 7,
            "sub_requests": [call, call | {"input_toks": 12}],
        },
        {"input_toks": 99, "output_toks": 1, "arrival_time_ns": 1_000_000_007},
        {"session_id": "s", "arrival_time_ns": 7, "sub_requests": [call]},
    ]
    found = read_requests(lines(tmp_path, rows))
    assert found.prompt.tolist() == [10, 10, 99, 12]
    assert found.after.tolist() == [-1, -1, -1, 0]
    assert found.wait_s.tolist() == [0, 0, 0, 3]


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + VIDUR,
        VIDUR.replace("\n", "\r\n"),
        VIDUR.replace("\n", "\r"),
        VIDUR.replace(",", ";"),
        VIDUR.replace(",", "\t"),
        VIDUR.replace(",", ", "),
        VIDUR.replace(",", " , "),
        VIDUR.replace("\n", "\n\n"),
        "\n\n" + VIDUR + ",,\n , ,\n\n",
        VIDUR.replace("374", "374.0").replace("109", "1.09e2"),
        VIDUR.replace("12,", '"12",').replace("arrived_at", '"arrived_at"'),
        VIDUR.replace("\n", ",\n"),
        VIDUR.rstrip("\n"),
        VIDUR.upper(),
    ],
)
def test_quirks_of_real_csv_files(tmp_path, content):
    requests = read_requests(write(tmp_path, content))
    assert requests.arrival_s.tolist() == [0, 1.5]
    assert requests.prompt.tolist() == [374, 396]
    assert requests.output.tolist() == [44, 109]


@pytest.mark.parametrize(
    "content",
    [
        '\ufeff{"timestamp": 0, "input_length": 10, "output_length": 3}\r\n\r\n',
        '\n  {"timestamp": 0.0, "input_length": 10.0, "output_length": 3, "hash_ids": null}',
        '{"timestamp": "0", "input_length": 10, "output_length": 3, "text": "a\u2028b\u0085c"}\n',
        ' [{"timestamp": 0, "input_length": 10,\n "output_length": 3}]\n',
    ],
)
def test_quirks_of_real_json_files(tmp_path, content):
    requests = read_requests(write(tmp_path, content))
    assert (requests.prompt.tolist(), requests.output.tolist()) == ([10], [3])
    assert lists(requests.hashes) == [[]]


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        ("2024-05-10 00:00:00.009930+00:00", 0.009930),
        ("2024-05-10T00:00:00.0099301Z", 0.0099301),
        ("2024-05-10T02:30:00+0230", 0),
        ("2024-05-09T19:00:00-05", 0),
        ("2024-05-10 00:01", 60),
        ("2024-05-10 00:00:00 UTC", 0),
        ("2024-05-10 00:00:00,5", 0.5),
        ("2024-02-30 00:00:00", None),
        ("2024-05-10 25:00:00", None),
        ("2024-05-10 00:00:60", None),
        ("11/16/2023 18:15:46", None),
        ("2024-05-10", None),
        ("\u0662024-05-10 00:00:00", None),
        (None, None),
    ],
)
def test_moments(moment, seconds):
    found = text.nanoseconds(moment)
    start = text.nanoseconds("2024-05-10 00:00:00")
    assert found == (None if seconds is None else start + round(seconds * 1e9))


@given(st.integers(-(10**17), 10**17) | st.floats(-1e15, 1e15))
def test_numbers_read_as_python_writes_them(value):
    assert text.number(repr(value)) == value == text.number(value)
    assert text.whole(repr(value)) == (value if value == int(value) else None)


@pytest.mark.parametrize(
    "value",
    ["nan", "inf", "1e400", "1_0", "²", "٣", "0x10", "", " ", "1 2", "9" * 5000, "1e99999",
     float("nan"), float("inf"), True, None, [1]],
)  # fmt: skip
def test_what_is_no_number(value):
    assert text.number(value) is None


def test_requests_without_output_are_counted_and_left_out_or_refused(tmp_path):
    path = write(tmp_path, BURST + "118,GPT-4,417,0,417,API log\n130,GPT-4,0,0,0,API log\n")
    with pytest.warns(InputWarning, match="2 of 4 requests have no output and are left out"):
        requests = read_requests(path)
    assert requests.prompt.tolist() == [374, 396]
    with pytest.raises(InputError, match="line 4: 0 tokens of output"):
        read_requests(path, no_output="refuse")
    with pytest.raises(InputError, match="holds no request with output"):
        read_requests(write(tmp_path, BURST.splitlines()[0] + "\n5,GPT-4,9,0,9,API log\n"))


def test_an_id_again_or_behind_other_ids_is_another_block(tmp_path):
    ids = [[5, 5], [7, 5], [5, 5], ["5", 5], [2**64 - 1, 2**63]]
    rows = [
        {"timestamp": 0, "input_length": 1024, "output_length": 3, "hash_ids": each} for each in ids
    ]
    found = read_requests(lines(tmp_path, rows)).hashes
    assert lists(found) == [[0, 1], [2, 3], [0, 1], [4, 5], [6, 7]]


@pytest.mark.parametrize(
    ("lengths", "given", "found"),
    [
        ([(700, 2), (512, 1)], None, 512),
        ([(20, 2)], None, 16),  # 10 to 19: one power of two
        ([(400, 4), (399, 4), (301, 4)], None, 100),  # just this
        ([(100, 1), (7, 1)], None, 512),  # the format's own
        ([(1000, 9)], 120, 120),
        ([(1000, 9)], None, "112 to 124 tokens: say how many with workload.requests.hash_tokens"),
        ([(1000, 5)], None, "200 to 249 tokens: say"),
        ([(1000, 3), (1000, 6)], None, "line 2: 6 hash ids for 1,000 tokens: no one number"),
        ([(1000, 9)], 512, "line 1: 9 hash ids for 1,000 tokens: of 512 each it takes 2"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*hash ids stand for:hmsim.errors.InputWarning")
def test_tokens_behind_an_id_follow_from_the_numbers_or_are_asked_for(
    tmp_path, lengths, given, found
):
    rows = [
        {"timestamp": 0, "input_length": prompt, "output_length": 3, "hash_ids": list(range(ids))}
        for prompt, ids in lengths
    ]
    path = lines(tmp_path, rows)
    if isinstance(found, int):
        assert read_requests(path, hash_tokens=given).hash_tokens == found
        return
    with pytest.raises(InputError, match=found):
        read_requests(path, hash_tokens=given)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"input_length": -1}, "line 2: input_length -1: expected a whole number of tokens"),
        ({"input_length": 0}, "line 2: input_length 0: expected a whole number of tokens, 1 to"),
        ({"output_length": "many"}, "line 2: output_length 'many': expected a whole number"),
        ({"output_length": 2.5}, "line 2: output_length 2.5: expected a whole number"),
        ({"output_length": True}, "line 2: output_length True: expected a whole number"),
        ({"output_length": 10**400}, "line 2: output_length 1000"),
        ({"timestamp": 499}, "line 2: arrives before the line above"),
        ({"timestamp": None}, "line 2: timestamp missing: not milliseconds"),
        ({"timestamp": 10**400}, "line 2: timestamp 1000"),
        ({"timestamp": float("nan")}, "line 2: timestamp nan: not milliseconds"),
        ({"timestamp": 1e300}, "line 2: timestamp 1e"),
        ({"hash_ids": [0, 1, 2]}, "line 2: 3 hash ids for 512 tokens: no one number"),
        ({"hash_ids": [1.5]}, "line 2: hash_ids: expected a list of whole numbers or strings"),
        ({"hash_ids": 7}, "line 2: hash_ids: expected a list"),
    ],
)
def test_a_bad_mooncake_line_is_named(tmp_path, change, complaint):
    with pytest.raises(InputError, match=complaint):
        read_requests(lines(tmp_path, [MOONCAKE[0], MOONCAKE[1] | change]))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "empty"),
        (" \n\n", "empty"),
        ("hello\n", "neither JSON lines .mooncake, .* nor a known CSV header"),
        ('{"timestamp": 1, "input_length": 3}\n', "line 1: output_length is missing"),
        ('{"input_length": 3, "output_length": 3}\n', "line 1: timestamp is missing"),
        ('{"timestamp"\n', "line 1: not JSON"),
        ('{"a": 1}\n', "neither JSON lines"),
        ("[]", "holds no request"),
        ("[1]", "entry 1: expected an object"),
        ('{"timestamp": 1, "input_length": 3, "output_length": 3}\n\nnull\n', "line 3: expected"),
        ('{"timestamp": ' + "1" * 5000 + "}", "line 1: not JSON"),
        ('{"conversations": []}', "conversations: text without numbers of tokens"),
        ('{"selected_token_pos": []}', "selections, not requests"),
        ("version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        ('{"arrival_time_ns": 1, "sub_requests": [{}]}', "line 1: input_toks is missing"),
        ('{"arrival_time_ns": 1, "sub_requests": []}', "line 1: sub_requests: expected a list"),
        ('{"arrival_time_ns": 1, "sub_requests": [3]}', "line 1: sub_requests: 0: expected an obj"),
        ('{"delay": 5, "input_length": 3, "output_length": 3}', "line 1: delay: needs a session_id"),
        ('{"session_id": 1, "delay": 5, "input_length": 3, "output_length": 3}',
         "line 1: session_id 1: no request of it before this one"),
        ('{"timestamp": 1, "wait_for": [1], "input_length": 3, "output_length": 3}',
         "line 1: wait_for: requests that wait for several others are not supported"),
        ('{"timestamp": 1, "session_id": [], "input_length": 3, "output_length": 3}',
         "line 1: session_id: expected a number or a string"),
        (AZURE.splitlines()[0], "holds no request"),
        (AZURE + "yesterday,1,1\n", "line 4: TIMESTAMP 'yesterday': not a time .expected YYYY"),
        (AZURE + "2023-11-16 18:15:00.0,1,1\n", "line 4: arrives before the line above"),
        (VIDUR + "13,1,-2\n", "line 4: num_decode_tokens '-2': expected a whole number"),
        (VIDUR + "nan,1,2\n", "line 4: arrived_at 'nan': not a time"),
        (VIDUR + "13,1\n", "line 4: num_decode_tokens missing: expected a whole number"),
        (VIDUR + "13,1,2,3\n", "line 4: 4 cells where the header has 3"),
        (VIDUR + "13,²,2\n", "line 4: num_prefill_tokens '²'"),
        (VIDUR + "13,99999999999999999999,2\n", "line 4: num_prefill_tokens '9999"),
        (VIDUR + "1e300,1,2\n", "line 4: arrived_at '1e300': not a time"),
        (VIDUR + "13,1,1\r14,1,x\n", "line 5: num_decode_tokens 'x'"),
        (VIDUR + '13,"1"1,2\n14,"' + "1" * 200_000, "line 5: not CSV"),
        (VIDUR.replace("arrived_at", "num_decode_tokens"), "column num_decode_tokens is there twice"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused(tmp_path, content, complaint):
    with pytest.raises(InputError, match=complaint) as refusal:
        read_requests(write(tmp_path, content))
    assert len(str(refusal.value).splitlines()) == 1


@st.composite
def damaged(draw):
    """A file of some format, in a few places of which stands something else."""
    content = draw(st.sampled_from([
        AZURE, BURST, VIDUR, json.dumps(BAILIAN), json.dumps(DYNAMO), json.dumps(MOONCAKE),
        "\n".join(map(json.dumps, SERVING)),
    ]))  # fmt: skip
    for _ in range(draw(st.integers(1, 3))):
        at, cut = draw(st.integers(0, len(content))), draw(st.integers(0, 12))
        piece = draw(st.sampled_from(
            [*'",;[]{}\n\r\t\0 ', "null", "1e999", "-1", "NaN", "9" * 30, "{}", "[]", "\u2028", ""]
        ))  # fmt: skip
        content = content[:at] + piece + content[at + cut :]
    return content


@settings(deadline=None)
@given(damaged())
@pytest.mark.filterwarnings("ignore::hmsim.errors.InputWarning")
def test_whatever_a_file_says_is_read_or_refused_in_one_line(tmp_path_factory, content):
    try:
        found = read_requests(write(tmp_path_factory.mktemp("damaged"), content))
    except InputError as refusal:
        sane = len(str(refusal).splitlines()) == 1
    else:
        sane = (found.prompt > 0).all() and (found.output > 0).all()
        sane = sane and (np.diff(found.arrival_s) >= 0).all()
    assert sane


def test_a_missing_file_a_wrong_format_and_damage(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_requests(tmp_path / "none")
    with pytest.raises(InputError, match="column ContextTokens is missing"):
        read_requests(write(tmp_path, VIDUR), "azure")
    with pytest.raises(InputError, match="line 1: not JSON: 'arrived_at"):
        read_requests(write(tmp_path, VIDUR), "mooncake")
    with pytest.raises(InputError, match="format 'azur': unknown; did you mean 'azure'"):
        read_requests(tmp_path / "none", "azur")
    path = write(tmp_path, VIDUR)
    path.write_bytes(gzip.compress(VIDUR.encode())[:-9])
    with pytest.raises(InputError, match="cannot be read: damaged gzip file"):
        read_requests(path)
    path.write_bytes(VIDUR.encode() + b"\xff\xfe,1,2\n")
    with pytest.raises(InputError, match="line 4: not a text file"):
        read_requests(path)


@pytest.mark.parametrize("form", ["mooncake", "vidur", "llmservingsim"])
def test_requests_written_for_other_tools_read_back(tmp_path, form):
    requests = read_requests(lines(tmp_path, MOONCAKE))
    write_requests(requests, form, tmp_path / "out")
    again = read_requests(tmp_path / "out")
    for ours, theirs in zip(requests[:3], again[:3], strict=True):
        assert ours.tolist() == theirs.tolist()
    expected = requests.hashes if form == "mooncake" else [[], []]
    assert lists(again.hashes) == lists(expected)


def test_ids_of_few_tokens_are_written_for_512(tmp_path):
    """What two prompts share, they share as far as whole blocks of 512 tokens go."""
    first = BAILIAN | {"input_length": 1100, "hash_ids": list(range(69))}
    second = first | {"hash_ids": [*range(40), *range(100, 129)]}
    requests = read_requests(lines(tmp_path, [first, second]))
    write_requests(requests, "mooncake", tmp_path / "out")
    again = read_requests(tmp_path / "out")
    assert lists(again.hashes) == [[0, 1, 2], [0, 3, 4]]
    assert again.hash_tokens == 512


def test_requests_that_share_nothing_get_hash_ids_of_their_own(tmp_path):
    requests = read_requests(write(tmp_path, VIDUR.replace("374", "1025")))
    write_requests(requests, "mooncake", tmp_path / "out")
    assert lists(read_requests(tmp_path / "out").hashes) == [[0, 1, 2], [3]]


def test_writing_requests_refuses_what_it_cannot_do(tmp_path):
    requests = read_requests(write(tmp_path, VIDUR))
    with pytest.raises(InputError, match="format 'vidour': unknown; did you mean 'vidur'"):
        write_requests(requests, "vidour", tmp_path / "out")
    with pytest.raises(InputError, match="cannot be written"):
        write_requests(requests, "vidur", tmp_path)
