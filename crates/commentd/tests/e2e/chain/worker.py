"""A worker that does what the comment's text tells it to: `ui=ok`, `ui=code 20`, `ui=dies`, `ui=dies after go`,
`ui=hangs after go`. What it posts it writes to the file that it was given."""
import json
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
    if does.startswith("code "):
        say(ok=False, error_code=int(does.split()[1]), error_message="told to")
        continue
    if does == "dies":
        sys.exit(1)
    say(event="ready")
    if json.loads(sys.stdin.readline()).get("go") != name:
        continue
    with open(sys.argv[1], "a") as posted:
        posted.write(request["content"] + "\n")
    if does == "dies after go":
        sys.exit(1)
    if does == "hangs after go":
        time.sleep(3600)
    say(ok=True)
