using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using EdgeSlm;

/// <summary>The library on a golden model, which the first argument names. Prints a line a failure, and the counts.</summary>
internal static partial class Tests
{
    private const string Question = "Is the door open?";
    private static string directory;
    private static int checks;

    private static int Main(string[] arguments)
    {
        directory = arguments[0];
        var tests = new Dictionary<string, Action>
        {
            { "the model tells what it is", TheModelTellsWhatItIs },
            { "text to tokens and back", TextToTokensAndBack },
            { "a stream is its text", AStreamIsItsText },
            { "a turn enters the history", ATurnEntersTheHistory },
            { "probabilities where asked for", Probabilities },
            { "labels get probabilities", LabelsGetProbabilities },
            { "calibrations decide", CalibrationsDecide },
            { "answers follow their grammar", AnswersFollowTheirGrammar },
            { "what is extracted is looked up", WhatIsExtractedIsLookedUp },
            { "sampling is repeatable", SamplingIsRepeatable },
            { "failures tell their parts", FailuresTellTheirParts },
            { "nulls are named", NullsAreNamed },
            { "what is disposed says so", WhatIsDisposedSaysSo },
            { "disposing while another thread computes", DisposingWhileAnotherThreadComputes },
            { "calls are cancelled", CallsAreCancelled },
            { "an open stream keeps its session busy", AnOpenStreamKeepsItsSessionBusy },
            { "order of disposing does not matter", OrderOfDisposing },
            { "cancel and deadline", CancelAndDeadline },
            { "async streams", AsyncStreams },
            { "sources give their models", SourcesGiveTheirModels },
            { "ONNX Runtime answers", OnnxRuntimeAnswers },
            { "classifications end early", ClassificationsEndEarly },
            { "async streams are cancelled", AsyncStreamsAreCancelled },
            { "threads with a session each", ThreadsWithASessionEach },
        };
        var failed = 0;
        foreach (var test in tests)
        {
            try
            {
                test.Value();
            }
            catch (Exception exception)
            {
                failed++;
                Console.WriteLine("FAILED " + test.Key + ": " + exception);
            }
        }
        Console.WriteLine(checks + " checks");
        Console.WriteLine((tests.Count - failed) + " passed, " + failed + " failed");
        return failed == 0 ? 0 : 1;
    }

    private static void Check(bool condition, string what)
    {
        checks++;
        if (!condition) throw new Exception("not so: " + what);
    }

    private static SlmException Throws(Action action, SlmStatus status)
    {
        try
        {
            action();
        }
        catch (SlmException exception)
        {
            Check(exception.Status == status, exception.Status + " is " + status + ": " + exception.Message);
            return exception;
        }
        throw new Exception("nothing was thrown where " + status + " was expected");
    }

    private static void AnswersFollowTheirGrammar()
    {
        using (var model = Model.Load(directory))
        using (var session = model.NewSession())
        using (var colors = model.NewGrammar(new[] { "red", "green" }))
        using (var digits = model.NewGrammar(GrammarKind.Regex, "[0-9]{3}"))
        {
            var stream = session.Generate(Question, new GenerateOptions { Grammar = colors });
            var color = stream.ReadToEnd();
            Check(color == "red" || color == "green", "one of the choices: " + color);
            Check(stream.Finished.FinishReason == FinishReason.Grammar, "the grammar ends the answer");
            Check(stream.Finished.Completion == Completion.Complete, "the answer is complete");
            var number = session.Generate(Question, new GenerateOptions { Grammar = digits }).ReadToEnd();
            Check(number.Length == 3 && number.All(char.IsDigit), "three digits: " + number);
            Throws(() => model.NewGrammar(GrammarKind.JsonSchema, "{"), SlmStatus.Grammar);
            Throws(() => model.NewGrammar(GrammarKind.JsonSchema, "{\"not\": {}}"), SlmStatus.Unsupported);
            Throws(() => model.NewGrammar(new string[0]), SlmStatus.Grammar);
            Throws(() => session.Generate(Question, new GenerateOptions { Grammar = digits, MaxTokens = 1 }), SlmStatus.InvalidArgument);
        }
    }

