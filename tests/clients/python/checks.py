"""What every session here needs: checks that end the program when they fail, and the restart of the server."""
import sys

server, second, fate = sys.argv[1:4]
options = sys.argv[4:]
# Whether what was stored is still there after a restart.
keeps = fate == "keeps"
_count = 0


def check(what, actual, expected=True):
    global _count
    _count += 1

    if actual != expected or type(actual) != type(expected):
        sys.exit(f"{what}: expected {expected!r:.200}, got {actual!r:.200}")


def raises(error, act):
    try:
        act()
    except error:
        return True
    return False


def restart():
    """Has the server stopped and started again on its port."""
    print("restart", flush=True)

    if sys.stdin.readline() != "restarted\n":
        sys.exit("the server was not restarted")


def end(client):
    print(f"{client}: {_count} checks")
