using System;
using System.Collections.Generic;

namespace EdgeSlm
{
    /// <summary>What loading a model and running one session takes, in bytes.</summary>
    public sealed class MemoryEstimate
    {
        internal MemoryEstimate(NativeMethods.Estimate estimate)
        {
            Weights = estimate.Weights;
            Cache = estimate.Cache;
            Scratch = estimate.Scratch;
            Text = estimate.Text;
            Total = estimate.Total;
        }

        /// <summary>Weights that each token reads.</summary>
        public ulong Weights { get; }
        /// <summary>Keys and values of the session.</summary>
        public ulong Cache { get; }
        /// <summary>Buffers for activations and logits.</summary>
        public ulong Scratch { get; }
        /// <summary>Tokenizer, chat template and the graph's own data.</summary>
        public ulong Text { get; }
        /// <summary>All of it.</summary>
        public ulong Total { get; }
    }

    /// <summary>Counts and times of one answer.</summary>
    public sealed class AnswerStatistics
    {
        internal AnswerStatistics(NativeMethods.Statistics statistics)
        {
            PromptTokens = statistics.PromptTokens;
            ReusedTokens = statistics.ReusedTokens;
            GeneratedTokens = statistics.GeneratedTokens;
            CacheBytes = statistics.CacheBytes;
            TimeToFirstToken = statistics.TimeToFirstToken < 0 ? (TimeSpan?)null : TimeSpan.FromSeconds(statistics.TimeToFirstToken);
            PrefillTime = TimeSpan.FromSeconds(statistics.PrefillTime);
            DecodeTime = TimeSpan.FromSeconds(statistics.DecodeTime);
            PrefillRate = statistics.PrefillRate;
            DecodeRate = statistics.DecodeRate;
            DraftedTokens = statistics.DraftedTokens;
            AcceptedTokens = statistics.AcceptedTokens;
        }

        /// <summary>Tokens of the prompt.</summary>
        public ulong PromptTokens { get; }
        /// <summary>How many of them were cached already.</summary>
        public ulong ReusedTokens { get; }
        /// <summary>Tokens of the answer.</summary>
        public ulong GeneratedTokens { get; }
        /// <summary>Bytes of KV cache at the end.</summary>
        public ulong CacheBytes { get; }
        /// <summary>From the call until the first token was chosen; null when none was.</summary>
        public TimeSpan? TimeToFirstToken { get; }
        /// <summary>Spent on computing the prompt.</summary>
        public TimeSpan PrefillTime { get; }
        /// <summary>Spent on computing the answer, without its first token.</summary>
        public TimeSpan DecodeTime { get; }
        /// <summary>Prompt tokens a second.</summary>
        public double PrefillRate { get; }
        /// <summary>Answer tokens a second.</summary>
        public double DecodeRate { get; }
        /// <summary>Tokens of the answer that were guessed.</summary>
        public ulong DraftedTokens { get; }
        /// <summary>Guesses that were right.</summary>
        public ulong AcceptedTokens { get; }
    }

    /// <summary>How an answer ended.</summary>
    public enum FinishReason
    {
        /// <summary>It has not ended.</summary>
        None = 0,
        /// <summary>The model gave one of its stop tokens.</summary>
        StopToken = 1,
        /// <summary>The text reached one of the stop strings.</summary>
        StopString = 2,
        /// <summary>The answer has as many tokens as were asked for.</summary>
        MaxTokens = 3,
        /// <summary>Prompt and answer fill the context.</summary>
        ContextLength = 4,
        /// <summary>The caller cancelled it.</summary>
        Cancelled = 5,
        /// <summary>The deadline passed.</summary>
        Deadline = 6,
        /// <summary>The grammar allows no further text: the answer is complete.</summary>
        Grammar = 7,
    }

