"""Drives the Autobahn cases through kosoku and judges the results; called by scripts/autobahn.

Usage: autobahn_cases.py HOST:PORT [CASE ...], where a CASE is an id or a glob such as 6.*
"""

import asyncio
import os
import sys

from kosoku import FailureError, run_fuzzingclient

# permessage-deflate is never negotiated, so these would only say UNIMPLEMENTED.
EXCLUDED = ["12.*", "13.*"]
PASSING = {"OK", "INFORMATIONAL"}
# Allowed by the RFC though it would rather have it otherwise: passes, but is named.
TOLERATED = {"NON-STRICT"}
PARALLEL_CASES = 8


async def run(address, cases):
    try:
        return await run_fuzzingclient(address, cases or None, EXCLUDED, concurrency=PARALLEL_CASES)
    except FailureError as failure:
        return failure.results  # all of them, not only those that failed


def judge(result):
    """True if the case passed; a verdict that is not plainly good is printed."""
    verdicts = {result.behavior.value, result.behavior_close.value}
    if not verdicts <= PASSING:
        verdict = "/".join(sorted(verdicts))
        print(f"{result.case_id} {verdict}: {result.result} {result.result_close}")
    return verdicts <= PASSING | TOLERATED


def main(address, *cases):
    passed = [judge(result) for result in asyncio.run(run(address, cases))]
    print(f"{passed.count(True)} passed, {passed.count(False)} failed")
    return 0 if passed and all(passed) else 1


status = main(*sys.argv[1:])
sys.stdout.flush()
# kosoku 0.1.0 may abort while the interpreter shuts down, which would hide the status.
os._exit(status)
