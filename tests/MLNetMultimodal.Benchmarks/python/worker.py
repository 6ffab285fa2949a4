"""The loop of a worker: a JSON object per line in, one out, the first with the versions of what it runs on."""
import json
import sys
import traceback


def serve(versions, **ops):
    """Answers until the input ends. With --check there is nothing to do: all that is needed has been imported."""
    if "--check" in sys.argv:
        return

    def say(answer):
        print(json.dumps(answer), flush=True)

    say({"versions": versions})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            say(ops[request.pop("op")](**request))
        except Exception:
            say({"error": traceback.format_exc()})
