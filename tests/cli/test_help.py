"""Help: on a bare command, with examples that parse; completion."""

import shlex
import subprocess

import pytest

from hmsim.cli import main, parser
from hmsim.cli.examples import EXAMPLES


def every_parser(root):
    found = [root]
    for each in found:
        for action in each._actions:
            if isinstance(action.choices, dict):
                found += action.choices.values()
    return {each.prog: each for each in found}


def test_every_command_has_examples():
    assert set(every_parser(parser())) == set(EXAMPLES)


@pytest.mark.parametrize("call", [call for calls in EXAMPLES.values() for call in calls])
def test_examples_parse(call):
    command, *arguments = shlex.split(call.partition(" > ")[0])
    assert command == "hmsim"
    if "--help" in arguments:
        with pytest.raises(SystemExit) as done:
            parser().parse_args(arguments)
        assert done.value.code == 0
    else:
        parser().parse_args(arguments)


@pytest.mark.parametrize("prog", EXAMPLES)
def test_help_ends_with_the_examples(prog):
    text = every_parser(parser())[prog].format_help()
    assert text.endswith("\nexamples:\n" + "".join(f"  {call}\n" for call in EXAMPLES[prog]))


@pytest.mark.parametrize("given", [[], ["workload"]])
def test_a_call_that_names_no_command_gets_help(given, capsys):
    assert main(given) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: hmsim")
    assert "examples:" in err


def test_completion_is_a_script_of_the_shell(capsys, tmp_path):
    with pytest.raises(SystemExit) as done:
        main(["--print-completion", "bash"])
    assert done.value.code == 0
    script = tmp_path / "completion.bash"
    script.write_text(capsys.readouterr().out)
    assert "calibrate" in script.read_text()
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_completion_of_an_unknown_shell_is_refused(capsys):
    assert main(["--print-completion", "bsh"]) == 2
    assert "did you mean" in capsys.readouterr().err
