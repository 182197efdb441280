using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using EdgeSlm;

/// <summary>Models in ONNX Runtime, where the tests were told of its library.</summary>
internal static partial class Tests
{
    private static void OnnxRuntimeAnswers()
    {
        var folder = Environment.GetEnvironmentVariable("EDGESLM_TEST_ORT");
        if (string.IsNullOrEmpty(folder))
        {
            Console.WriteLine("skipped: ONNX Runtime is missing; cargo xtask ort fetches it");
            return;
        }
        var library = Directory.GetFiles(Path.Combine(folder, "cpu/onnxruntime/capi"), "libonnxruntime.so.*").Single();
        var options = new ModelOptions
        {
            Engine = Engine.Ort,
            Provider = Provider.Cpu,
            OrtLibrary = library,
            ProviderOptions = new Dictionary<string, string> { { "use_arena", "0" } },
        };
        using (var model = Model.Load(directory, options))
        using (var session = model.NewSession())
        {
            Check(model.Info.Contains("\"provider\":\"cpu\""), "the provider is told");
            Check(session.Generate(Question, Short()).ReadToEnd().Length > 0, "an answer");
        }
        try
        {
            Model.Load(directory, new ModelOptions { Engine = Engine.Ort, Provider = Provider.Cuda, OrtLibrary = library });
            Check(false, "a library without CUDA");
        }
        catch (SlmException exception)
        {
            Check(exception.Status == SlmStatus.EngineUnavailable, exception.Message);
        }
    }
}
