"""Judges an Autobahn report and prints `N passed, M failed`; exits with 1 when a case failed.

    autobahn_report.py FOLDER

A case passes when its behaviour and its close are OK. "Non-strict" passes too, but for 6.4.*: there it means
that bad UTF-8 was noticed late. A selected case without a result has failed.
"""
import json
import pathlib
import sys

PASSING = {"OK", "NON-STRICT", "INFORMATIONAL"}


def fault(case, result):
    """What is wrong with a result; None when nothing is."""
    if result is None:
        return "no result"
    behavior, close = result["behavior"], result["behaviorClose"]
    if behavior not in PASSING or close not in PASSING:
        return f"{behavior}, close {close}, code {result.get('remoteCloseCode')}"
    if behavior == "NON-STRICT" and case.startswith("6.4."):
        return "not strict"
    return None


def main(folder):
    try:
        selected = json.loads((folder / "selected.json").read_text())
    except FileNotFoundError:
        print(f"the suite did not start, see {folder}/log")
        print("0 passed, 1 failed")
        return 1
    index = folder / "index.json"
    results = json.loads(index.read_text()).get("holdfast", {}) if index.exists() else {}
    faults = [(case, fault(case, results.get(case))) for case in selected]
    failed = [(case, why) for case, why in faults if why]
    lenient = [case for case in selected if results.get(case, {}).get("behavior") == "NON-STRICT"]
    if lenient:
        print("not strict:", " ".join(lenient))
    for case, why in failed:
        print(f"FAILED {case}: {why}")
    print(f"{len(selected) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not selected else 0


sys.exit(main(pathlib.Path(sys.argv[1])))
