using System;
using System.Collections.Generic;

namespace EdgeSlm
{
    /// <summary>One message of a conversation.</summary>
    public sealed class ChatMessage
    {
        /// <summary>A message of <paramref name="role"/>: system, user, assistant or tool.</summary>
        public ChatMessage(string role, string content)
        {
            Role = role ?? throw new ArgumentNullException(nameof(role));
            Content = content ?? throw new ArgumentNullException(nameof(content));
        }

        /// <summary>Who speaks.</summary>
        public string Role { get; }

        /// <summary>What is said.</summary>
        public string Content { get; }
    }

    /// <summary>What runs a model.</summary>
    public enum Engine
    {
        /// <summary>The library's own kernels on the CPU.</summary>
        Cpu = 0,
        /// <summary>ONNX Runtime, whose shared library is opened when the first model is loaded with it.</summary>
        Ort = 1,
    }

    /// <summary>ONNX Runtime's execution providers.</summary>
    public enum Provider
    {
        /// <summary>The first that takes the model of CUDA, DirectML, WebGPU, OpenVINO and CPU.</summary>
        Auto = 0,
        /// <summary>ONNX Runtime's own kernels on the CPU.</summary>
        Cpu = 1,
        /// <summary>NVIDIA GPUs.</summary>
        Cuda = 2,
        /// <summary>NVIDIA GPUs through TensorRT.</summary>
        TensorRt = 3,
        /// <summary>NVIDIA RTX GPUs through TensorRT for RTX.</summary>
        TensorRtRtx = 4,
        /// <summary>GPUs of any vendor on Windows.</summary>
        DirectMl = 5,
        /// <summary>Apple's GPU and neural engine.</summary>
        CoreMl = 6,
        /// <summary>Intel's CPUs, GPUs and NPUs.</summary>
        OpenVino = 7,
        /// <summary>Qualcomm's NPUs and GPUs.</summary>
        Qnn = 8,
        /// <summary>GPUs of any vendor through Vulkan, Direct3D 12 or Metal.</summary>
        WebGpu = 9,
        /// <summary>The XNNPACK kernels on the CPU.</summary>
        Xnnpack = 10,
    }

    /// <summary>How exact the arithmetic is.</summary>
    public enum Accuracy
    {
        /// <summary>Activations quantised to 8 bits.</summary>
        Default = 0,
        /// <summary>fp32 arithmetic in a fixed order.</summary>
        Strict = 1,
        /// <summary>Activations in two planes of 8 bits.</summary>
        Precise = 2,
    }

    /// <summary>How urgent the engine's own threads are beside the other threads of the machine.</summary>
    public enum EnginePriority
    {
        /// <summary>As urgent as the thread that loads the model; on Windows, as the process.</summary>
        Normal = 0,
        /// <summary>They give way to threads of normal priority.</summary>
        Low = 1,
        /// <summary>They come before threads of normal priority, where the system allows it.</summary>
        High = 2,
    }

    /// <summary>In which numbers the CPU engine keeps keys and values.</summary>
    public enum KvPrecision
    {
        /// <summary>As the accuracy says: 16-bit floats, and 32-bit ones where it is strict.</summary>
        Auto = 0,
        /// <summary>Codes of 8 bits with scales, about half of the memory.</summary>
        Int8 = 1,
    }

    /// <summary>How a model is loaded.</summary>
    public sealed class ModelOptions
    {
        /// <summary>Reads the files into memory instead of mapping them.</summary>
        public bool Copy { get; set; }

        /// <summary>How exact the arithmetic is.</summary>
        public Accuracy Accuracy { get; set; }

        /// <summary>In which numbers the CPU engine keeps keys and values.</summary>
        public KvPrecision KvPrecision { get; set; }

        /// <summary>Follows links that lead out of the directory.</summary>
        public bool FollowLinks { get; set; }

        /// <summary>Threads, the caller's included; 0 for as many as the process may use, or as <see cref="Processors"/> has.</summary>
        public uint Threads { get; set; }

        /// <summary>The processors that the engine's own threads may run on; null for those of the thread that loads the model. On
        /// Windows they are 0 to 63 of one processor group, and null means the processors of the process. The caller's thread stays
        /// where it is.</summary>
        public IReadOnlyCollection<uint> Processors { get; set; }

        /// <summary>How urgent the engine's own threads are. On Windows normal priority is the process's.</summary>
        public EnginePriority Priority { get; set; }

        /// <summary>The most positions of a session; 0 for the model's own.</summary>
        public uint ContextLength { get; set; }

        /// <summary>The most bytes of all KV caches; 0 for three quarters of what is free.</summary>
        public ulong MemoryBudget { get; set; }

        /// <summary>Which graph of the directory; empty to choose by looking.</summary>
        public string Graph { get; set; } = "";

        /// <summary>The kernel row; empty for the best.</summary>
        public string Kernels { get; set; } = "";

        /// <summary>What runs the model. The properties after this one are for ONNX Runtime alone.</summary>
        public Engine Engine { get; set; }

