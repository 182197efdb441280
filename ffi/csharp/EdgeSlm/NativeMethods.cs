using System;
using System.Runtime.InteropServices;

namespace EdgeSlm
{
    /// <summary>The functions and structs of edgeslm.h. Every parameter is a number or a pointer, so that nothing is marshalled.</summary>
    internal static unsafe class NativeMethods
    {
        private const string Library = "edgeslm";

        /// <summary>The version of the C ABI that these declarations are of.</summary>
        internal const uint AbiVersion = 1;

        internal const int Ok = 0;
        internal const int Cancelled = 10;

        internal const int EventText = 3;
        internal const int EventToken = 2;
        internal const int EventPrompt = 1;
        internal const int EventFinished = 4;

        [StructLayout(LayoutKind.Sequential)]
        internal struct Str
        {
            public byte* Data;
            public UIntPtr Length;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct ModelOptions
        {
            public uint StructSize;
            public uint Flags;
            public int Load;
            public int Accuracy;
            public uint Threads;
            public uint ContextLength;
            public ulong MemoryBudget;
            public Str Graph;
            public Str Kernels;
            public int Engine;
            public int Provider;
            public Str OrtLibrary;
            public Str ProviderLibrary;
            public Option* ProviderOptions;
            public UIntPtr ProviderOptionCount;
            public uint* Processors;
            public uint ProcessorCount;
            public int Priority;
            public int KvPrecision;
            public uint Reserved;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Option
        {
            public Str Key;
            public Str Value;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Source
        {
            public uint StructSize;
            public uint Flags;
            public IntPtr UserData;
            public IntPtr Size;
            public IntPtr Read;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Estimate
        {
            public ulong Weights;
            public ulong Cache;
            public ulong Scratch;
            public ulong Text;
            public ulong Total;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Sizes
        {
            public ulong VocabularySize;
            public ulong ContextLength;
            public ulong Layers;
            public ulong CacheBytesPerPosition;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct LogitBias
        {
            public uint Token;
            public float Bias;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct SamplingOptions
        {
            public uint StructSize;
            public float Temperature;
            public float TopP;
            public float MinP;
            public float RepetitionPenalty;
            public float FrequencyPenalty;
            public float PresencePenalty;
            public uint TopK;
            public ulong PenaltyWindow;
            public ulong Seed;
            public LogitBias* LogitBias;
            public UIntPtr LogitBiasCount;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct SessionOptions
        {
            public uint StructSize;
            public uint PrefillChunk;
            public ulong Context;
            public SamplingOptions* Sampling;
            public Str System;
            public Str TemplateOptions;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Statistics
        {
            public ulong PromptTokens;
            public ulong ReusedTokens;
            public ulong GeneratedTokens;
            public ulong CacheBytes;
            public double TimeToFirstToken;
            public double PrefillTime;
            public double DecodeTime;
            public double PrefillRate;
            public double DecodeRate;
            public ulong DraftedTokens;
            public ulong AcceptedTokens;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Message
        {
            public Str Role;
            public Str Content;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct GenerateOptions
        {
            public uint StructSize;
            public uint Flags;
            public uint MaxTokens;
            public int LogProbabilities;
            public ulong DeadlineMs;
            public IntPtr Cancel;
            public SamplingOptions* Sampling;
            public Str* Stop;
            public UIntPtr StopCount;
            public uint* StopTokens;
            public UIntPtr StopTokenCount;
            public IntPtr Grammar;
            public ulong DraftTokens;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Example
        {
            public Str Source;
            public Str Value;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct TokenProbability
        {
            public uint Token;
            public float LogProbability;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Event
        {
            public int Kind;
            public int FinishReason;
            public Str Text;
            public uint Token;
            public float LogProbability;
            public TokenProbability* Top;
            public UIntPtr TopCount;
            public ulong PromptDone;
            public ulong PromptTotal;
            public ulong Seed;
            public Statistics* Statistics;
            public int Completion;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct ClassifyOptions
        {
            public uint StructSize;
            public int Score;
            public ulong DeadlineMs;
            public IntPtr Cancel;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct CalibrationOptions
        {
            public uint StructSize;
            public int Score;
            public double Risk;
            public double Confidence;
            public IntPtr Cancel;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct LabelledPrompt
        {
            public Str Prompt;
            public UIntPtr ClassIndex;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct CalibrationFacts
        {
            public ulong ClassCount;
            public ulong LabelCount;
            public ulong Examples;
            public double Threshold;
            public double Risk;
            public double Confidence;
            public double LogLoss;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Decision
        {
            public ulong ClassIndex;
            public float Probability;
            public uint Abstain;
        }

        [DllImport(Library, EntryPoint = "slm_version", CallingConvention = CallingConvention.Cdecl)]
        internal static extern byte* Version();

        [DllImport(Library, EntryPoint = "slm_abi_version", CallingConvention = CallingConvention.Cdecl)]
        internal static extern uint LibraryAbiVersion();

        [DllImport(Library, EntryPoint = "slm_build_info", CallingConvention = CallingConvention.Cdecl)]
        internal static extern byte* BuildInfo();

        [DllImport(Library, EntryPoint = "slm_status_name", CallingConvention = CallingConvention.Cdecl)]
        internal static extern byte* StatusName(int status);

        [DllImport(Library, EntryPoint = "slm_error_message", CallingConvention = CallingConvention.Cdecl)]
        internal static extern Str ErrorMessage(IntPtr error);

        [DllImport(Library, EntryPoint = "slm_error_file", CallingConvention = CallingConvention.Cdecl)]
        internal static extern Str ErrorFile(IntPtr error);

        [DllImport(Library, EntryPoint = "slm_error_place", CallingConvention = CallingConvention.Cdecl)]
        internal static extern Str ErrorPlace(IntPtr error);

        [DllImport(Library, EntryPoint = "slm_error_hint", CallingConvention = CallingConvention.Cdecl)]
        internal static extern Str ErrorHint(IntPtr error);

        [DllImport(Library, EntryPoint = "slm_error_free", CallingConvention = CallingConvention.Cdecl)]
        internal static extern void ErrorFree(IntPtr error);

        [DllImport(Library, EntryPoint = "slm_string_free", CallingConvention = CallingConvention.Cdecl)]
        internal static extern void StringFree(Str* text);

        [DllImport(Library, EntryPoint = "slm_model_options_init", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int ModelOptionsInit(ModelOptions* options, UIntPtr size, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_model_estimate", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int ModelEstimate(byte* directory, UIntPtr length, ModelOptions* options, ulong positions,
            Estimate* estimate, UIntPtr size, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_model_load", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int ModelLoad(byte* directory, UIntPtr length, ModelOptions* options, IntPtr* model, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_source_init", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int SourceInit(Source* source, UIntPtr size, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_model_load_from", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int ModelLoadFrom(Source* source, ModelOptions* options, IntPtr* model, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_model_info", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int ModelInfo(IntPtr model, Str* info, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_model_sizes", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int ModelSizes(IntPtr model, Sizes* sizes, UIntPtr size, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_model_sampling", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int ModelSampling(IntPtr model, SamplingOptions* options, UIntPtr size, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_model_free", CallingConvention = CallingConvention.Cdecl)]
        internal static extern void ModelFree(IntPtr model);

        [DllImport(Library, EntryPoint = "slm_count_tokens", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int CountTokens(IntPtr model, byte* text, UIntPtr length, int mode, UIntPtr* count, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_tokenize", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int Tokenize(IntPtr model, byte* text, UIntPtr length, int mode, uint* tokens, UIntPtr capacity,
            UIntPtr* count, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_detokenize", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int Detokenize(IntPtr model, uint* tokens, UIntPtr count, uint flags, Str* text, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_render_chat", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int RenderChat(IntPtr model, Message* messages, UIntPtr count, byte* options, UIntPtr length,
            Str* text, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_session_options_init", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int SessionOptionsInit(SessionOptions* options, UIntPtr size, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_session_new", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int SessionNew(IntPtr model, SessionOptions* options, IntPtr* session, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_session_reset", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int SessionReset(IntPtr session, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_session_rewind", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int SessionRewind(IntPtr session, ulong length, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_session_length", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int SessionLength(IntPtr session, ulong* length, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_session_statistics", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int SessionStatistics(IntPtr session, Statistics* statistics, UIntPtr size, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_session_history", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int SessionHistory(IntPtr session, Str* messages, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_session_set_history", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int SessionSetHistory(IntPtr session, Message* messages, UIntPtr count, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_session_logits", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int SessionLogits(IntPtr session, uint* tokens, UIntPtr count, UIntPtr last, IntPtr cancel,
            float* logits, UIntPtr capacity, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_session_free", CallingConvention = CallingConvention.Cdecl)]
        internal static extern void SessionFree(IntPtr session);

        [DllImport(Library, EntryPoint = "slm_sampling_options_init", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int SamplingOptionsInit(SamplingOptions* options, UIntPtr size, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_generate_options_init", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int GenerateOptionsInit(GenerateOptions* options, UIntPtr size, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_stream_new", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int StreamNew(IntPtr session, byte* prompt, UIntPtr length, GenerateOptions* options, IntPtr* stream,
            IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_chat_stream", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int ChatStream(IntPtr session, Message* messages, UIntPtr count, GenerateOptions* options,
            IntPtr* stream, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_turn_stream", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int TurnStream(IntPtr session, byte* message, UIntPtr length, GenerateOptions* options,
            IntPtr* stream, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_stream_next", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int StreamNext(IntPtr stream, Event** answerEvent, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_stream_free", CallingConvention = CallingConvention.Cdecl)]
        internal static extern void StreamFree(IntPtr stream);

        [DllImport(Library, EntryPoint = "slm_classify_options_init", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int ClassifyOptionsInit(ClassifyOptions* options, UIntPtr size, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_classify", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int Classify(IntPtr session, byte* prompt, UIntPtr length, Str* labels, UIntPtr count,
            ClassifyOptions* options, float* probabilities, UIntPtr* best, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_chat_classify", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int ChatClassify(IntPtr session, Message* messages, UIntPtr messageCount, Str* labels, UIntPtr count,
            ClassifyOptions* options, float* probabilities, UIntPtr* best, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_calibration_load", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int CalibrationLoad(IntPtr model, byte* path, UIntPtr pathLength, byte* prompt, UIntPtr promptLength,
            IntPtr* calibration, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_calibration_parse", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int CalibrationParse(IntPtr model, byte* json, UIntPtr jsonLength, byte* prompt, UIntPtr promptLength,
            IntPtr* calibration, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_calibration_options_init", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int CalibrationOptionsInit(CalibrationOptions* options, UIntPtr size, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_calibration_fit", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int CalibrationFit(IntPtr model, IntPtr session, byte* prompt, UIntPtr promptLength, Str* classes,
            UIntPtr classCount, Str* labels, UIntPtr labelCount, LabelledPrompt* examples, UIntPtr exampleCount,
            CalibrationOptions* options, IntPtr* calibration, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_calibration_save", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int CalibrationSave(IntPtr calibration, byte* path, UIntPtr pathLength, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_calibration_json", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int CalibrationJson(IntPtr calibration, Str* json, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_calibration_describe", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int CalibrationDescribe(IntPtr calibration, CalibrationFacts* facts, UIntPtr size, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_calibration_class", CallingConvention = CallingConvention.Cdecl)]
        internal static extern Str CalibrationClass(IntPtr calibration, UIntPtr index);

        [DllImport(Library, EntryPoint = "slm_calibration_free", CallingConvention = CallingConvention.Cdecl)]
        internal static extern void CalibrationFree(IntPtr calibration);

        [DllImport(Library, EntryPoint = "slm_decide", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int Decide(IntPtr session, byte* prompt, UIntPtr length, IntPtr calibration, ClassifyOptions* options,
            Decision* decision, UIntPtr size, float* probabilities, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_chat_decide", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int ChatDecide(IntPtr session, Message* messages, UIntPtr messageCount, IntPtr calibration,
            ClassifyOptions* options, Decision* decision, UIntPtr size, float* probabilities, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_grammar_new", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int GrammarNew(IntPtr model, int kind, byte* source, UIntPtr length, IntPtr* grammar, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_grammar_choices", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int GrammarChoices(IntPtr model, Str* choices, UIntPtr count, IntPtr* grammar, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_grammar_free", CallingConvention = CallingConvention.Cdecl)]
        internal static extern void GrammarFree(IntPtr grammar);

        [DllImport(Library, EntryPoint = "slm_extractor_new", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int ExtractorNew(IntPtr model, byte* schema, UIntPtr schemaLength, byte* instructions,
            UIntPtr instructionsLength, Example* examples, UIntPtr exampleCount, IntPtr* extractor, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_extractor_free", CallingConvention = CallingConvention.Cdecl)]
        internal static extern void ExtractorFree(IntPtr extractor);

        [DllImport(Library, EntryPoint = "slm_extract", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int Extract(IntPtr session, IntPtr extractor, byte* source, UIntPtr length, GenerateOptions* options,
            Str* value, Str* fields, int* completion, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_cancel_new", CallingConvention = CallingConvention.Cdecl)]
        internal static extern int CancelNew(IntPtr* cancel, IntPtr* error);

        [DllImport(Library, EntryPoint = "slm_cancel_signal", CallingConvention = CallingConvention.Cdecl)]
        internal static extern void CancelSignal(IntPtr cancel);

        [DllImport(Library, EntryPoint = "slm_cancel_free", CallingConvention = CallingConvention.Cdecl)]
        internal static extern void CancelFree(IntPtr cancel);
    }
}
