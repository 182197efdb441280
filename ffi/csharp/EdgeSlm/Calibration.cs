using System;
using System.Collections.Generic;

namespace EdgeSlm
{
    /// <summary>A prompt and the index of its class, to learn from.</summary>
    public sealed class LabelledPrompt
    {
        /// <summary>An example.</summary>
        public LabelledPrompt(string prompt, int classIndex)
        {
            Prompt = prompt;
            ClassIndex = classIndex;
        }

        /// <summary>The prompt, taken as it is.</summary>
        public string Prompt { get; }
        /// <summary>The index of the right class.</summary>
        public int ClassIndex { get; }
    }

    /// <summary>Options of fitting a calibration.</summary>
    public sealed class CalibrationOptions
    {
        /// <summary>How labels are scored.</summary>
        public LabelScore Score { get; set; } = LabelScore.Joint;
        /// <summary>The share of wrong decisions that is accepted among those that do not abstain; 0 never abstains.</summary>
        public double Risk { get; set; } = 0.1;
        /// <summary>The probability with which that share is kept to.</summary>
        public double Confidence { get; set; } = 0.9;
    }

    /// <summary>A class with its calibrated probability, and whether to rely on it.</summary>
    public sealed class Decision
    {
        internal Decision(string label, int index, float[] probabilities, bool abstain)
        {
            Label = label;
            Index = index;
            Probabilities = probabilities;
            Abstain = abstain;
        }

        /// <summary>The most probable class.</summary>
        public string Label { get; }
        /// <summary>Its index.</summary>
        public int Index { get; }
        /// <summary>Its probability.</summary>
        public float Probability => Probabilities[Index];
        /// <summary>One a class; they sum to 1.</summary>
        public IReadOnlyList<float> Probabilities { get; }
        /// <summary>The class is too improbable for the risk that was accepted: a person or a larger model should decide.</summary>
        public bool Abstain { get; }
    }

    /// <summary>What the scores of a closed set of labels mean for one model and one prompt. Made by <see cref="Model.Calibrate"/> and
    /// <see cref="Model.LoadCalibration"/>. Any number of threads may use it.</summary>
    public sealed unsafe class Calibration : IDisposable
    {
        private readonly NativeHandle handle;
        private readonly string[] classes;

        internal Calibration(IntPtr value)
        {
            handle = new NativeHandle(value, NativeMethods.CalibrationFree);
            classes = new string[checked((int)Facts().ClassCount)];
            for (var i = 0; i < classes.Length; i++)
            {
                var index = (UIntPtr)i;
                classes[i] = handle.Use(native => Interop.Text(NativeMethods.CalibrationClass(native, index)));
            }
        }

        /// <summary>The names of its classes.</summary>
        public IReadOnlyList<string> Classes => classes;
        /// <summary>How many examples it was fitted to.</summary>
        public long Examples => checked((long)Facts().Examples);
        /// <summary>A decision with a lower probability abstains; above 1 all do, 0 none.</summary>
        public double Threshold => Facts().Threshold;
        /// <summary>The share of wrong decisions that was accepted; 0 where none was named.</summary>
        public double Risk => Facts().Risk;
        /// <summary>The mean negative log-likelihood of the examples' classes in cross-validation, in nats.</summary>
        public double LogLoss => Facts().LogLoss;

        /// <summary>What its file holds.</summary>
        public string Json => handle.Use(native =>
        {
            NativeMethods.Str json;
            IntPtr error;
            Interop.Check(NativeMethods.CalibrationJson(native, &json, &error), error);
            return Interop.Take(json);
        });

        /// <summary>Writes it to a file, which is complete or as it was before.</summary>
        public void Save(string path)
        {
            using (var arena = new Arena())
            {
                var text = arena.Required(path, nameof(path));
                handle.Use(native =>
                {
                    IntPtr error;
                    Interop.Check(NativeMethods.CalibrationSave(native, text.Data, text.Length, &error), error);
                    return 0;
                });
            }
        }

        /// <summary>Gives up what the library holds.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }

        internal T Use<T>(Func<IntPtr, T> call)
        {
            return handle.Use(call);
        }

        private NativeMethods.CalibrationFacts Facts()
        {
            return handle.Use(native =>
            {
                NativeMethods.CalibrationFacts facts;
                IntPtr error;
                Interop.Check(NativeMethods.CalibrationDescribe(native, &facts, (UIntPtr)sizeof(NativeMethods.CalibrationFacts), &error),
                    error);
                return facts;
            });
        }
    }
}
