"""twemproxy, which Debian calls nutcracker: a proxy that sends the requests of all its clients over one connection to each server, and
expects the answers in their order. pymemcache is its client. nutcracker_session.py SERVER SECOND keeps|forgets
"""
import os
import re
import subprocess
import tempfile
import threading
import time

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheError

from checks import check, end, keeps, restart, second, server

many = {f"many-{number}": b"value %d" % number for number in range(1000)}
binary = bytes(range(256)) * 2000
folder = tempfile.TemporaryDirectory()
listen = os.path.join(folder.name, "proxy")
configuration = os.path.join(folder.name, "nutcracker.yml")

with open(configuration, "w") as file:
    file.write(f"""stores:
  listen: {listen}
  hash: fnv1a_64
  distribution: ketama
  timeout: 20000
  server_retry_timeout: 100
  server_connections: 1
  servers:
    - {server}:1
    - {second}:1
""")

log = os.path.join(folder.name, "log")
# It cannot do without a port for its figures: on an address of the loopback interface that nobody else uses.
statistics = [f"--stats-addr=127.77.{os.getpid() >> 8 & 255}.{os.getpid() & 255}"]
proxy = subprocess.Popen(["nutcracker", "-c", configuration, "-o", log, *statistics])


def connect():
    return Client(listen, timeout=20, default_noreply=False)


def works(client, number, failures):
    """What one client of the proxy does: its own keys, in pieces, and a counter it shares with the others."""
    try:
        mine = {f"{number}-{key}": value for key, value in list(many.items())[:100]}
        client.set_many(mine)
        client.set(f"{number}-binary", binary)
        client.incr("counter", 1)
        if client.get_many(list(mine)) != mine or client.get(f"{number}-binary") != binary:
            failures.append(number)
    except Exception as error:
        failures.append(error)


def session():
    client = connect()
    check("set", client.set("text", "value"))
    check("get", client.get("text"), b"value")
    check("add to what is there", client.add("text", "other"), False)
    check("append", client.append("text", "-end"))
    value, unique = client.gets("text")
    check("gets", value, b"value-end")
    check("cas", client.cas("text", "cas", unique))
    check("cas of a used unique", client.cas("text", "late", unique), False)
    check("touch", client.touch("text", 1000))
    check("delete", client.delete("text"))
    check("delete of nothing", client.delete("text"), False)
    check("set_many over two servers", client.set_many(many), [])
    check("get_many over two servers", client.get_many(list(many)), many)

    check("a counter for all", client.set("counter", "0"))
    failures = []
    threads = [threading.Thread(target=works, args=(connect(), number, failures)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check("50 clients over one connection", failures, [])
    check("each increment counts once", client.get("counter"), b"50")
    counted = [Client(one, timeout=20).stats()[b"curr_connections"] for one in (server, second)]
    check("the servers saw few connections", [count < 10 for count in counted], [True, True])

    there = Client(second, timeout=20).get_many(list(many))
    restart()
    deadline = time.monotonic() + 20
    again = None

    # Until the proxy has found out, and has waited for its time to try again.
    while again is None and time.monotonic() < deadline:
        try:
            again = client.get_many(list(many))
        except (MemcacheError, OSError):
            time.sleep(0.1)

    check("get_many after a restart", again, many if keeps else there)
    check("incr goes on", client.incr("counter", 1) in ((51,) if keeps else (51, None)))


try:
    for _ in range(200):
        if os.path.exists(listen):
            break
        time.sleep(0.1)

    session()
finally:
    proxy.terminate()
    proxy.wait()

version = subprocess.run(["nutcracker", "--version"], capture_output=True, text=True)
end("nutcracker " + re.search(r"[\d.]+", version.stdout + version.stderr).group())
