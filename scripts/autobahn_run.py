"""Python 2.7: runs Autobahn's fuzzing client, and writes its report even when the time is up.

    autobahn_run.py SPEC SECONDS

Beside the report it writes `selected.json`, the cases that the spec names, so that a missing result shows.
"""
import json
import os
import sys

import autobahntestsuite
from autobahntestsuite import fuzzing, wstest
from autobahntestsuite.case import CaseBasename, CaseCategories, CaseSetname, CaseSubCategories, Cases
from autobahntestsuite.caseset import CaseSet
from twisted.internet import reactor

spec = json.load(open(sys.argv[1]))
selected = CaseSet(CaseSetname, CaseBasename, Cases, CaseCategories, CaseSubCategories).parseSpecCases(spec)
json.dump(selected, open(os.path.join(spec["outdir"], "selected.json"), "w"))

factories = []
plain_init = fuzzing.FuzzingClientFactory.__init__


def remembering_init(self, *args, **kwargs):
    factories.append(self)
    plain_init(self, *args, **kwargs)


def stop():
    try:
        factories[0].createReports()
    finally:
        reactor.stop()


fuzzing.FuzzingClientFactory.__init__ = remembering_init
reactor.callLater(float(sys.argv[2]), stop)
wstest.start({"mode": "fuzzingclient", "debug": False, "wsuri": None}, spec)
