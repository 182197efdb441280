using System;
using System.Collections.Generic;
using System.Globalization;
using System.IO;
using System.Linq;
using System.Text;
using EdgeSlm;

/// <summary>
/// The list of behaviour cases that all languages share: Behaviour LIST MODELS_DIRECTORY. Prints the first case that differs, with what
/// was expected and found, and exits with 1.
/// </summary>
internal static class Behaviour
{
    /// <summary>How much a probability or the logarithm of one may differ.</summary>
    private const double Tolerance = 1e-6;

    private static readonly CultureInfo Plain = CultureInfo.InvariantCulture;

    private struct Line
    {
        internal readonly string Key;
        internal readonly string Value;

        internal Line(string key, string value)
        {
            Key = key;
            Value = value;
        }

        public override string ToString()
        {
            return "= " + Key + " " + Value;
        }
    }

    /// <summary>One case of the list.</summary>
    private sealed class Case
    {
        internal readonly string Name;
        internal readonly List<Line> Given = new List<Line>();
        internal readonly List<Line> Expected = new List<Line>();
        internal bool IsText = true;

        internal Case(string name)
        {
            Name = name;
        }

        internal List<string> All(string key)
        {
            return Given.Where(line => line.Key == key).Select(line => line.Value).ToList();
        }

        internal bool Has(string key)
        {
            return All(key).Count > 0;
        }

        internal string Find(string key, string otherwise = "")
        {
            return All(key).DefaultIfEmpty(otherwise).First();
        }

        internal ulong Whole(string key, ulong otherwise)
        {
            return Has(key) ? ulong.Parse(Find(key), Plain) : otherwise;
        }

        internal uint[] Numbers(string key)
        {
            var words = Find(key).Split(new[] { ' ' }, StringSplitOptions.RemoveEmptyEntries);
            return words.Select(word => uint.Parse(word, Plain)).ToArray();
        }

        internal float Real(string key, float otherwise)
        {
            return Has(key) ? ParseReal(Find(key)) : otherwise;
        }
    }

    private static int Main(string[] arguments)
    {
        int count = 0, skipped = 0;
        foreach (var item in Read(arguments[0]))
        {
            if (!item.IsText)
            {
                Console.WriteLine("skipped: " + item.Name + ": it cannot be said in C#");
                skipped++;
                continue;
            }
            var found = Run(item, arguments[1]);
            if (found.Count != item.Expected.Count || found.Zip(item.Expected, Same).Contains(false))
            {
                Console.WriteLine(item.Name + ":\nexpected\n" + string.Join("\n", item.Expected));
                Console.WriteLine("found\n" + string.Join("\n", found));
                return 1;
            }
            count++;
        }
        Console.WriteLine(count + " cases, " + skipped + " skipped");
        return 0;
    }

    private static float ParseReal(string text)
    {
        return text == "-inf" ? float.NegativeInfinity : float.Parse(text, Plain);
    }

    private static List<Case> Read(string path)
    {
        var cases = new List<Case>();
        foreach (var whole in File.ReadAllLines(path, Encoding.UTF8))
        {
            if (whole.Length == 0 || whole[0] == '#') continue;
            var expectation = whole.StartsWith("= ", StringComparison.Ordinal);
            var line = expectation ? whole.Substring(2) : whole;
            var space = line.IndexOf(' ');
            var key = space < 0 ? line : line.Substring(0, space);
            bool isText;
            var value = Unescape(space < 0 ? "" : line.Substring(space + 1), out isText);
            if (key == "case")
            {
                cases.Add(new Case(value));
                continue;
            }
            var last = cases[cases.Count - 1];
            last.IsText &= isText;
            (expectation ? last.Expected : last.Given).Add(new Line(key, value));
        }
        return cases;
    }

    private static string Unescape(string value, out bool isText)
    {
        var bytes = new List<byte>();
        for (var i = 0; i < value.Length; i++)
        {
            var code = value[i] == '\\' ? value[++i] : '\0';
            if (code == 'x')
            {
                bytes.Add(byte.Parse(value.Substring(i + 1, 2), NumberStyles.HexNumber, Plain));
                i += 2;
            }
            else if (code != '\0')
            {
                bytes.Add((byte)(code == 'n' ? '\n' : code == 't' ? '\t' : code));
            }
            else
            {
                var length = char.IsHighSurrogate(value[i]) ? 2 : 1;
                bytes.AddRange(Encoding.UTF8.GetBytes(value.Substring(i, length)));
                i += length - 1;
            }
        }
        try
        {
            isText = true;
            return new UTF8Encoding(false, true).GetString(bytes.ToArray());
        }
        catch (DecoderFallbackException)
        {
            isText = false;
            return "";
        }
    }

