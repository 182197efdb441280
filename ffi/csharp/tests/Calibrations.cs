using System;
using System.IO;
using System.Linq;
using System.Threading;
using EdgeSlm;

internal static partial class Tests
{
    private static void CalibrationsDecide()
    {
        var classes = new[] { "urgent", "routine" };
        var labels = new[] { " urgent", " routine", " nothing" };
        var examples = Enumerable.Range(0, 24)
            .Select(i => new LabelledPrompt("Case " + i + ": the pump " + (i % 2 == 0 ? "hums" : "leaks") + ". This is", i % 2)).ToArray();
        var path = Path.Combine(Path.GetTempPath(), "edgeslm-" + Guid.NewGuid().ToString("N") + ".json");
        using (var model = Model.Load(directory))
        using (var session = model.NewSession())
        using (var calibration = model.Calibrate(session, classes, labels, examples, "pumps 1", new CalibrationOptions { Risk = 0.4 }))
        {
            Check(calibration.Classes.SequenceEqual(classes), "the classes");
            Check(calibration.Examples == 24 && calibration.Risk == 0.4 && calibration.LogLoss > 0, "the facts");
            try
            {
                calibration.Save(path);
                Check(File.ReadAllText(path) == calibration.Json, "the file");
                using (var loaded = model.LoadCalibration(path, "pumps 1"))
                {
                    var decision = session.Decide(examples[3].Prompt, calibration);
                    Check(Math.Abs(decision.Probabilities.Sum() - 1) < 1e-5, "the sum");
                    Check(decision.Label == classes[decision.Index] && decision.Probability == decision.Probabilities.Max(), "the best");
                    Check(decision.Abstain == (decision.Probability < calibration.Threshold), "abstaining");
                    var same = session.Decide(examples[3].Prompt, loaded);
                    Check(same.Probabilities.SequenceEqual(decision.Probabilities), "the same from the file");
                    Check(session.Decide(new[] { new ChatMessage("user", Question) }, loaded).Probabilities.Count == 2, "a conversation");
                }
            }
            finally
            {
                File.Delete(path);
            }
            Throws(() => model.ParseCalibration(calibration.Json, "pumps 2"), SlmStatus.InvalidArgument);
            Throws(() => model.ParseCalibration("{}"), SlmStatus.InvalidModel);
            Throws(() => model.LoadCalibration(path), SlmStatus.NotFound);
            using (var source = new CancellationTokenSource())
            {
                source.Cancel();
                try
                {
                    model.Calibrate(session, classes, labels, examples, "p", null, source.Token);
                    Check(false, "it was cancelled before");
                }
                catch (OperationCanceledException exception)
                {
                    Check(exception.CancellationToken == source.Token, "the token");
                }
            }
        }
    }
}
