"""Helpers of the checks under tests/ that are in Python: they count passed checks and report failed ones."""

import sys

passed = failed = 0


def check(name, test):
    """Runs a test, which fails with an exception."""
    global passed, failed
    try:
        test()
    except Exception as error:
        failed += 1
        print(f"FAILED  {name}: {type(error).__name__}: {error}")
    else:
        passed += 1
        print(f"ok      {name}")


def count(printed):
    """Prints and counts the output of another script in the format of `check`."""
    global passed, failed
    print(printed, end="")
    passed += printed.count("ok      ")
    failed += printed.count("FAILED  ")


def equal(found, expected):
    assert found == expected, f"found {found!r} instead of {expected!r}"


def finish():
    """Prints the counts, and exits with 1 if a check failed."""
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)