    private static bool Same(Line found, Line expected)
    {
        if (found.Key != expected.Key) return false;
        if (found.Value == expected.Value) return true;
        if (!found.Key.EndsWith("probabilities", StringComparison.Ordinal)) return false;
        var numbers = new[] { found, expected }.Select(line => line.Value.Split(' ').Select(word => double.Parse(word, Plain)).ToList())
            .ToList();
        return numbers[0].Count == numbers[1].Count && numbers[0].Zip(numbers[1], (a, b) => Math.Abs(a - b) <= Tolerance).All(near => near);
    }

    private static string Words<T>(IEnumerable<T> items)
    {
        return string.Join(" ", items.Select(item => Convert.ToString(item, Plain)));
    }

    /// <summary>A name in lower case with underscores.</summary>
    private static string Name(Enum value)
    {
        return string.Concat(value.ToString().Select((letter, index) =>
            (index > 0 && char.IsUpper(letter) ? "_" : "") + char.ToLowerInvariant(letter)));
    }

    /// <summary>The files of a directory, but one.</summary>
    private sealed class Pack : IModelSource
    {
        internal string Directory;
        internal string Missing;

        public long? Size(string name)
        {
            var file = new FileInfo(Path.Combine(Directory, name));
            return name != Missing && file.Exists ? file.Length : (long?)null;
        }

        public int Read(string name, long offset, byte[] buffer, int count)
        {
            using (var file = File.OpenRead(Path.Combine(Directory, name)))
            {
                file.Seek(offset, SeekOrigin.Begin);
                return file.Read(buffer, 0, count);
            }
        }
    }

    private static List<Line> Run(Case item, string models)
    {
        try
        {
            var options = new ModelOptions
            {
                Accuracy = (Accuracy)Enum.Parse(typeof(Accuracy), item.Find("accuracy", "default"), true),
                KvPrecision = (KvPrecision)Enum.Parse(typeof(KvPrecision), item.Find("kv_precision", "auto"), true),
                Copy = item.Has("copy"),
                Threads = (uint)item.Whole("threads", 0),
                Processors = item.Has("processors") ? item.Numbers("processors") : null,
                Priority = item.Has("low_priority") ? EnginePriority.Low : EnginePriority.Normal,
                ContextLength = (uint)item.Whole("context_length", 0),
                MemoryBudget = item.Whole("memory_budget", 0),
                Kernels = item.Find("kernels"),
            };
            var directory = Path.Combine(models, item.Find("model"));
            var source = new Pack { Directory = directory, Missing = item.Find("missing") };
            using (var model = item.Has("source") ? Model.LoadFrom(source, options) : Model.Load(directory, options))
                return WithModel(item, model);
        }
        catch (SlmException exception)
        {
            return new List<Line> { new Line("status", Name(exception.Status)) };
        }
    }

    private static List<Line> WithModel(Case item, Model model)
    {
        var mode = (TokenizeMode)Enum.Parse(typeof(TokenizeMode), item.Find("mode", "prompt"), true);
        switch (item.Find("do"))
        {
            case "tokenize":
                return new List<Line> { new Line("tokens", Words(model.Tokenize(item.Find("text"), mode))) };
            case "count":
                return new List<Line> { new Line("count", Words(new[] { model.CountTokens(item.Find("text"), mode) })) };
            case "detokenize":
                return new List<Line> { new Line("text", model.Detokenize(item.Numbers("ids"), item.Has("skip_special_tokens"))) };
            case "render":
                return new List<Line> { new Line("text", model.Render(Messages(item))) };
            default:
                var options = new SessionOptions
                {
                    Context = item.Whole("context", 0),
                    PrefillChunk = (uint)item.Whole("prefill_chunk", 512),
                    System = item.Find("system"),
                };
                using (var session = model.NewSession(options))
                {
                    if (item.Find("do") == "classify") return Classify(item, session);
                    using (var grammar = GrammarOf(item, model))
                    {
                        return item.Find("do") == "extract" ? Extract(item, model, session, grammar) : Generate(item, session, grammar);
                    }
                }
        }
    }

    /// <summary>The grammar of a case; null if it has none.</summary>
    private static Grammar GrammarOf(Case item, Model model)
    {
        if (item.Has("choice")) return model.NewGrammar(item.All("choice"));
        if (!item.Has("grammar")) return null;
        var parts = item.Find("grammar").Split(new[] { ' ' }, 2);
        var kind = parts[0] == "schema" ? GrammarKind.JsonSchema : parts[0] == "regex" ? GrammarKind.Regex : GrammarKind.Lark;
        return model.NewGrammar(kind, parts[1]);
    }