    private static void WhatIsExtractedIsLookedUp()
    {
        const string schema = "{\"type\": \"object\", \"properties\": {\"total\": {\"type\": \"number\"}}}";
        var examples = new[] { new ExtractionExample("Total 3", "{\"total\": 3}") };
        using (var model = Model.Load(directory))
        using (var session = model.NewSession())
        using (var extractor = model.NewExtractor(schema, examples, "Find the total."))
        {
            var found = session.Extract(extractor, "Total 12,50", Short(40));
            Check(found.Value.StartsWith("{\"total\":", StringComparison.Ordinal), "an object: " + found.Value);
            Check(found.Fields.Contains("\"path\":\"/total\""), "its field: " + found.Fields);
            Check(found.Completion == Completion.Complete || found.Completion == Completion.Shortened, "it is whole");
            Throws(() => session.Extract(extractor, "Total 12,50", Short(1)), SlmStatus.InvalidArgument);
            Throws(() => model.NewExtractor("true"), SlmStatus.InvalidArgument);
        }
    }

    private static GenerateOptions Short(uint tokens = 8)
    {
        return new GenerateOptions { MaxTokens = tokens, IgnoreStopTokens = true };
    }

    private static void TheModelTellsWhatItIs()
    {
        using (var model = Model.Load(directory))
        {
            Check(model.Info.Contains("\"vocabulary_size\":" + model.VocabularySize), "the vocabulary");
            Check(model.ContextLength > 100, "the context");
            Check(Model.BuildInfo.Contains(Model.LibraryVersion), "the version");
            var estimate = Model.Estimate(directory, 64);
            Check(estimate.Total == estimate.Weights + estimate.Cache + estimate.Scratch + estimate.Text, "the total");
            Check(Model.Estimate(directory, 640).Cache > estimate.Cache, "a longer cache");
            Check(model.RecommendedSampling.TopP > 0, "recommended sampling");
        }
    }

    private static void TextToTokensAndBack()
    {
        using (var model = Model.Load(directory))
        {
            const string text = "The door is open.";
            var tokens = model.Tokenize(text, TokenizeMode.Plain);
            Check(tokens.Length > 3 && tokens.Length == model.CountTokens(text, TokenizeMode.Plain), "the count");
            Check(model.Detokenize(tokens) == text, "the text");
            Check(model.Tokenize("", TokenizeMode.Plain).Length == 0 && model.Detokenize(new uint[0]) == "", "nothing");
            Check(model.Render(new[] { new ChatMessage("user", Question) }).Contains(Question), "the prompt");
        }
    }

    private static void AStreamIsItsText()
    {
        using (var model = Model.Load(directory))
        using (var session = model.NewSession())
        {
            var stream = session.Generate(Question, Short(12));
            var pieces = stream.ToList();
            Check(pieces.Count > 0 && pieces.All(piece => piece.Length > 0), "pieces");
            Check(stream.Finished.FinishReason == FinishReason.MaxTokens, "the reason");
            Check(stream.Finished.Statistics.GeneratedTokens == 12, "the count");
            Check(stream.Finished.Statistics.TimeToFirstToken > TimeSpan.Zero, "the time");
            Check(session.Statistics.GeneratedTokens == 12, "the session's statistics");
            Check(session.Generate(Question, Short(12)).ReadToEnd() == string.Concat(pieces), "the same again");
            Check(session.Statistics.ReusedTokens > 0, "the cache");
            Check(stream.Next() == null, "nothing after the end");
        }
    }

    private static void ATurnEntersTheHistory()
    {
        using (var model = Model.Load(directory))
        using (var session = model.NewSession(new SessionOptions { System = "Be brief." }))
        {
            var answer = session.Turn(Question, new GenerateOptions { MaxTokens = 5 }).ReadToEnd();
            Check(session.History.Contains("Be brief.") && session.History.Contains(Question), "the history");
            Check(session.Length > 0, "the cache");
            session.Rewind(3);
            Check(session.Length == 3, "the rewound cache");
            session.Reset();
            Check(!session.History.Contains(Question) && session.Length == 0, "a new conversation");
            var messages = new[] { new ChatMessage("system", "Be brief."), new ChatMessage("user", Question) };
            Check(session.Chat(messages, new GenerateOptions { MaxTokens = 5 }).ReadToEnd() == answer, "the same answer");
            session.SetHistory(messages);
            Check(session.History.Contains(Question), "the history that was set");
        }
    }

    private static void Probabilities()
    {
        using (var model = Model.Load(directory))
        using (var session = model.NewSession())
        {
            var options = Short(3);
            options.LogProbabilities = 4;
            var count = 0;
            uint first = 0;
            using (var stream = session.Generate(Question, options))
            {
                for (var next = stream.Next(); next != null; next = stream.Next())
                {
                    if (next.Kind != AnswerEventKind.Token) continue;
                    if (count++ == 0) first = next.Token;
                    Check(next.Top.Count == 4 && next.Top[0].Token == next.Token, "the most probable token");
                    Check(next.LogProbability < 0 && next.Top[0].LogProbability == next.LogProbability, "its probability");
                }
            }
            Check(count == 3, "three tokens");
            var tokens = model.Tokenize(Question);
            var logits = session.Logits(tokens, 2);
            Check(logits.Length == 2 * model.VocabularySize, "two rows");
            var last = logits.Skip(model.VocabularySize).ToArray();
            Check(Array.IndexOf(last, last.Max()) == first, "the highest logit is the greedy token");
        }
    }