        /// <summary>The execution provider.</summary>
        public Provider Provider { get; set; }

        /// <summary>The absolute path of ONNX Runtime's shared library; empty to look for it.</summary>
        public string OrtLibrary { get; set; } = "";

        /// <summary>The absolute path of a plug-in provider's library; empty to look beside ONNX Runtime.</summary>
        public string ProviderLibrary { get; set; } = "";

        /// <summary>Options of the provider, by ONNX Runtime's names.</summary>
        public IDictionary<string, string> ProviderOptions { get; set; } = new Dictionary<string, string>();

        internal unsafe NativeMethods.ModelOptions* ToNative(Arena arena)
        {
            var options = (NativeMethods.ModelOptions*)arena.Zeroed(1, sizeof(NativeMethods.ModelOptions));
            IntPtr error;
            Interop.Check(NativeMethods.ModelOptionsInit(options, (UIntPtr)sizeof(NativeMethods.ModelOptions), &error), error);
            options->Load = Copy ? 1 : 0;
            options->Accuracy = (int)Accuracy;
            options->KvPrecision = (int)KvPrecision;
            options->Flags = FollowLinks ? 1u : 0u;
            options->Threads = Threads;
            if (Processors != null)
            {
                var processors = (uint*)arena.Zeroed(Math.Max(1, Processors.Count), sizeof(uint));
                var index = 0;
                foreach (var processor in Processors)
                    processors[index++] = processor;
                options->Processors = processors;
                options->ProcessorCount = (uint)Processors.Count;
            }
            options->Priority = (int)Priority;
            options->ContextLength = ContextLength;
            options->MemoryBudget = MemoryBudget;
            options->Graph = arena.Text(Graph);
            options->Kernels = arena.Text(Kernels);
            options->Engine = (int)Engine;
            options->Provider = (int)Provider;
            options->OrtLibrary = arena.Text(OrtLibrary);
            options->ProviderLibrary = arena.Text(ProviderLibrary);
            var pairs = (NativeMethods.Option*)arena.Zeroed(Math.Max(1, ProviderOptions.Count), sizeof(NativeMethods.Option));
            var count = 0;
            foreach (var pair in ProviderOptions)
            {
                pairs[count].Key = arena.Text(pair.Key);
                pairs[count++].Value = arena.Text(pair.Value);
            }
            options->ProviderOptions = pairs;
            options->ProviderOptionCount = (UIntPtr)count;
            return options;
        }
    }

    /// <summary>How the next token is chosen. The default is greedy: the most probable token, always the same answer.</summary>
    public sealed class SamplingOptions
    {
        /// <summary>What the logits are divided by; 0 chooses greedily.</summary>
        public float Temperature { get; set; }

        /// <summary>Keeps the fewest most probable tokens whose probabilities sum to at least this; 1 keeps all.</summary>
        public float TopP { get; set; } = 1;

        /// <summary>Keeps tokens at least this many times as probable as the most probable one; 0 keeps all.</summary>
        public float MinP { get; set; }

        /// <summary>Keeps this many most probable tokens; 0 keeps all.</summary>
        public uint TopK { get; set; }

        /// <summary>Divides positive and multiplies negative logits of tokens that occurred; 1 changes nothing.</summary>
        public float RepetitionPenalty { get; set; } = 1;

        /// <summary>Subtracted from a token's logit for each time it occurred.</summary>
        public float FrequencyPenalty { get; set; }

        /// <summary>Subtracted from a token's logit if it occurred.</summary>
        public float PresencePenalty { get; set; }

        /// <summary>How many last tokens the penalties look at; <see cref="ulong.MaxValue"/> for all.</summary>
        public ulong PenaltyWindow { get; set; } = 64;

        /// <summary>The same seed gives the same answer; 0 for a random one.</summary>
        public ulong Seed { get; set; }

        /// <summary>Added to the logits of single tokens; negative infinity bans one.</summary>
        public IDictionary<uint, float> LogitBias { get; } = new Dictionary<uint, float>();

        internal unsafe NativeMethods.SamplingOptions* ToNative(Arena arena)
        {
            var options = (NativeMethods.SamplingOptions*)arena.Zeroed(1, sizeof(NativeMethods.SamplingOptions));
            IntPtr error;
            Interop.Check(NativeMethods.SamplingOptionsInit(options, (UIntPtr)sizeof(NativeMethods.SamplingOptions), &error), error);
            options->Temperature = Temperature;
            options->TopP = TopP;
            options->MinP = MinP;
            options->TopK = TopK;
            options->RepetitionPenalty = RepetitionPenalty;
            options->FrequencyPenalty = FrequencyPenalty;
            options->PresencePenalty = PresencePenalty;
            options->PenaltyWindow = PenaltyWindow;
            options->Seed = Seed;
            options->LogitBias = (NativeMethods.LogitBias*)arena.Zeroed(LogitBias.Count, sizeof(NativeMethods.LogitBias));
            options->LogitBiasCount = (UIntPtr)LogitBias.Count;
            var index = 0;
            foreach (var entry in LogitBias)
            {
                options->LogitBias[index].Token = entry.Key;
                options->LogitBias[index].Bias = entry.Value;
                index++;
            }
            return options;
        }

