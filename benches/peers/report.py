"""What the programs in this folder print when they have measured."""

import json


def status(field):
    """Bytes of a field of this process's status in Linux."""
    with open("/proc/self/status", encoding="ascii") as lines:
        for line in lines:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return None


def report(load, prefill, decode):
    """One JSON object on standard output: seconds, tokens a second, and the process's memory."""
    print(json.dumps({
        "load_s": load,
        "prefill_tokens_per_s": prefill,
        "decode_tokens_per_s": decode,
        "peak_rss_bytes": status("VmHWM"),
        "anonymous_bytes": status("RssAnon"),
    }))
