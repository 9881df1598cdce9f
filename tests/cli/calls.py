"""What tests of commands share: a call that must succeed, and one that must be refused."""

import json

from hmsim.cli import main


def done(capsys, *call: object) -> str:
    """What the command prints on standard output; it ends with 0."""
    capsys.readouterr()
    code = main([str(part) for part in call])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out


def told(capsys, *call: object) -> dict:
    """The one JSON object that it prints."""
    return json.loads(done(capsys, *call, "--json"))


def refused(capsys, *call: object) -> str:
    """The one line that it says; it ends with 2, and prints nothing."""
    capsys.readouterr()
    assert main([str(part) for part in call]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("hmsim: ")
    assert printed.err.count("\n") == 1
    return printed.err