    private static List<Line> Extract(Case item, Model model, Session session, Grammar grammar)
    {
        using (var extractor = model.NewExtractor(item.Find("schema")))
        {
            var found = session.Extract(extractor, item.Find("source_text"), OptionsOf(item, grammar));
            var parts = found.Fields.Split(new[] { "{\"path\":\"" }, StringSplitOptions.None).Skip(1);
            var support = parts.Select(part => part.Split('"')[0] + "=" + part.Split(new[] { "\"support\":\"" }, StringSplitOptions.None)[1].Split('"')[0]);
            return new List<Line>
            {
                new Line("value", found.Value),
                new Line("support", Words(support)),
                new Line("completion", Name(found.Completion)),
            };
        }
    }

    private static List<ChatMessage> Messages(Case item)
    {
        return item.All("message").Select(line => line.Split(new[] { ' ' }, 2)).Select(pair => new ChatMessage(pair[0], pair[1])).ToList();
    }

    private static GenerateOptions OptionsOf(Case item, Grammar grammar)
    {
        var sampling = new SamplingOptions
        {
            Temperature = item.Real("temperature", 0),
            TopK = (uint)item.Whole("top_k", 0),
            TopP = item.Real("top_p", 1),
            MinP = item.Real("min_p", 0),
            RepetitionPenalty = item.Real("repetition_penalty", 1),
            FrequencyPenalty = item.Real("frequency_penalty", 0),
            PresencePenalty = item.Real("presence_penalty", 0),
            PenaltyWindow = item.Whole("penalty_window", 64),
            Seed = item.Whole("seed", 0),
        };
        foreach (var entry in item.All("bias").Select(line => line.Split(' ')))
        {
            sampling.LogitBias.Add(uint.Parse(entry[0], Plain), ParseReal(entry[1]));
        }
        return new GenerateOptions
        {
            MaxTokens = (uint)item.Whole("max_tokens", 1024),
            Stop = item.All("stop"),
            StopTokens = item.All("stop_token").Select(word => uint.Parse(word, Plain)).ToList(),
            IgnoreStopTokens = item.Has("ignore_stop_tokens"),
            LogProbabilities = item.Has("log_probabilities") ? (int?)item.Whole("log_probabilities", 0) : null,
            DraftTokens = item.Whole("draft_tokens", 0),
            Sampling = sampling,
            Grammar = grammar,
        };
    }

    private static List<Line> Generate(Case item, Session session, Grammar grammar)
    {
        var options = OptionsOf(item, grammar);
        switch (item.Find("do"))
        {
            case "generate": return Answer(item, session.Generate(item.Find("prompt"), options));
            case "chat": return Answer(item, session.Chat(Messages(item), options));
            default: return item.All("turn").SelectMany(turn => Answer(item, session.Turn(turn, options))).ToList();
        }
    }

    /// <summary>Reads an answer to its end.</summary>
    private static List<Line> Answer(Case item, AnswerStream stream)
    {
        var tokens = new List<AnswerEvent>();
        var text = new StringBuilder();
        using (stream)
        {
            for (var next = stream.Next(); next != null; next = stream.Next())
            {
                if (next.Kind == AnswerEventKind.Token) tokens.Add(next);
                if (next.Kind == AnswerEventKind.Text) text.Append(next.Text);
            }
        }
        var finished = stream.Finished;
        var lines = new List<Line>
        {
            new Line("tokens", Words(tokens.Select(token => token.Token))),
            new Line("text", text.ToString()),
            new Line("finish", Name(finished.FinishReason)),
        };
        if (item.Has("grammar") || item.Has("choice")) lines.Add(new Line("completion", Name(finished.Completion)));
        if (item.Has("seed")) lines.Add(new Line("seed", Words(new[] { finished.Seed })));
        if (item.Has("log_probabilities"))
        {
            lines.Add(new Line("top", Words(tokens.Select(token => token.Top.Count))));
            lines.Add(new Line("log_probabilities", Words(tokens.Select(token => ((double)token.LogProbability).ToString("F7", Plain)))));
        }
        var counts = finished.Statistics;
        lines.Add(new Line("counts", Words(new[] { counts.PromptTokens, counts.ReusedTokens, counts.GeneratedTokens })));
        if (item.Has("draft_tokens")) lines.Add(new Line("drafts", Words(new[] { counts.DraftedTokens, counts.AcceptedTokens })));
        return lines;
    }

    private static List<Line> Classify(Case item, Session session)
    {
        var labels = item.All("label");
        var score = item.Find("score") == "trie_normalised" ? LabelScore.TrieNormalised : LabelScore.Joint;
        var result = item.Has("prompt")
            ? session.Classify(item.Find("prompt"), labels, score)
            : session.Classify(Messages(item), labels, score);
        return new List<Line>
        {
            new Line("index", Words(new[] { result.Index })),
            new Line("probabilities", Words(result.Probabilities.Select(probability => ((double)probability).ToString("F8", Plain)))),
        };
    }
}
