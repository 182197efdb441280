using System;
using System.Linq;
using System.Threading;
using EdgeSlm;

/// <summary>What is disposed, in what order and by which thread.</summary>
internal static partial class Tests
{
    private static void WhatIsDisposedSaysSo()
    {
        var model = Model.Load(directory);
        var session = model.NewSession();
        var stream = session.Generate(Question, Short());
        for (var i = 0; i < 2; i++)
        {
            stream.Dispose();
            session.Dispose();
            model.Dispose();
        }
        foreach (var use in new Action[] { () => stream.Next(), () => session.Turn("x"), () => model.NewSession(), () => model.Tokenize("x") })
        {
            try
            {
                use();
                Check(false, "what is disposed says so");
            }
            catch (ObjectDisposedException)
            {
                checks++;
            }
        }
        stream.Cancel();
    }

    private static void DisposingWhileAnotherThreadComputes()
    {
        var text = string.Concat(Enumerable.Repeat("The door of the cold store is open. ", 5000));
        int expected;
        using (var model = Model.Load(directory)) expected = model.CountTokens(text);
        for (var i = 0; i < 5; i++)
        {
            var model = Model.Load(directory);
            var count = 0;
            var thread = new Thread(() => count = model.CountTokens(text));
            thread.Start();
            Thread.Sleep(5);
            model.Dispose();
            // What was freed too early would be overwritten.
            Model.Load(directory).Dispose();
            thread.Join();
            Check(count == expected, "the count");
        }
    }

    private static void AnOpenStreamKeepsItsSessionBusy()
    {
        using (var model = Model.Load(directory))
        using (var session = model.NewSession())
        {
            var stream = session.Generate(Question, Short());
            stream.NextText();
            Throws(session.Reset, SlmStatus.Busy);
            stream.Dispose();
            session.Reset();
            foreach (var piece in session.Generate(Question, Short())) break;
            session.Reset();
            try
            {
                stream.Next();
                Check(false, "a disposed stream says so");
            }
            catch (ObjectDisposedException)
            {
                checks++;
            }
        }
    }

    private static void OrderOfDisposing()
    {
        var model = Model.Load(directory);
        var session = model.NewSession();
        var stream = session.Generate(Question, Short());
        model.Dispose();
        session.Dispose();
        Check(stream.ReadToEnd().Length > 0, "the answer");
        model.Dispose();
        for (var i = 0; i < 50; i++) Model.Load(directory).NewSession().Generate(Question, Short());
        GC.Collect();
        GC.WaitForPendingFinalizers();
    }

    private static void ThreadsWithASessionEach()
    {
        using (var model = Model.Load(directory))
        {
            string expected;
            using (var session = model.NewSession()) expected = session.Generate(Question, Short()).ReadToEnd();
            var wrong = 0;
            var threads = Enumerable.Range(0, 4).Select(_ => new Thread(() =>
            {
                using (var session = model.NewSession())
                {
                    for (var i = 0; i < 10; i++)
                    {
                        if (session.Generate(Question, Short()).ReadToEnd() != expected) Interlocked.Increment(ref wrong);
                    }
                }
            })).ToList();
            threads.ForEach(thread => thread.Start());
            threads.ForEach(thread => thread.Join());
            Check(wrong == 0, "the same answers");
        }
    }
}