        internal static SamplingOptions FromNative(NativeMethods.SamplingOptions options)
        {
            return new SamplingOptions
            {
                Temperature = options.Temperature,
                TopP = options.TopP,
                MinP = options.MinP,
                TopK = options.TopK,
                RepetitionPenalty = options.RepetitionPenalty,
                FrequencyPenalty = options.FrequencyPenalty,
                PresencePenalty = options.PresencePenalty,
                PenaltyWindow = options.PenaltyWindow,
                Seed = options.Seed,
            };
        }
    }

    /// <summary>Options of a session.</summary>
    public sealed class SessionOptions
    {
        /// <summary>The most tokens of a prompt that are computed at a time; the CPU engine never takes more than 128.</summary>
        public uint PrefillChunk { get; set; } = 512;

        /// <summary>The most tokens of prompt and answer together; 0 for the model's context.</summary>
        public ulong Context { get; set; }

        /// <summary>How tokens are chosen where an answer's options do not say; null for greedily.</summary>
        public SamplingOptions Sampling { get; set; }

        /// <summary>The system message with which the conversation begins; empty for none.</summary>
        public string System { get; set; } = "";

        /// <summary>A JSON object for the chat template: date, tools, documents, variables; empty for none.</summary>
        public string TemplateOptions { get; set; } = "";

        internal unsafe NativeMethods.SessionOptions* ToNative(Arena arena)
        {
            var options = (NativeMethods.SessionOptions*)arena.Zeroed(1, sizeof(NativeMethods.SessionOptions));
            IntPtr error;
            Interop.Check(NativeMethods.SessionOptionsInit(options, (UIntPtr)sizeof(NativeMethods.SessionOptions), &error), error);
            options->PrefillChunk = PrefillChunk;
            options->Context = Context;
            if (Sampling != null) options->Sampling = Sampling.ToNative(arena);
            options->System = arena.Text(System);
            options->TemplateOptions = arena.Text(TemplateOptions);
            return options;
        }
    }

    /// <summary>Options of one answer.</summary>
    public sealed class GenerateOptions
    {
        /// <summary>The most tokens of the answer; <see cref="uint.MaxValue"/> leaves it to the context.</summary>
        public uint MaxTokens { get; set; } = 1024;

        /// <summary>Texts that end the answer and are not part of it.</summary>
        public IReadOnlyList<string> Stop { get; set; } = new string[0];

        /// <summary>Tokens that end the answer besides the model's own.</summary>
        public IReadOnlyList<uint> StopTokens { get; set; } = new uint[0];

        /// <summary>Goes on after the model's stop tokens.</summary>
        public bool IgnoreStopTokens { get; set; }

        /// <summary>Of how many most probable tokens log-probabilities are told, besides the chosen one's; null for none.</summary>
        public int? LogProbabilities { get; set; }

        /// <summary>How long prompt and answer may take; null or <see cref="System.Threading.Timeout.InfiniteTimeSpan"/> for no limit.</summary>
        public TimeSpan? Deadline { get; set; }

        /// <summary>How tokens are chosen; null for the session's choice.</summary>
        public SamplingOptions Sampling { get; set; }

        /// <summary>What the answer has to look like; null for anything.</summary>
        public Grammar Grammar { get; set; }

        /// <summary>The most tokens of the answer that are guessed at a time from what stood before; the answer is the same and comes
        /// sooner where it repeats its prompt. 0 for none.</summary>
        public ulong DraftTokens { get; set; }

        internal unsafe NativeMethods.GenerateOptions* ToNative(Arena arena, IntPtr cancel)
        {
            var options = (NativeMethods.GenerateOptions*)arena.Zeroed(1, sizeof(NativeMethods.GenerateOptions));
            IntPtr error;
            Interop.Check(NativeMethods.GenerateOptionsInit(options, (UIntPtr)sizeof(NativeMethods.GenerateOptions), &error), error);
            options->MaxTokens = MaxTokens;
            options->Flags = IgnoreStopTokens ? 1u : 0u;
            options->LogProbabilities = LogProbabilities ?? -1;
            options->DeadlineMs = Interop.Milliseconds(Deadline);
            options->Cancel = cancel;
            if (Sampling != null) options->Sampling = Sampling.ToNative(arena);
            options->Stop = arena.Texts(Stop, nameof(Stop));
            options->StopCount = (UIntPtr)Stop.Count;
            options->StopTokens = arena.Tokens(StopTokens, nameof(StopTokens));
            options->StopTokenCount = (UIntPtr)StopTokens.Count;
            options->DraftTokens = DraftTokens;
            return options;
        }
    }

    /// <summary>How labels are scored.</summary>
    public enum LabelScore
    {
        /// <summary>The probability that the model goes on with the label, normalised over the labels.</summary>
        Joint = 0,
        /// <summary>The probability of the label when only the labels can be generated.</summary>
        TrieNormalised = 1,
    }
}
