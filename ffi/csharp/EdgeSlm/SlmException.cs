using System;

namespace EdgeSlm
{
    /// <summary>What kind of failure a <see cref="SlmException"/> tells of. Treat a number that has no name as a general failure.</summary>
    public enum SlmStatus
    {
        /// <summary>A file or directory does not exist.</summary>
        NotFound = 1,
        /// <summary>Reading or writing a file failed.</summary>
        Io = 2,
        /// <summary>A model file is damaged or contradicts itself.</summary>
        InvalidModel = 3,
        /// <summary>The model uses something that the library does not implement.</summary>
        Unsupported = 4,
        /// <summary>An argument is outside its range.</summary>
        InvalidArgument = 5,
        /// <summary>The work would need more memory than the budget.</summary>
        MemoryBudget = 6,
        /// <summary>Prompt and answer do not fit the model's context.</summary>
        ContextLength = 7,
        /// <summary>The tokenizer file is damaged, or a text cannot be tokenised.</summary>
        Tokenizer = 8,
        /// <summary>The chat template is damaged, raised an error, or ran for too long.</summary>
        Template = 9,
        /// <summary>The caller cancelled the work.</summary>
        Cancelled = 10,
        /// <summary>The deadline passed.</summary>
        DeadlineExceeded = 11,
        /// <summary>The session or stream is in use.</summary>
        Busy = 12,
        /// <summary>A defect in the library, found by the library.</summary>
        Internal = 13,
        /// <summary>A grammar or JSON schema is damaged, cannot be satisfied, or is beyond the limits.</summary>
        Grammar = 14,
        /// <summary>The engine or execution provider that was asked for is missing, too old or cannot run here.</summary>
        EngineUnavailable = 15,
        /// <summary>A pointer that must not be null is null.</summary>
        NullPointer = 100,
        /// <summary>A text is not UTF-8.</summary>
        InvalidUtf8 = 101,
        /// <summary>An options struct has an impossible size.</summary>
        StructSize = 102,
        /// <summary>An array is too small for the result.</summary>
        BufferTooSmall = 103,
        /// <summary>A defect in the library, caught at its boundary.</summary>
        Panic = 104,
        /// <summary>An earlier call on the object met a defect in the library.</summary>
        Poisoned = 105,
    }

    /// <summary>A call failed.</summary>
    public sealed class SlmException : Exception
    {
        internal SlmException(SlmStatus status, string reason, string file, string place, string hint)
            : base(Describe(reason, file, place, hint))
        {
            Status = status;
            Reason = reason;
            File = file;
            Place = place;
            Hint = hint;
        }

        /// <summary>What kind of failure it is.</summary>
        public SlmStatus Status { get; }

        /// <summary>What happened, without place and hint.</summary>
        public string Reason { get; }

        /// <summary>The file in which the error is, or an empty text.</summary>
        public string File { get; }

        /// <summary>The graph node, tensor or other place in the file, or an empty text.</summary>
        public string Place { get; }

        /// <summary>What can be done about it, or an empty text.</summary>
        public string Hint { get; }

        private static string Describe(string reason, string file, string place, string hint)
        {
            var text = reason;
            if (place.Length > 0) text = place + ": " + text;
            if (file.Length > 0) text = file + ": " + text;
            return hint.Length > 0 ? text + " (" + hint + ")" : text;
        }
    }
}
