using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text;
using EdgeSlm;

/// <summary>
/// Sorts what patients say into emergency, urgent and routine, and gives a sentence of advice on each: statements from the command line,
/// or one a line from the input. Ctrl-C stops an answer; while none is made it ends the program. It shows how to use the library, not
/// how to do medicine.
///
///     mcs -r:EdgeSlm.dll examples/csharp/Triage.cs
///     mono Triage.exe MODEL_DIRECTORY [--max-tokens N] [--statement TEXT]...
/// </summary>
internal static class Triage
{
    private static readonly string[] Labels = { "emergency", "urgent", "routine" };

    // Each conversation begins the same every time, so that a statement costs its own tokens only.
    private static readonly ChatMessage[] Sorting =
    {
        new ChatMessage("system", "You sort what patients say. Answer with one word: emergency, urgent or routine."),
        new ChatMessage("user", "My uncle collapsed and he is not breathing."),
        new ChatMessage("assistant", "emergency"),
        new ChatMessage("user", "I have had a fever of 39 and a sore throat since yesterday."),
        new ChatMessage("assistant", "urgent"),
        new ChatMessage("user", "I'd like to move my check-up to next month."),
        new ChatMessage("assistant", "routine"),
    };

    private static readonly ChatMessage[] Advice =
    {
        new ChatMessage("system", "You help the receptionist of a clinic. Say in one short sentence what to do next."),
        new ChatMessage("user", "emergency: My uncle collapsed and he is not breathing."),
        new ChatMessage("assistant", "Call an ambulance at once and fetch the defibrillator."),
        new ChatMessage("user", "routine: I'd like to move my check-up to next month."),
        new ChatMessage("assistant", "Book a new date next month."),
    };

    private static volatile AnswerStream answering;

    private static int Main(string[] arguments)
    {
        var statements = new List<string>();
        var options = new GenerateOptions { MaxTokens = 32, Stop = new[] { "\n" } };
        var usage = arguments.Length % 2 == 0;
        for (var i = 1; !usage && i < arguments.Length; i += 2)
        {
            if (arguments[i] == "--statement") statements.Add(arguments[i + 1]);
            else if (arguments[i] == "--max-tokens") options.MaxTokens = uint.Parse(arguments[i + 1], CultureInfo.InvariantCulture);
            else usage = true;
        }
        if (usage)
        {
            Console.Error.WriteLine("usage: Triage MODEL_DIRECTORY [--max-tokens N] [--statement TEXT]...");
            return 1;
        }
        Console.CancelKeyPress += OnInterrupt;
        var encoding = new UTF8Encoding(false);
        try
        {
            using (var input = new StreamReader(Console.OpenStandardInput(), encoding))
            using (var output = new StreamWriter(Console.OpenStandardOutput(), encoding) { AutoFlush = true })
            using (var model = Model.Load(arguments[0]))
            using (var triage = model.NewSession())
            using (var advice = model.NewSession())
            {
                foreach (var statement in statements.Count > 0 ? statements : Lines(input))
                {
                    if (statement.Length > 0) Handle(statement, triage, advice, options, output);
                }
            }
        }
        catch (SlmException exception)
        {
            Console.Error.WriteLine("error: " + exception.Message);
            return 1;
        }
        return 0;
    }

    private static void OnInterrupt(object sender, ConsoleCancelEventArgs happening)
    {
        var stream = answering;
        if (stream == null) return;
        happening.Cancel = true;
        stream.Cancel();
    }

    private static IEnumerable<string> Lines(TextReader input)
    {
        for (var line = input.ReadLine(); line != null; line = input.ReadLine()) yield return line;
    }

    /// <summary>Prints a line on a statement.</summary>
    private static void Handle(string statement, Session triage, Session advice, GenerateOptions options, TextWriter output)
    {
        var result = triage.Classify(With(Sorting, statement), Labels);
        output.Write(string.Format(CultureInfo.InvariantCulture, "{0,-9} {1:F3} ", result.Label, result.Probabilities[result.Index]));
        using (var stream = advice.Chat(With(Advice, result.Label + ": " + statement), options))
        {
            answering = stream;
            try
            {
                foreach (var text in stream) output.Write(Printable(text));
            }
            finally
            {
                answering = null;
            }
            output.WriteLine(stream.Finished.FinishReason == FinishReason.Cancelled ? " (stopped)" : "");
        }
    }

    private static ChatMessage[] With(ChatMessage[] messages, string statement)
    {
        return messages.Concat(new[] { new ChatMessage("user", statement) }).ToArray();
    }

    /// <summary>A piece of an answer on one line, without what a terminal would obey.</summary>
    private static string Printable(string text)
    {
        return string.Concat(text.Select(letter => char.IsControl(letter) ? ' ' : letter));
    }
}
