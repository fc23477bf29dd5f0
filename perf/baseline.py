"""What results are held to: ratios to peers measured in the same run, and instruction counts.

A figure that names a `tolerance` is held. Where it has peers, its ratio to each of them is compared
with the baseline's, so that a slower or busier machine changes nothing; where it has none, the
value itself is: a ratio already, or a count. Worse by more than the tolerance is a regression;
counts, which repeat exactly, must not move either way. Ratios measured on a machine with other work
to do are not judged: cores that are shared cost the one more than the other.
"""
import dataclasses
import json
import pathlib
import re

FILE = pathlib.Path(__file__).resolve().parent / "results" / "baseline.json"


@dataclasses.dataclass
class Held:
    """One number of a result that is compared."""
    value: float
    tolerance: float
    at_most: bool
    either_way: bool
    peer: str | None


@dataclasses.dataclass
class Verdict:
    command: str
    name: str
    kind: str  # same, worse, better, moved, new, gone, no peer, other tools, busy
    value: float | None = None
    base: float | None = None
    tolerance: float | None = None

    @property
    def fails(self):
        return self.kind in ("worse", "moved", "gone")

    def line(self):
        numbers = ""
        if self.value is not None and self.base:
            numbers = (f"  {self.value:.5g} against {self.base:.5g}, "
                       f"{100 * (self.value / self.base - 1):+.1f} % (within "
                       f"{100 * self.tolerance:g} %)")
        elif self.value is not None:
            numbers = f"  {self.value:.5g}"
        return f"{self.kind:<11}  {self.command}: {self.name}{numbers}"


def held(result):
    """The held numbers of one command's result, by name."""
    numbers = {}
    for figure in result["figures"]:
        if figure.get("tolerance") is None:
            continue
        what = figure["what"].strip()
        traits = (figure["tolerance"], figure["at_most"], figure.get("either_way", False))
        if not figure["peers"]:
            numbers[what] = Held(figure["value"], *traits, None)
        for peer, value in figure["peers"].items():
            if value > 0:
                numbers[f"{what}, to {peer}"] = Held(figure["value"] / value, *traits, peer)
    return numbers


def is_busy(result):
    """Whether other work was running when the command began. A load of one or two for each core is
    what the command before it leaves behind."""
    machine = result["machine"]
    return machine.get("load_1m_before", 0) > 2 * machine.get("cores", 1)


def load(path=FILE):
    """The baseline, by command; empty where there is none yet."""
    path = pathlib.Path(path)
    return json.loads(path.read_text()) if path.exists() else {}


def update(results, path=FILE):
    """Makes `results` (command to result) the baseline of those commands; returns of which. Ratios
    of a busy machine are left out."""
    path, commands, updated = pathlib.Path(path), load(path), []
    for command, result in results.items():
        numbers = {name: h for name, h in held(result).items()
                   if h.either_way or not is_busy(result)}
        if not numbers:
            continue
        updated.append(command)
        figures = {name: {"value": round(h.value, 6), "tolerance": h.tolerance,
                          **({"peer": h.peer} if h.peer else {})} for name, h in numbers.items()}
        kept = commands.get(command, {}).get("figures", {})
        for name, figure in kept.items():  # peers that this machine lacks
            if name not in figures and "peer" in figure:
                figures[name] = figure
        commands[command] = {"date": result["date"], "commit": result["commit"],
                             "cpu": result["machine"]["cpu"],
                             **({"counted_with": result["counted_with"]}
                                if "counted_with" in result else {}), "figures": figures}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dict(sorted(commands.items())), indent=1) + "\n")
    return updated


def compare(command, result, base):
    """The verdict on each held number of one command's result; `base` is its part of load()."""
    numbers, known = held(result), base.get("figures", {})
    if base and base.get("counted_with") != result.get("counted_with"):
        return [Verdict(command, name, "other tools", h.value) for name, h in numbers.items()]
    verdicts = []
    for name, entry in known.items():
        if name in numbers and is_busy(result) and not numbers[name].either_way:
            verdicts.append(Verdict(command, name, "busy", numbers[name].value))
        elif name in numbers:
            verdicts.append(judge(command, name, numbers[name], entry))
        else:
            verdicts.append(Verdict(command, name, "no peer" if "peer" in entry else "gone"))
    verdicts += [Verdict(command, name, "new", numbers[name].value)
                 for name in numbers if name not in known]
    return verdicts


def judge(command, name, number, entry):
    change = number.value / entry["value"] - 1 if entry["value"] else 0.0
    worse = change if number.at_most else -change
    kind = "same"
    if number.either_way and abs(change) > entry["tolerance"]:
        kind = "moved"
    elif worse > entry["tolerance"]:
        kind = "worse"
    elif worse < -entry["tolerance"]:
        kind = "better"
    return Verdict(command, name, kind, number.value, entry["value"], entry["tolerance"])


def read_results(folder):
    """Results of a folder, by command. A file that is no result of a command is left out."""
    results = {}
    for path in sorted(pathlib.Path(folder).glob("*.json")):
        result = json.loads(path.read_text())
        if isinstance(result, dict) and isinstance(result.get("figures"), list):
            results[path.stem] = result
    return results


def newest_results(root=FILE.parent):
    """The folder of the latest date; None where there is none."""
    dated = [p for p in pathlib.Path(root).glob("*")
             if p.is_dir() and re.match(r"\d{4}-\d\d-\d\d", p.name)]
    return max(dated, key=lambda p: p.name, default=None)


def check(results, path=FILE):
    """Compares results (command to result) with the baseline; prints what is not the same and a
    last line that counts. Returns how many fail."""
    commands = load(path)
    verdicts = [v for command, result in results.items()
                for v in compare(command, result, commands.get(command, {}))]
    for verdict in verdicts:
        if verdict.kind != "same":
            print(verdict.line())
    failing = sum(v.fails for v in verdicts)
    same = sum(v.kind == "same" for v in verdicts)
    print(f"{len(verdicts)} held figures: {same} as in the baseline, {failing} failed")
    return failing
