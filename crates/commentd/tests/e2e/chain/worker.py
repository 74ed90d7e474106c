"""A worker that does what the comment's text tells it to: `ui=ok`, `ui=code 20`, `ui=dies`, `ui=dies after go`,
`ui=hangs after go`, `ui=code 57 after go`, `ui=hangs with a child; at=SOCKET;`. What it posts it writes to the file that
it was given."""
import json
import socket
import subprocess
import sys
import time

for line in iter(sys.stdin.readline, ""):
    request = json.loads(line)
    name = request.get("id")

    def say(**words):
        print(json.dumps({"id": name, **words}), flush=True)

    if request.get("cmd") == "ping":
        say(ok=True)
        continue
    if request.get("cmd") != "comment":
        continue
    does = request["content"].split("ui=")[1].split(";")[0]
    if does.startswith("code ") and not does.endswith("after go"):
        say(ok=False, error_code=int(does.split()[1]), error_message="told to")
        continue
    if does == "dies":
        sys.exit(1)
    if does == "hangs with a child":
        # Whoever listens there reads an end only when the worker and its child are both gone.
        held = socket.socket(socket.AF_UNIX)
        held.connect(request["content"].split("at=")[1].split(";")[0])
        subprocess.Popen(["sleep", "3600"], pass_fds=[held.fileno()])
        held.send(b"!")
        time.sleep(3600)
    say(event="ready")
    if json.loads(sys.stdin.readline()).get("go") != name:
        continue
    # Of the codes, only 57 says that there is a comment.
    if not does.startswith("code ") or does.startswith("code 57 "):
        with open(sys.argv[1], "a") as posted:
            posted.write(request["content"] + "\n")
    if does == "dies after go":
        sys.exit(1)
    if does == "hangs after go":
        time.sleep(3600)
    if does.startswith("code "):
        say(ok=False, error_code=int(does.split()[1]), error_message="told to")
        continue
    say(ok=True)
