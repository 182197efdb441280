"""Sorts what patients say into emergency, urgent and routine, and gives a sentence of advice on each: statements from the
command line, or one a line from the input. Ctrl-C stops an answer; while none is made it ends the program.

It shows how to use the library, not how to do medicine.
"""

import argparse
import sys
import unicodedata

import edgeslm

LABELS = ["emergency", "urgent", "routine"]

# Each conversation begins the same every time, so that a statement costs its own tokens only.
TRIAGE = [
    {"role": "system", "content": "You sort what patients say. Answer with one word: emergency, urgent or routine."},
    {"role": "user", "content": "My uncle collapsed and he is not breathing."},
    {"role": "assistant", "content": "emergency"},
    {"role": "user", "content": "I have had a fever of 39 and a sore throat since yesterday."},
    {"role": "assistant", "content": "urgent"},
    {"role": "user", "content": "I'd like to move my check-up to next month."},
    {"role": "assistant", "content": "routine"},
]
ADVICE = [
    {"role": "system", "content": "You help the receptionist of a clinic. Say in one short sentence what to do next."},
    {"role": "user", "content": "emergency: My uncle collapsed and he is not breathing."},
    {"role": "assistant", "content": "Call an ambulance at once and fetch the defibrillator."},
    {"role": "user", "content": "routine: I'd like to move my check-up to next month."},
    {"role": "assistant", "content": "Book a new date next month."},
]


def printable(text: str) -> str:
    """A piece of an answer on one line, without what a terminal would obey."""
    return "".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text)


def look_at(statement: str, triage: edgeslm.Session, advice: edgeslm.Session, max_tokens: int) -> None:
    result = triage.classify([*TRIAGE, {"role": "user", "content": statement}], LABELS)
    print(f"{result.label:<9} {result.probabilities[result.index]:.3f} ", end="", flush=True)
    messages = [*ADVICE, {"role": "user", "content": f"{result.label}: {statement}"}]
    for text in advice.chat(messages, max_tokens=max_tokens, stop="\n"):
        print(printable(text), end="", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("model", help="the model directory")
    parser.add_argument("--statement", action="append", help="what a patient says; may be repeated")
    parser.add_argument("--max-tokens", type=int, default=32, help="the most tokens of a sentence of advice")
    arguments = parser.parse_args()
    try:
        with edgeslm.Model(arguments.model) as model, model.session() as triage, model.session() as advice:
            for statement in arguments.statement or (line.rstrip("\r\n") for line in sys.stdin):
                if not statement:
                    continue
                try:
                    look_at(statement, triage, advice, arguments.max_tokens)
                except KeyboardInterrupt:
                    print(" (stopped)", end="")
                print(flush=True)
    except edgeslm.EdgeSlmError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
