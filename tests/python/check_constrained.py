"""Checks constrained answers with an independent JSON schema validator: check_constrained.py ANSWERS.

ANSWERS has one JSON object a line: the path of a schema, the answer's text, and how complete it is. Whether complete or shortened,
an answer has to be JSON that the schema accepts; any other is a failure.
"""

import collections
import json
import re
import sys

from jsonschema import FormatChecker
from jsonschema.validators import validator_for

FORMATS = FormatChecker()


def validator_of(path):
    with open(path, encoding="utf-8") as file:
        schema = json.load(file)
    kind = validator_for(schema)
    return kind(schema, format_checker=FORMATS)


def main(answers):
    validators = {}
    counts = collections.Counter()
    unreadable = set()
    failures = []
    with open(answers, encoding="utf-8") as lines:
        for line in lines:
            answer = json.loads(line)
            path = answer["schema"]
            if path not in validators:
                validators[path] = validator_of(path)
            try:
                if answer["completion"] not in ("complete", "shortened"):
                    raise ValueError(f"the answer is {answer['completion']}")
                error = next(validators[path].iter_errors(json.loads(answer["text"])), None)
            except re.error:
                # A pattern that Python's regular expressions do not have.
                unreadable.add(path)
                continue
            except ValueError as problem:
                error = problem
            if error is not None:
                failures.append(f"{path}: {answer['text'][:300]!r}: {str(error)[:300]}")
            else:
                counts[answer["completion"]] += 1
    print(f"{counts['complete']} complete and {counts['shortened']} shortened answers to "
          f"{len(validators) - len(unreadable)} schemas are valid, {len(failures)} are not")
    if unreadable:
        print(f"{len(unreadable)} schemas have patterns that the validator cannot read")
    for failure in failures[:20]:
        print(failure)
    sys.exit(1 if failures or not counts else 0)


if __name__ == "__main__":
    main(sys.argv[1])
