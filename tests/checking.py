"""What the checks under tests/ share, for Python: counting what passed, and saying what did not."""

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
    """Passes on, and counts, what another script printed as `check` does."""
    global passed, failed
    print(printed, end="")
    passed += printed.count("ok      ")
    failed += printed.count("FAILED  ")


def equal(found, expected):
    assert found == expected, f"found {found!r} instead of {expected!r}"


def finish():
    """Says how many passed, and ends with 1 where one failed."""
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)
