using System;
using System.IO;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using EdgeSlm;

/// <summary>Calls that end early, and streams that are awaited.</summary>
internal static partial class Tests
{
    private static void CallsAreCancelled()
    {
        // With the slowest kernels it takes seconds to compute the prompt.
        var slow = new ModelOptions { Kernels = "scalar", Threads = 1 };
        var prompt = string.Concat(Enumerable.Repeat("The door of the cold store is open. ", 60));
        using (var model = Model.Load(Path.Combine(directory, "..", "mistral-nemo-int4"), slow))
        using (var session = model.NewSession())
        {
            var tokens = model.Tokenize(prompt);
            foreach (var use in new Action<CancellationToken>[]
            {
                token => session.Classify(prompt, new[] { " a", " b" }, cancellationToken: token),
                token => session.Logits(tokens, 1, token),
            })
            {
                foreach (var milliseconds in new[] { 0, 30 })
                {
                    using (var source = new CancellationTokenSource())
                    {
                        if (milliseconds == 0) source.Cancel();
                        source.CancelAfter(milliseconds);
                        try
                        {
                            use(source.Token);
                            Check(false, "the call is cancelled");
                        }
                        catch (OperationCanceledException exception)
                        {
                            Check(exception.CancellationToken == source.Token, "the token");
                        }
                        Check(session.Length < (ulong)tokens.Length, "the prompt was not computed");
                        session.Reset();
                    }
                }
            }
            var options = Short(2);
            options.Deadline = Timeout.InfiniteTimeSpan;
            session.Generate("x", options).ReadToEnd();
            Check(session.Statistics.GeneratedTokens == 2, "an infinite deadline is none");
        }
    }

    private static void CancelAndDeadline()
    {
        using (var model = Model.Load(directory))
        using (var session = model.NewSession())
        {
            var stream = session.Generate(Question, Short(100000));
            stream.NextText();
            ThreadPool.QueueUserWorkItem(_ => stream.Cancel());
            stream.ReadToEnd();
            Check(stream.Finished.FinishReason == FinishReason.Cancelled || stream.Finished.FinishReason == FinishReason.ContextLength,
                "cancelled");
            stream.Cancel();
            var options = Short(100000);
            options.Deadline = TimeSpan.FromMilliseconds(1);
            stream = session.Generate(Question, options);
            stream.ReadToEnd();
            Check(stream.Finished.FinishReason == FinishReason.Deadline || stream.Finished.FinishReason == FinishReason.ContextLength,
                "late");
        }
    }

    private static void ClassificationsEndEarly()
    {
        var labels = new[] { " urgent", " routine" };
        var prompt = string.Concat(Enumerable.Repeat("The pump is leaking. ", 40));
        using (var model = Model.Load(directory))
        using (var session = model.NewSession())
        using (var source = new CancellationTokenSource())
        {
            try
            {
                session.Classify(prompt, labels, deadline: TimeSpan.FromMilliseconds(1));
                Check(false, "a millisecond is too short");
            }
            catch (SlmException exception)
            {
                Check(exception.Status == SlmStatus.DeadlineExceeded, "late");
            }
            var expected = session.Classify(prompt, labels);
            var result = session.Classify(prompt, labels, cancellationToken: source.Token);
            Check(result.Probabilities.SequenceEqual(expected.Probabilities), "a token that is not cancelled changes nothing");
            source.Cancel();
            foreach (var call in new Action[]
            {
                () => session.Classify(prompt, labels, cancellationToken: source.Token),
                () => session.Classify(new[] { new ChatMessage("user", prompt) }, labels, cancellationToken: source.Token),
            })
            {
                try
                {
                    call();
                    Check(false, "it was cancelled");
                }
                catch (OperationCanceledException exception)
                {
                    Check(exception.CancellationToken == source.Token, "the token");
                }
            }
            result = session.Classify(prompt, labels);
            Check(result.Probabilities.SequenceEqual(expected.Probabilities), "the session goes on");
        }
    }

    private static void AsyncStreams()
    {
        using (var model = Model.Load(directory))
        {
            var sessions = Enumerable.Range(0, 4).Select(_ => model.NewSession()).ToArray();
            var expected = string.Concat(sessions[0].Generate(Question, Short()));
            var answers = Task.WhenAll(sessions.Select(session => Collect(session.Generate(Question, Short()), CancellationToken.None)))
                .GetAwaiter().GetResult();
            Check(answers.All(pieces => string.Concat(pieces) == expected), "the same answers");
            foreach (var session in sessions) session.Dispose();
        }
    }

    private static void AsyncStreamsAreCancelled()
    {
        using (var model = Model.Load(directory))
        using (var session = model.NewSession())
        {
            for (var i = 0; i < 5; i++)
            {
                using (var source = new CancellationTokenSource())
                {
                    if (i == 0) source.Cancel();
                    var collecting = Collect(session.Generate(Question, Short(100000)), source.Token);
                    source.CancelAfter(i);
                    try
                    {
                        collecting.GetAwaiter().GetResult();
                    }
                    catch (OperationCanceledException)
                    {
                        checks++;
                    }
                    session.Reset();
                }
            }
        }
    }
}