    private static void LabelsGetProbabilities()
    {
        using (var model = Model.Load(directory))
        using (var session = model.NewSession())
        {
            var labels = new[] { " urgent", " routine", " nothing" };
            var result = session.Classify("The pump is leaking. This is", labels);
            Check(Math.Abs(result.Probabilities.Sum() - 1) < 1e-5, "the sum");
            Check(result.Label == labels[result.Index] && result.Probabilities[result.Index] == result.Probabilities.Max(), "the best");
            var chat = session.Classify(new[] { new ChatMessage("user", Question) }, new[] { "yes", "no" }, LabelScore.TrieNormalised);
            Check(chat.Probabilities.Count == 2, "two labels");
        }
    }

    private static void SamplingIsRepeatable()
    {
        using (var model = Model.Load(directory))
        using (var session = model.NewSession())
        {
            Func<ulong, string> answer = seed =>
            {
                var options = Short(20);
                options.Sampling = new SamplingOptions { Temperature = 1.5f, Seed = seed };
                return session.Generate(Question, options).ReadToEnd();
            };
            Check(answer(1) == answer(1), "the same seed");
            Check(Enumerable.Range(1, 5).Select(seed => answer((ulong)seed)).Distinct().Count() > 1, "other seeds");
        }
    }

    private static void FailuresTellTheirParts()
    {
        var missing = Throws(() => Model.Load("/nowhere/at all"), SlmStatus.NotFound);
        Check(missing.File.Contains("nowhere"), "the file");
        var damaged = Path.Combine(Path.GetTempPath(), "edgeslm ü " + Guid.NewGuid());
        Directory.CreateDirectory(damaged);
        try
        {
            foreach (var file in Directory.GetFiles(directory)) File.Copy(file, Path.Combine(damaged, Path.GetFileName(file)));
            var graph = Path.Combine(damaged, "model.onnx");
            File.WriteAllBytes(graph, File.ReadAllBytes(graph).Take(1000).ToArray());
            var exception = Throws(() => Model.Load(damaged), SlmStatus.InvalidModel);
            Check(exception.File == graph && exception.Message.Contains(exception.Reason), "the damaged file");
        }
        finally
        {
            Directory.Delete(damaged, true);
        }
        using (var model = Model.Load(directory, new ModelOptions { MemoryBudget = 1 }))
        using (var session = model.NewSession())
        {
            Throws(() => session.Generate("x").ReadToEnd(), SlmStatus.MemoryBudget);
            Throws(() => session.Generate(""), SlmStatus.InvalidArgument);
            var options = new GenerateOptions { Sampling = new SamplingOptions { Temperature = -1 } };
            Check(Throws(() => session.Generate("x", options), SlmStatus.InvalidArgument).Reason.Contains("temperature"), "the name");
        }
    }

    private static void NullsAreNamed()
    {
        using (var model = Model.Load(directory))
        using (var session = model.NewSession())
        {
            var uses = new Dictionary<string, Action>
            {
                { "directory", () => Model.Load(null) },
                { "text", () => model.Tokenize(null) },
                { "tokens", () => model.Detokenize(null) },
                { "message", () => session.Turn(null) },
                { "prompt", () => session.Generate(null) },
                { "messages", () => session.Chat(new ChatMessage[] { null }) },
                { "labels", () => session.Classify("x", new[] { "a", null }) },
                { "Stop", () => session.Generate("x", new GenerateOptions { Stop = null }) },
            };
            foreach (var use in uses)
            {
                try
                {
                    use.Value();
                    Check(false, "null for " + use.Key + " is refused");
                }
                catch (ArgumentNullException exception)
                {
                    Check(exception.ParamName == use.Key, exception.ParamName + " is " + use.Key);
                }
            }
            session.Reset();
        }
    }

    private static async Task<List<string>> Collect(IAsyncEnumerable<string> stream, CancellationToken token)
    {
        var pieces = new List<string>();
        var enumerator = stream.GetAsyncEnumerator(token);
        try
        {
            while (await enumerator.MoveNextAsync()) pieces.Add(enumerator.Current);
        }
        finally
        {
            await enumerator.DisposeAsync();
        }
        return pieces;
    }
}