    /// <summary>Whether an answer is all that it was to be.</summary>
    public enum Completion
    {
        /// <summary>It has not ended.</summary>
        None = 0,
        /// <summary>It ended of itself.</summary>
        Complete = 1,
        /// <summary>It ran out of time, tokens or context and was closed along its grammar's shortest path, which it follows to the end.</summary>
        Shortened = 2,
        /// <summary>It ends where it was cut.</summary>
        Cut = 3,
        /// <summary>Its time ran out, and nothing of it can be relied on.</summary>
        Expired = 4,
    }

    /// <summary>A token and the natural logarithm of its probability.</summary>
    public sealed class TokenProbability
    {
        internal TokenProbability(uint token, float logProbability)
        {
            Token = token;
            LogProbability = logProbability;
        }

        /// <summary>The token.</summary>
        public uint Token { get; }
        /// <summary>The logarithm of its probability.</summary>
        public float LogProbability { get; }
    }

    /// <summary>What an <see cref="AnswerEvent"/> tells.</summary>
    public enum AnswerEventKind
    {
        /// <summary>A chunk of the prompt has been computed.</summary>
        Prompt = 1,
        /// <summary>A token of the answer.</summary>
        Token = 2,
        /// <summary>More of the answer's text.</summary>
        Text = 3,
        /// <summary>The answer is complete.</summary>
        Finished = 4,
    }

    /// <summary>One step of an answer.</summary>
    public sealed class AnswerEvent
    {
        internal unsafe AnswerEvent(NativeMethods.Event* source)
        {
            Kind = (AnswerEventKind)source->Kind;
            Text = Interop.Text(source->Text);
            Token = source->Token;
            LogProbability = source->LogProbability;
            var top = new TokenProbability[(int)source->TopCount];
            for (var i = 0; i < top.Length; i++) top[i] = new TokenProbability(source->Top[i].Token, source->Top[i].LogProbability);
            Top = top;
            PromptDone = source->PromptDone;
            PromptTotal = source->PromptTotal;
            FinishReason = (FinishReason)source->FinishReason;
            Completion = (Completion)source->Completion;
            Seed = source->Seed;
            if (source->Statistics != null) Statistics = new AnswerStatistics(*source->Statistics);
        }

        /// <summary>What the event tells. Ignore a kind that has no name.</summary>
        public AnswerEventKind Kind { get; }
        /// <summary>The new text, of <see cref="AnswerEventKind.Text"/>.</summary>
        public string Text { get; }
        /// <summary>The token, of <see cref="AnswerEventKind.Token"/>.</summary>
        public uint Token { get; }
        /// <summary>The logarithm of the token's probability, if it was asked for.</summary>
        public float LogProbability { get; }
        /// <summary>The most probable tokens at this place, if they were asked for.</summary>
        public IReadOnlyList<TokenProbability> Top { get; }
        /// <summary>Tokens of the prompt that are computed, of <see cref="AnswerEventKind.Prompt"/>.</summary>
        public ulong PromptDone { get; }
        /// <summary>Tokens of the prompt.</summary>
        public ulong PromptTotal { get; }
        /// <summary>How the answer ended, of <see cref="AnswerEventKind.Finished"/>.</summary>
        public FinishReason FinishReason { get; }
        /// <summary>Whether the answer is whole, of <see cref="AnswerEventKind.Finished"/>.</summary>
        public Completion Completion { get; }
        /// <summary>The seed that gives this answer again.</summary>
        public ulong Seed { get; }
        /// <summary>Counts and times, of <see cref="AnswerEventKind.Finished"/>; null before.</summary>
        public AnswerStatistics Statistics { get; }
    }

    /// <summary>Which label fits best, and how probable each is.</summary>
    public sealed class Classification
    {
        internal Classification(string label, int index, float[] probabilities)
        {
            Label = label;
            Index = index;
            Probabilities = probabilities;
        }

        /// <summary>The most probable label.</summary>
        public string Label { get; }
        /// <summary>Its index.</summary>
        public int Index { get; }
        /// <summary>One a label; they sum to 1.</summary>
        public IReadOnlyList<float> Probabilities { get; }
    }
}
