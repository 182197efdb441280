using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using EdgeSlm;

/// <summary>Models whose files the program reads itself.</summary>
internal static partial class Tests
{
    /// <summary>The files of a directory in memory.</summary>
    private sealed class Pack : IModelSource
    {
        internal readonly Dictionary<string, byte[]> Files =
            Directory.GetFiles(directory).ToDictionary(path => Path.GetFileName(path), path => File.ReadAllBytes(path));

        internal string Failing;

        public long? Size(string name)
        {
            return Files.ContainsKey(name) ? Files[name].LongLength : (long?)null;
        }

        public int Read(string name, long offset, byte[] buffer, int count)
        {
            if (name == Failing) throw new InvalidDataException("the key is wrong");
            var given = (int)Math.Min(Math.Min(count, 5000), Files[name].LongLength - offset);
            Array.Copy(Files[name], offset, buffer, 0, given);
            return given;
        }
    }

    private static void SourcesGiveTheirModels()
    {
        var pack = new Pack();
        using (var model = Model.Load(directory))
        using (var same = Model.LoadFrom(pack, new ModelOptions { Threads = 1 }))
        using (var session = model.NewSession())
        using (var other = same.NewSession())
        {
            var length = pack.Files["model.onnx.data"].Length;
            Check(session.Generate(Question, Short()).ReadToEnd() == other.Generate(Question, Short()).ReadToEnd(), "the same answer");
            pack.Failing = "tokenizer.json";
            try
            {
                Model.LoadFrom(pack);
                Check(false, "the source fails");
            }
            catch (InvalidDataException exception)
            {
                Check(exception.Message == "the key is wrong", "what the source threw");
            }
            pack.Failing = null;
            foreach (var damage in new Action[]
            {
                () => pack.Files["model.onnx.data"] = new byte[length / 100],
                () => pack.Files.Remove("model.onnx.data"),
            })
            {
                damage();
                try
                {
                    Model.LoadFrom(pack);
                    Check(false, "weights are missing");
                }
                catch (SlmException exception)
                {
                    Check(exception.File == "model.onnx.data" && exception.Status
                        == (pack.Files.ContainsKey("model.onnx.data") ? SlmStatus.InvalidModel : SlmStatus.NotFound), "the file");
                }
            }
        }
    }
}
