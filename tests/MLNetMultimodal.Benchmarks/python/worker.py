"""The loop of a worker: a JSON object per line in, one out."""
import json
import sys
import traceback


def serve(versions, **ops):
    def say(answer):
        print(json.dumps(answer), flush=True)

    say({"versions": versions})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            say(ops[request.pop("op")](**request))
        except Exception:
            say({"error": traceback.format_exc()})
