"""A `baton` that is played, for commands of perf/ that run it."""

import json
import subprocess
import sys


class Played:
    """Runs a command of perf/ with a program in the place of `baton`, which tells what it is `told` and logs
    its arguments. `program` is Python with {told} and {log} for the files of both."""

    def __init__(self, folder, program, command, *usual):
        self.folder, self.command, self.usual = folder, command, usual
        self.told = {}
        baton = folder / "baton"
        baton.write_text(f"#!{sys.executable}\n" + program.format(
            told=str(folder / "told.json"), log=str(folder / "log")))
        baton.chmod(0o755)

    def run(self, *arguments):
        (self.folder / "told.json").write_text(json.dumps(self.told))
        return subprocess.run(
            [sys.executable, self.command, "--quick", *self.usual, "--json",
             self.folder / "result.json", *arguments],
            capture_output=True, text=True, timeout=120, check=False,
            env={"PATH": "/usr/bin:/bin", "BATON_BUILD": str(self.folder)})

    def figures(self):
        return {f["what"]: f for f in
                json.loads((self.folder / "result.json").read_text())["figures"]}

    def runs(self):
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines()]
